/** One medium of a source, with what SDP would say about it. */
export interface TrackDescription {
  readonly kind: 'audio' | 'video';
  /** Spelled as `codecNamed` returns it. */
  readonly codec: string;
  /** Clock rate of the RTP timestamps, in Hz. */
  readonly clockRate: number;
  /** 0 for video. */
  readonly channels: number;
  /** The codec's fmtp parameters, names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}
