import type { IncomingMessage } from 'node:http';
import { Transform, type Readable, type TransformCallback } from 'node:stream';
import { GatewayError } from './gateway-error.js';

export const bodyTooLarge = (maxBytes: number): GatewayError =>
  new GatewayError('BODY_TOO_LARGE', `the body is larger than the ${maxBytes} bytes allowed here`);

/** Whether the request says itself that its body is larger than allowed. */
export const declaresMoreThan = (request: IncomingMessage, maxBytes: number): boolean =>
  Number(request.headers['content-length'] ?? 0) > maxBytes;

export const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;

/**
 * The body as long as it keeps to its limit; then it fails with BODY_TOO_LARGE. The incoming stream itself is left
 * alone, because the answer goes out on the same connection.
 */
export function limitBody(body: Readable, maxBytes: number): Readable {
  const limited = new BodyLimit(maxBytes);
  body.once('close', () => {
    if (!body.readableEnded) limited.destroy(new Error('the client broke off its request'));
  });
  return body.pipe(limited);
}

class BodyLimit extends Transform {
  private bytes = 0;

  constructor(private readonly maxBytes: number) {
    super();
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    this.bytes += chunk.length;
    if (this.bytes > this.maxBytes) callback(bodyTooLarge(this.maxBytes));
    else callback(null, chunk);
  }
}
