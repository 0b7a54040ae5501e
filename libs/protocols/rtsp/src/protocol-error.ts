/**
 * How the other side can violate the protocol. These codes must stay stable: they are logged, counted and mapped to a status.
 */
export type ProtocolErrorCode =
  | 'bad-start-line'
  | 'unsupported-version'
  | 'bad-header'
  | 'head-too-large'
  | 'url-too-long'
  | 'bad-content-length'
  | 'body-too-large'
  | 'bad-sdp';

/** The bytes that have come, or a message that weir should write, are not RTSP. */
export class RtspProtocolError extends Error {
  constructor(
    readonly code: ProtocolErrorCode,
    detail: string,
  ) {
    super(`${code}: ${detail}`);
    this.name = 'RtspProtocolError';
  }
}

/** The status that a server answers with before it closes the connection. */
export function statusOfProtocolError(code: ProtocolErrorCode): number {
  switch (code) {
    case 'unsupported-version':
      return 505;
    case 'head-too-large':
    case 'body-too-large':
      return 413;
    case 'url-too-long':
      return 414;
    case 'bad-start-line':
    case 'bad-header':
    case 'bad-content-length':
    case 'bad-sdp':
      return 400;
    default: {
      const never: never = code;
      return never;
    }
  }
}
