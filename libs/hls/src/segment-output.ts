/** What the segmenter produces, in order. `msn` is the Media Sequence Number of a segment. */
export type SegmentOutput = InitOutput | PartOutput | SegmentEnd | StreamEnd;

/**
 * A new initialisation segment. The next segment uses it and, unless it is the first segment, follows a discontinuity.
 */
export interface InitOutput {
  tag: 'init';
  initId: number;
  data: Uint8Array;
  /** For the CODECS attribute and for `MediaSource.isTypeSupported`. */
  codecs: readonly string[];
  video: { width: number; height: number } | undefined;
}

export interface PartOutput {
  tag: 'part';
  msn: number;
  /** Position in the segment, from 0. */
  index: number;
  initId: number;
  data: Uint8Array;
  durationMs: number;
  /** A player can start with this part. */
  isIndependent: boolean;
  /** The part's segment doesn't continue the previous segment. */
  isDiscontinuity: boolean;
  /** When the first picture or sample of the segment was captured, in milliseconds since 1970. */
  programDateTimeMs: number;
  /** Upper bound of the durations of parts, as in EXT-X-PART-INF; the same in all parts. */
  partTargetMs: number;
  /** Number of pictures in the part. */
  videoFrames: number;
}

/** Follows the last part of the segment. */
export interface SegmentEnd {
  tag: 'segment-end';
  msn: number;
  durationMs: number;
}

export interface StreamEnd {
  tag: 'stream-end';
}
