/** One coded picture or audio frame in a fragment. Times are in ticks of its track. */
export interface Sample {
  durationTicks: number;
  /** Presentation time minus decoding time; may be negative. */
  compositionOffsetTicks: number;
  isSync: boolean;
  bytes: number;
  /** NAL units are written with a length of four bytes before each one. Other data is one chunk without a length. */
  chunks: readonly Uint8Array[];
  hasNalLengths: boolean;
}

export interface TrackRun {
  trackId: number;
  decodeTimeTicks: number;
  samples: readonly Sample[];
}

const SYNC_FLAGS = 0x0200_0000;
const NON_SYNC_FLAGS = 0x0101_0000;
const MOOF = 0x6d6f6f66;
const MFHD = 0x6d666864;
const TRAF = 0x74726166;
const TFHD = 0x74666864;
const TFDT = 0x74666474;
const TRUN = 0x7472756e;
const MDAT = 0x6d646174;
const TRUN_BYTES = 20;
const TRUN_SAMPLE_BYTES = 16;
const TRAF_FIXED_BYTES = 8 + 16 + 20 + TRUN_BYTES;

/**
 * Writes `moof` and `mdat` of one CMAF chunk in one pass into one buffer.
 *
 * No library does this well enough. mediabunny, the best TypeScript muxer for it, ends a fragment only where every
 * track has a key frame, and orders B-frames only once the whole GOP is known. A part of a fifth of a second must be
 * able to end at any frame.
 */
export function writeMediaFragment(sequenceNumber: number, runs: readonly TrackRun[]): Uint8Array {
  let moofBytes = 8 + 16;
  let dataBytes = 0;
  for (const { samples } of runs) {
    moofBytes += TRAF_FIXED_BYTES + samples.length * TRUN_SAMPLE_BYTES;
    for (const sample of samples) dataBytes += sample.bytes;
  }
  const bytes = new Uint8Array(moofBytes + 8 + dataBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, moofBytes);
  view.setUint32(4, MOOF);
  view.setUint32(8, 16);
  view.setUint32(12, MFHD);
  view.setUint32(20, sequenceNumber % 2 ** 32);
  let offset = 24;
  let dataOffset = moofBytes + 8;
  for (const run of runs) {
    offset = writeRun(view, offset, run, dataOffset);
    for (const sample of run.samples) {
      writeSample(bytes, view, dataOffset, sample);
      dataOffset += sample.bytes;
    }
  }
  view.setUint32(moofBytes, 8 + dataBytes);
  view.setUint32(moofBytes + 4, MDAT);
  return bytes;
}

function writeRun(view: DataView, start: number, { trackId, decodeTimeTicks, samples }: TrackRun, dataOffset: number) {
  let offset = start;
  const word = (value: number) => {
    view.setUint32(offset, value);
    offset += 4;
  };
  word(TRAF_FIXED_BYTES + samples.length * TRUN_SAMPLE_BYTES);
  word(TRAF);
  word(16);
  word(TFHD);
  word(0x02_0000); // default-base-is-moof
  word(trackId);
  word(20);
  word(TFDT);
  word(0x0100_0000);
  word(Math.floor(decodeTimeTicks / 2 ** 32));
  word(decodeTimeTicks % 2 ** 32);
  word(TRUN_BYTES + samples.length * TRUN_SAMPLE_BYTES);
  word(TRUN);
  word(0x0100_0f01); // version 1 (signed offsets); data offset; duration, size, flags and composition offset per sample
  word(samples.length);
  word(dataOffset);
  for (const sample of samples) {
    word(sample.durationTicks);
    word(sample.bytes);
    word(sample.isSync ? SYNC_FLAGS : NON_SYNC_FLAGS);
    word(sample.compositionOffsetTicks);
  }
  return offset;
}

function writeSample(bytes: Uint8Array, view: DataView, start: number, sample: Sample): void {
  let offset = start;
  for (const chunk of sample.chunks) {
    if (sample.hasNalLengths) {
      view.setUint32(offset, chunk.length);
      offset += 4;
    }
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
}
