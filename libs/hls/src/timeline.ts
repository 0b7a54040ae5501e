import type { PartPacing } from './part-pacing.js';
import type { SegmentWriter } from './segment-writer.js';

export interface FrameTime {
  /** When the frame was captured, by our clock; see `SourceClock` of @weir/frames. */
  wallClockMs: number;
  /** Now, by any clock that only goes forward. */
  nowMs: number;
}

/** What both timelines are given. */
export interface TimelineContext {
  writer: SegmentWriter;
  pacing: PartPacing;
  segmentMs: number;
  maxSegmentMs: number;
  firstSegmentMs: number | undefined;
}
