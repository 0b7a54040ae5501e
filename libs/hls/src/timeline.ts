import type { PartPacing } from './part-pacing.js';
import type { SegmentWriter } from './segment-writer.js';

export interface FrameTime {
  /** When the frame was captured, by the local clock; see `SourceClock` of @weir/frames. */
  wallClockMs: number;
  /** The current time, by any clock that never goes back. */
  nowMs: number;
}

/** What both timelines need. */
export interface TimelineContext {
  writer: SegmentWriter;
  pacing: PartPacing;
  segmentMs: number;
  maxSegmentMs: number;
  firstSegmentMs: number | undefined;
}
