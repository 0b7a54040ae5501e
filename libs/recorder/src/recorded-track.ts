import type { TrackDescription } from '@weir/frames';

import type { TrackConfig } from './track-config.js';

/** A track of the tap, with the payload type of its packets. Packets of other types are ignored. */
export interface RecordedTrack extends TrackDescription {
  readonly payloadType?: number;
}

export type Container = 'webm' | 'mp4';

/** One coded picture or audio frame with its place in the file. Times are in ticks of its track, from 0. */
export interface MediaSample {
  /** Index in the recorder's tracks. */
  readonly track: number;
  readonly pts: number;
  readonly dts: number;
  /** For video an estimate: only the next picture shows it. */
  readonly durationTicks: number;
  readonly isKeyFrame: boolean;
  readonly bytes: number;
  /** NAL units, each written with a length of four bytes before it, or the whole frame in one piece. */
  readonly chunks: readonly Uint8Array[];
  readonly hasNalLengths: boolean;
}

/** Writes a file that can only be appended to. */
export interface ContainerWriter {
  /** Written again when a track has been added, or when a key frame has shown what the header lacked. */
  header(configs: readonly TrackConfig[], startedAtMs: number, isFirst: boolean): Uint8Array;
  /** Says when what the file shows at this time was captured, by the sender's clock. */
  captured(configs: readonly TrackConfig[], fileMs: number, senderMs: number): Uint8Array;
  /** The samples of each track are in decoding order. */
  media(samples: readonly MediaSample[], configs: readonly TrackConfig[]): Uint8Array[];
}
