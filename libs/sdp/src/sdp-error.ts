export type SdpErrorCode =
  /** Over one of SDP_LIMITS, or of the reader's own limits. */
  | 'too-large'
  /** Not SDP, or a line whose syntax matters here is wrong. */
  | 'malformed'
  /** A section that could be used has no ice-ufrag or ice-pwd. */
  | 'no-ice'
  /** A section that could be used has no DTLS fingerprint. */
  | 'no-fingerprint'
  /** No audio or video section at all. */
  | 'no-media'
  /** Valid, but asks for something that isn't served here. */
  | 'unsupported'
  /** See NoCommonCodecsError. */
  | 'no-common-codecs';

/** A description can't be used: always the fault of whoever sent it. The message quotes nothing of its text. */
export class SdpError extends Error {
  override readonly name: string = 'SdpError';

  constructor(
    readonly code: SdpErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** Both sides have the medium, but no codec for it in common. */
export class NoCommonCodecsError extends SdpError {
  override readonly name = 'NoCommonCodecsError';

  constructor(
    readonly kind: 'audio' | 'video' | 'media',
    /** What the client offered, e.g. `VP8`, `H264/42e01f`. */
    readonly offered: readonly string[],
    /** What it would have needed: our list for a publisher, the stream's codec for a player. */
    readonly wanted: readonly string[],
  ) {
    super(
      'no-common-codecs',
      `No common ${kind} codec: offered ${offered.join(', ') || 'none'}, wanted ${wanted.join(', ') || 'none'}`,
    );
  }
}
