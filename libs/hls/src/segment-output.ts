/** What the segmenter makes, in order. `msn` is the Media Sequence Number of a segment. */
export type SegmentOutput = InitOutput | PartOutput | SegmentEnd | StreamEnd;

/** A new initialisation segment: the next segment begins with it, after a discontinuity unless it is the first. */
export interface InitOutput {
  kind: 'init';
  initId: number;
  data: Uint8Array;
  /** For the CODECS attribute and for `MediaSource.isTypeSupported`. */
  codecs: readonly string[];
  video: { width: number; height: number } | undefined;
}

export interface PartOutput {
  kind: 'part';
  msn: number;
  /** Within the segment, from 0. */
  index: number;
  initId: number;
  data: Uint8Array;
  durationMs: number;
  /** A player can begin with this part. */
  isIndependent: boolean;
  /** Of its segment: nothing in it continues the segment before. */
  isDiscontinuity: boolean;
  /** Of its segment's first picture or sample, in milliseconds since 1970. */
  programDateTimeMs: number;
  /** Bound of the parts' durations, as EXT-X-PART-INF tells it; the same in all parts. */
  partTargetMs: number;
  /** Pictures in it. */
  videoFrames: number;
}

/** The segment's last part came before. */
export interface SegmentEnd {
  kind: 'segment-end';
  msn: number;
  durationMs: number;
}

export interface StreamEnd {
  kind: 'stream-end';
}
