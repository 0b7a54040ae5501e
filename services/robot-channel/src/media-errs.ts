import { EndReason, ErrorCode, isWeirError } from '@weir/contracts';
import { errOf, type Err } from '@weir/protocol-turing';

/** The error for an app whose request needed a remote call that failed. */
export const errOfFailure = (error: unknown): Err => {
  if (!isWeirError(error)) return errOf('internal');
  switch (error.code) {
    case ErrorCode.ALREADY_EXISTS:
      return errOf('name-taken');
    case ErrorCode.FORBIDDEN:
    case ErrorCode.INVALID:
      return errOf('source-failed', error.message);
    case ErrorCode.UNAVAILABLE:
    case ErrorCode.EXHAUSTED:
    case ErrorCode.DEADLINE:
      return errOf('unavailable');
    case ErrorCode.UNAUTHENTICATED:
      return errOf('not-logged-in');
    case ErrorCode.NOT_FOUND:
      return errOf('stream-failed');
    case ErrorCode.UNSPECIFIED:
    case ErrorCode.NO_COMMON_CODECS:
    case ErrorCode.INTERNAL:
      return errOf('internal');
    default:
      error.code satisfies never;
      return errOf('internal');
  }
};

/** The error for an app whose stream ended before it was up. */
export const errOfEnd = (reason: EndReason, detail: string): Err => {
  const said = detail === '' ? undefined : detail;
  switch (reason) {
    case EndReason.SOURCE_FAILED:
      return errOf('source-failed', said);
    case EndReason.SOURCE_TIMEOUT:
    case EndReason.NO_MEDIA:
      return errOf('no-media');
    case EndReason.UNSPECIFIED:
    case EndReason.CLIENT:
    case EndReason.DISCONNECTED:
    case EndReason.OWNER_LOST:
    case EndReason.TERMINATED:
    case EndReason.ICE_TIMEOUT:
    case EndReason.ICE_LOST:
    case EndReason.DTLS_FAILED:
    case EndReason.STREAM_ENDED:
    case EndReason.NODE_LOST:
    case EndReason.NODE_SHUTDOWN:
    case EndReason.REPLACED:
      return errOf('stream-failed', said);
    default:
      // A newer media node may send a reason that this version doesn't know.
      reason satisfies never;
      return errOf('stream-failed');
  }
};
