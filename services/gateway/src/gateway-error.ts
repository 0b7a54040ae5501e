/** The gateway's own error codes and their HTTP statuses. */
export const errorStatuses = {
  BAD_REQUEST: 400,
  ORIGIN_NOT_ALLOWED: 403,
  NOT_FOUND: 404,
  SERVICE_NOT_CONFIGURED: 404,
  REQUEST_TIMEOUT: 408,
  BODY_TOO_LARGE: 413,
  HOST_NOT_ALLOWED: 421,
  RATE_LIMITED: 429,
  TOO_MANY_SOCKETS: 429,
  HEADERS_TOO_LARGE: 431,
  INTERNAL: 500,
  UPSTREAM_FAILED: 502,
  UPSTREAM_UNAVAILABLE: 503,
  OVERLOADED: 503,
  DRAINING: 503,
  UPSTREAM_TIMEOUT: 504,
} as const;
export type ErrorCode = keyof typeof errorStatuses;

/** Ends a request with an answer of the gateway itself. The message is meant for the caller. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: ErrorCode;
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; retryAfterS?: number | undefined } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryAfterS = options.retryAfterS;
  }

  get statusCode(): number {
    return errorStatuses[this.code];
  }
}

/** The client aborted its request: there is nobody left to answer, and nothing is wrong. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';

  constructor() {
    super('the client aborted its request');
  }
}

export interface ErrorBody {
  error: { code: ErrorCode; message: string; requestId: string };
}

export const errorBody = (error: GatewayError, requestId: string): ErrorBody => ({
  error: { code: error.code, message: error.message, requestId },
});

/** Codes of system and HTTP client errors that mean that the service can't be reached. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);
const TIMED_OUT = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/** Turns an error between the gateway and a service into the one that the caller gets. */
export function upstreamError(service: string, error: unknown): GatewayError {
  for (let reason: unknown = error; reason instanceof Error; reason = reason.cause) {
    if (reason instanceof GatewayError) return reason;
    const code = 'code' in reason ? String(reason.code) : '';
    if (UNREACHABLE.has(code))
      return new GatewayError('UPSTREAM_UNAVAILABLE', `${service} can't be reached`, { cause: error, retryAfterS: 1 });
    if (TIMED_OUT.has(code))
      return new GatewayError('UPSTREAM_TIMEOUT', `${service} didn't answer in time`, { cause: error });
  }
  return new GatewayError('UPSTREAM_FAILED', `${service} closed the connection without a valid answer`, {
    cause: error,
  });
}
