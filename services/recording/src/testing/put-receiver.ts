import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { crc32 } from 'node:zlib';

export interface StoredObject {
  readonly body: Buffer;
  readonly headers: IncomingMessage['headers'];
}

/** Handles a request wrongly, in a way of its own. */
export type Fault = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

export const crcOf = (body: Buffer): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(body));
  return bytes.toString('base64');
};

export const answer = (
  response: ServerResponse,
  status: number,
  code = '',
  headers: Record<string, string> = {},
): void => {
  const body = code === '' ? '' : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`;
  response.writeHead(status, headers).end(body);
};

/** A store for presigned PUTs that refuses every mistake: chunks, a missing length, a wrong checksum. */
export class PutReceiver {
  readonly stored = new Map<string, StoredObject>();
  readonly seen: IncomingMessage[] = [];
  /** Each request takes the next one; when none is left, requests are handled properly. */
  readonly faults: Fault[] = [];
  /** Headers of the answer to a proper PUT. */
  told: (body: Buffer) => Record<string, string> = (body) => ({
    etag: `"${createHash('md5').update(body).digest('hex')}"`,
  });
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    const handle = (request: IncomingMessage, response: ServerResponse): void => {
      this.seen.push(request);
      const fault = this.faults.shift();
      Promise.resolve(fault === undefined ? this.#put(request, response) : fault(request, response)).catch(() =>
        response.destroy(),
      );
    };
    this.#server = createServer(handle);
    // A proper store looks at the head before it asks for the body.
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      if (this.faults.length === 0) response.writeContinue();
      handle(request, response);
    });
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket)).on('error', () => undefined);
    });
  }

  static async open(): Promise<PutReceiver> {
    const receiver = new PutReceiver();
    await once(receiver.#server.listen(0, '127.0.0.1'), 'listening');
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #put(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { headers, method, url = '' } = request;
    if (method !== 'PUT') return answer(response, 405, 'MethodNotAllowed');
    if (headers['transfer-encoding'] !== undefined) return answer(response, 501, 'NotImplemented');
    if (headers['content-length'] === undefined) return answer(response, 411, 'MissingContentLength');
    if (headers.authorization !== undefined) return answer(response, 400, 'InvalidArgument');
    const body = await buffer(request);
    const signedCrc = new URL(url, 'http://any').searchParams.get('x-amz-checksum-crc32');
    if (signedCrc !== null && signedCrc !== crcOf(body)) return answer(response, 400, 'BadDigest');
    this.stored.set(new URL(url, 'http://any').pathname, { body, headers });
    answer(response, 200, '', this.told(body));
  }
}
