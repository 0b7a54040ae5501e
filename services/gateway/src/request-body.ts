import type { IncomingMessage } from 'node:http';
import { ByteBudget } from '@weir/platform';
import { ClientGoneError, GatewayError } from './gateway-error.js';

export interface BodyOptions {
  maxBytes: number;
  /** Until its last byte. */
  timeoutMs: number;
  /** Aborted with the end of the request: until then the body counts against the budget. */
  ended: AbortSignal;
}

/** The bodies of requests in the gateway's memory: how much of it one address may have, and all together. */
export class RequestBodies {
  private readonly budget: ByteBudget;

  constructor(limits: { perAddressBytes: number; totalBytes: number }) {
    this.budget = new ByteBudget(limits);
  }

  get heldBytes(): number {
    return this.budget.heldBytes;
  }

  /** @throws GatewayError when the body breaks a limit, ClientGoneError when it is broken off */
  read(request: IncomingMessage, address: string, { maxBytes, timeoutMs, ended }: BodyOptions): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const release = () => {
      this.budget.release(address, bytes);
      bytes = 0;
      chunks.length = 0;
    };
    return new Promise<Buffer>((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        request.off('data', take).off('end', finish).off('close', breakOff);
      };
      const refuse = (error: Error) => {
        settle();
        release();
        // The answer goes out on the same connection: what still comes is read and forgotten until that ends.
        request.resume();
        reject(error);
      };
      const take = (chunk: Buffer) => {
        if (bytes + chunk.length > maxBytes) return refuse(bodyTooLarge(maxBytes));
        const refusal = this.budget.take(address, chunk.length);
        if (refusal !== undefined) return refuse(refused(refusal));
        bytes += chunk.length;
        chunks.push(chunk);
      };
      const finish = () => {
        settle();
        ended.addEventListener('abort', release, { once: true });
        resolve(Buffer.concat(chunks));
      };
      const breakOff = () => refuse(new ClientGoneError());
      const timer = setTimeout(
        () => refuse(new GatewayError('REQUEST_TIMEOUT', 'the body came too slowly')),
        timeoutMs,
      );
      if (ended.aborted || request.destroyed) return breakOff();
      if (Number(request.headers['content-length'] ?? 0) > maxBytes) return refuse(bodyTooLarge(maxBytes));
      // An error is followed by 'close', which is what is acted on.
      request.on('error', () => undefined);
      request.on('data', take).on('end', finish).on('close', breakOff);
    });
  }
}

const bodyTooLarge = (maxBytes: number): GatewayError =>
  new GatewayError('BODY_TOO_LARGE', `the body is larger than the ${maxBytes} bytes allowed here`);

const refused = (refusal: 'address-is-full' | 'full'): GatewayError =>
  refusal === 'full'
    ? new GatewayError('OVERLOADED', 'the gateway holds too many bodies of requests', { retryAfterS: 1 })
    : new GatewayError('RATE_LIMITED', 'too many bytes in bodies of requests of this address', { retryAfterS: 1 });
