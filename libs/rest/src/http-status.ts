import { ErrorCode, type WeirError } from '@weir/contracts';

/** The HTTP status with the error's meaning. */
export const httpStatusOf = (error: WeirError): number => {
  switch (error.code) {
    case ErrorCode.INVALID:
    case ErrorCode.NO_COMMON_CODECS:
      return 400;
    case ErrorCode.UNAUTHENTICATED:
      return 401;
    case ErrorCode.FORBIDDEN:
      return 403;
    case ErrorCode.NOT_FOUND:
      return 404;
    case ErrorCode.ALREADY_EXISTS:
      return 409;
    case ErrorCode.EXHAUSTED:
      return 429;
    case ErrorCode.UNAVAILABLE:
      return 503;
    case ErrorCode.DEADLINE:
      return 504;
    case ErrorCode.UNSPECIFIED:
    case ErrorCode.INTERNAL:
      return 500;
  }
};
