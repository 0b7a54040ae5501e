import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { answer, crcOf, type Fault } from './put-receiver.js';

interface Part {
  readonly body: Buffer;
  readonly etag: string;
}

interface Multipart {
  readonly key: string;
  readonly metadata: Record<string, string>;
  readonly parts: Map<number, Part>;
}

const MIN_PART_BYTES = 5 * 1024 * 1024;

/** The operations of a request, named as S3 names them. */
export type Operation =
  | 'PutObject'
  | 'HeadObject'
  | 'CreateMultipartUpload'
  | 'UploadPart'
  | 'ListParts'
  | 'ListMultipartUploads'
  | 'CompleteMultipartUpload'
  | 'AbortMultipartUpload';

/**
 * As much of S3 as an upload needs, and stricter than the servers in the npm registry: every body needs a length and
 * the right CRC32, chunks are refused, `If-None-Match: *` is obeyed, and all parts but the last need the same size of
 * at least 5 MiB.
 */
export class S3Receiver {
  readonly objects = new Map<string, { readonly body: Buffer; readonly metadata: Record<string, string> }>();
  readonly uploads = new Map<string, Multipart>();
  readonly operations: Operation[] = [];
  /** What the next request of an operation gets instead of being handled. */
  readonly faults = new Map<Operation, Fault[]>();
  readonly #server: Server = createServer((request, response) => {
    this.#handle(request, response).catch(() => response.destroy());
  });

  static async open(): Promise<S3Receiver> {
    const receiver = new S3Receiver();
    receiver.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      response.writeContinue();
      receiver.#server.emit('request', request, response);
    });
    await once(receiver.#server.listen(0, '127.0.0.1'), 'listening');
    return receiver;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  fail(operation: Operation, ...faults: Fault[]): void {
    this.faults.set(operation, faults);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://any');
    const operation = operationOf(request.method ?? '', url);
    if (operation === undefined) return answer(response, 501, 'NotImplemented');
    this.operations.push(operation);
    const fault = this.faults.get(operation)?.shift();
    if (fault !== undefined) return fault(request, response);
    if (!(request.headers.authorization ?? '').startsWith('AWS4-HMAC-SHA256'))
      return answer(response, 403, 'AccessDenied');
    const { headers } = request;
    const chunked = headers['transfer-encoding'] ?? headers['content-encoding'];
    if (chunked !== undefined || headers['x-amz-content-sha256']?.toString().startsWith('STREAMING'))
      return answer(response, 501, 'NotImplemented');
    const body = await buffer(request);
    const key = url.pathname.slice(1);
    this.#carryOut(operation, { key, url, body, headers }, response);
  }

  #carryOut(
    operation: Operation,
    { key, url, body, headers }: { key: string; url: URL; body: Buffer; headers: IncomingMessage['headers'] },
    response: ServerResponse,
  ): void {
    const uploadId = url.searchParams.get('uploadId') ?? '';
    const upload = this.uploads.get(uploadId);
    const isWrong = headers['x-amz-checksum-crc32'] !== crcOf(body);
    switch (operation) {
      case 'PutObject':
        if (isWrong) return answer(response, 400, 'BadDigest');
        if (headers['if-none-match'] === '*' && this.objects.has(key))
          return answer(response, 412, 'PreconditionFailed');
        this.objects.set(key, { body, metadata: metadataOf(headers) });
        return answer(response, 200, '', { etag: etagOf(body) });
      case 'HeadObject': {
        const object = this.objects.get(key);
        if (object === undefined) return answer(response, 404);
        const length = { 'content-length': String(object.body.length) };
        return void response.writeHead(200, { ...length, ...object.metadata }).end();
      }
      case 'CreateMultipartUpload': {
        const id = randomUUID();
        this.uploads.set(id, { key, metadata: metadataOf(headers), parts: new Map() });
        return xml(
          response,
          `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
        );
      }
      case 'UploadPart': {
        if (upload === undefined) return answer(response, 404, 'NoSuchUpload');
        if (isWrong) return answer(response, 400, 'BadDigest');
        const part = { body, etag: etagOf(body) };
        upload.parts.set(Number(url.searchParams.get('partNumber')), part);
        return answer(response, 200, '', { etag: part.etag });
      }
      case 'ListParts': {
        if (upload === undefined) return answer(response, 404, 'NoSuchUpload');
        const parts = [...upload.parts].map(
          ([number, part]) =>
            `<Part><PartNumber>${number}</PartNumber><ETag>${part.etag}</ETag><Size>${part.body.length}</Size><ChecksumCRC32>${crcOf(part.body)}</ChecksumCRC32></Part>`,
        );
        return xml(response, `<ListPartsResult><IsTruncated>false</IsTruncated>${parts.join('')}</ListPartsResult>`);
      }
      case 'ListMultipartUploads': {
        const found = [...this.uploads].map(
          ([id, { key: name }]) =>
            `<Upload><Key>${name.replace(/^[^/]+\//, '')}</Key><UploadId>${id}</UploadId></Upload>`,
        );
        return xml(response, `<ListMultipartUploadsResult>${found.join('')}</ListMultipartUploadsResult>`);
      }
      case 'CompleteMultipartUpload': {
        if (upload === undefined) return answer(response, 404, 'NoSuchUpload');
        if (headers['if-none-match'] === '*' && this.objects.has(key))
          return answer(response, 412, 'PreconditionFailed');
        const wanted = [...body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber>/g)].map(([, number]) =>
          Number(number),
        );
        const parts = wanted.map((number) => upload.parts.get(number));
        const bodies = parts.flatMap((part) => (part === undefined ? [] : [part.body]));
        if (bodies.length < wanted.length) return answer(response, 400, 'InvalidPart');
        const sizes = new Set(bodies.slice(0, -1).map(({ length }) => length));
        if (sizes.size > 1 || [...sizes].some((size) => size < MIN_PART_BYTES))
          return answer(response, 400, 'EntityTooSmall');
        this.objects.set(key, { body: Buffer.concat(bodies), metadata: upload.metadata });
        this.uploads.delete(uploadId);
        return xml(response, '<CompleteMultipartUploadResult><ETag>"x-1"</ETag></CompleteMultipartUploadResult>');
      }
      case 'AbortMultipartUpload':
        this.uploads.delete(uploadId);
        return answer(response, 204);
      default:
        return operation satisfies never;
    }
  }
}

const etagOf = (body: Buffer): string => `"${createHash('md5').update(body).digest('hex')}"`;

const metadataOf = (headers: IncomingMessage['headers']): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      name.startsWith('x-amz-meta-') && typeof value === 'string' ? [[name, value]] : [],
    ),
  );

const xml = (response: ServerResponse, text: string): void =>
  void response.writeHead(200, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?>${text}`);

const operationOf = (method: string, { searchParams: query }: URL): Operation | undefined => {
  switch (method) {
    case 'PUT':
      return query.has('partNumber') ? 'UploadPart' : 'PutObject';
    case 'HEAD':
      return 'HeadObject';
    case 'POST':
      return query.has('uploads') ? 'CreateMultipartUpload' : 'CompleteMultipartUpload';
    case 'GET':
      return query.has('uploads') ? 'ListMultipartUploads' : 'ListParts';
    case 'DELETE':
      return 'AbortMultipartUpload';
    default:
      return undefined;
  }
};
