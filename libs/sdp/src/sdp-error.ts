export type SdpErrorCode =
  /** Exceeds SDP_LIMITS or the reader's own limits. */
  | 'too-large'
  /** Not SDP, or a relevant line has wrong syntax. */
  | 'malformed'
  /** A usable section has no ice-ufrag or ice-pwd. */
  | 'no-ice'
  /** A usable section has no DTLS fingerprint. */
  | 'no-fingerprint'
  /** There is no audio or video section. */
  | 'no-media'
  /** Valid, but asks for something that weir doesn't support. */
  | 'unsupported'
  /** See NoCommonCodecsError. */
  | 'no-common-codecs';

/** A description can't be used, which is always the sender's fault. The message contains nothing of its text. */
export class SdpError extends Error {
  override readonly name: string = 'SdpError';

  constructor(
    readonly code: SdpErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** Both sides have the medium, but no common codec for it. */
export class NoCommonCodecsError extends SdpError {
  override readonly name = 'NoCommonCodecsError';

  constructor(
    readonly kind: 'audio' | 'video' | 'media',
    /** What the client offered, such as `VP8` or `H264/42e01f`. */
    readonly offered: readonly string[],
    /** What was needed: weir's list for a publisher, the stream's codec for a player. */
    readonly wanted: readonly string[],
  ) {
    super(
      'no-common-codecs',
      `No common ${kind} codec: offered ${offered.join(', ') || 'none'}, wanted ${wanted.join(', ') || 'none'}`,
    );
  }
}
