import { ErrorCode } from './gen/weir/v1/error_pb.js';

/** An error with a code of the closed set. The handler of a method throws it, and the method's caller catches it. */
export class WeirError extends Error {
  override readonly name = 'WeirError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly fields: Readonly<Record<string, string>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export const isWeirError = (error: unknown, code?: ErrorCode): error is WeirError =>
  error instanceof WeirError && (code === undefined || error.code === code);
