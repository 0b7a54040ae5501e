import type { IncomingMessage } from 'node:http';
import { ByteBudget } from '@weir/platform';
import { ClientGoneError, GatewayError } from './gateway-error.js';

export interface BodyOptions {
  maxBytes: number;
  /** The time until its last byte. */
  timeoutMs: number;
  /** Aborted when the request ends. Until then the body counts against the budget. */
  ended: AbortSignal;
}

/** The request bodies in the gateway's memory, with limits for one address and for all together. */
export class RequestBodies {
  readonly #budget: ByteBudget;

  constructor(limits: { perAddressBytes: number; totalBytes: number }) {
    this.#budget = new ByteBudget(limits);
  }

  get heldBytes(): number {
    return this.#budget.heldBytes;
  }

  /** @throws GatewayError if the body breaks a limit, ClientGoneError if the client aborts it */
  read(request: IncomingMessage, address: string, { maxBytes, timeoutMs, ended }: BodyOptions): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const release = () => {
      this.#budget.release(address, bytes);
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
        // The answer goes out on the same connection, so the rest of the body is read and dropped until that ends.
        request.resume();
        reject(error);
      };
      const take = (chunk: Buffer) => {
        if (bytes + chunk.length > maxBytes) return refuse(bodyTooLarge(maxBytes));
        const refusal = this.#budget.take(address, chunk.length);
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
        () => refuse(new GatewayError('REQUEST_TIMEOUT', 'the body arrived too slowly')),
        timeoutMs,
      );
      if (ended.aborted || request.destroyed) return breakOff();
      if (Number(request.headers['content-length'] ?? 0) > maxBytes) return refuse(bodyTooLarge(maxBytes));
      // Every error is followed by 'close', which is handled.
      request.on('error', () => undefined);
      request.on('data', take).on('end', finish).on('close', breakOff);
    });
  }
}

const bodyTooLarge = (maxBytes: number): GatewayError =>
  new GatewayError('BODY_TOO_LARGE', `the body is larger than the ${maxBytes} bytes allowed here`);

const refused = (refusal: 'address-is-full' | 'full'): GatewayError =>
  refusal === 'full'
    ? new GatewayError('OVERLOADED', 'the gateway holds too many bytes of request bodies', { retryAfterS: 1 })
    : new GatewayError('RATE_LIMITED', 'the gateway holds too many bytes of request bodies from this address', {
        retryAfterS: 1,
      });
