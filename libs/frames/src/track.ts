/** One medium as its source sends it: what SDP would say of it. */
export interface TrackDescription {
  readonly kind: 'audio' | 'video';
  /** As `codecNamed` spells it. */
  readonly codec: string;
  /** Of the RTP timestamps, in Hz. */
  readonly clockRate: number;
  /** 0 for video. */
  readonly channels: number;
  /** The codec's fmtp parameters, names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}
