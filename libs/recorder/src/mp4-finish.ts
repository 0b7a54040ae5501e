import {
  boxesIn,
  type MovieTrack,
  type ReadRun,
  type ReferenceTime,
  readMediaFragment,
  readMovieTracks,
  referenceTimeOf,
  SampleTable,
  writeMovie,
} from '@weir/mp4';

import { concat } from './ebml.js';
import type { FinishResult, Joint, WritableTarget } from './finish-file.js';
import { TIMELINE_START_S } from './mp4.js';
import type { PartReader } from './part-reader.js';
import { PartTime } from './part-time.js';
import { silenceOf } from './sound.js';

/** More than a recorder ever puts into one box: the file is damaged. */
const MAX_BOX_BYTES = 64 * 1024 * 1024;
const HEAD_BYTES = 8;
const MAX_LAST_PICTURE_MS = 1_000;
/** A recorder adds silence itself if sound is missing for longer. */
const MAX_SILENCE_MS = 30_000;

/** What a part consists of, in order. */
type Found =
  | { readonly tag: 'movie'; readonly tracks: readonly MovieTrack[] }
  | { readonly tag: 'reference-time'; readonly time: ReferenceTime }
  | {
      readonly tag: 'fragment';
      readonly runs: readonly ReadRun[];
      /** Where the samples lie in the part; the last of them may be missing. */
      readonly dataOffset: number;
      readonly dataBytes: number;
    };

export async function finishMp4(readers: readonly PartReader[], target: WritableTarget): Promise<FinishResult> {
  const index = new Index();
  for (const [part, reader] of readers.entries()) {
    index.beginPart();
    for await (const found of contentOf(reader)) {
      if (found.tag === 'movie' && !index.learn(found.tracks)) return { tag: 'different-tracks', part };
      if (found.tag === 'reference-time') index.noteTime(found.time);
      if (found.tag === 'fragment') index.add(reader, found);
    }
  }
  if (index.dataBytes === 0) return { tag: 'empty' };
  const header = writeMovie(
    index.tracks.map(({ shape, table }) => ({ ...shape, table })),
    index.dataBytes,
  );
  await target.write(header);
  for (const piece of index.pieces) {
    if (piece.tag === 'silence') await target.write(piece.content);
    else for await (const bytes of piece.reader.pieces(piece.offset, piece.bytes)) await target.write(bytes);
  }
  return {
    ...{ tag: 'finished', container: 'mp4', durationMs: index.endMs, sizeBytes: header.length + index.dataBytes },
    ...{ startedAtMs: index.startedAtMs ?? 0, joints: index.joints },
  };
}

/** Reads up to the first box that isn't whole. Of a fragment that is cut off, the data that is there is used. */
async function* contentOf(reader: PartReader): AsyncGenerator<Found> {
  let runs: readonly ReadRun[] | undefined;
  for (let offset = 0; offset + HEAD_BYTES <= reader.sizeBytes;) {
    const head = await reader.bytes(offset, HEAD_BYTES);
    const size = new DataView(head.buffer, head.byteOffset, HEAD_BYTES).getUint32(0);
    const type = String.fromCharCode(...head.subarray(4));
    const isWhole = offset + size <= reader.sizeBytes;
    if (size < HEAD_BYTES || size > MAX_BOX_BYTES || (!isWhole && type !== 'mdat')) return;
    if (type === 'moov') yield { tag: 'movie', tracks: readMovieTracks(await reader.bytes(offset, size)) };
    if (type === 'prft') yield { tag: 'reference-time', time: referenceTimeOf(await reader.bytes(offset, size)) };
    if (type === 'moof') runs = runsOf(await reader.bytes(offset, size));
    if (type === 'mdat' && runs !== undefined) {
      const dataOffset = offset + HEAD_BYTES;
      const dataBytes = Math.min(size - HEAD_BYTES, reader.sizeBytes - dataOffset);
      yield { tag: 'fragment', runs, dataOffset, dataBytes };
      runs = undefined;
    }
    offset += size;
  }
}

/** Undefined if the box isn't what a recorder writes. */
function runsOf(moof: Uint8Array): ReadRun[] | undefined {
  const view = new DataView(moof.buffer, moof.byteOffset, moof.byteLength);
  const fragments = [...boxesIn(view, HEAD_BYTES, view.byteLength)].filter(({ type }) => type === 'traf');
  const isOurs = fragments.every(({ start, end }) => {
    const [, , run, ...rest] = [...boxesIn(view, start, end)];
    return run?.type === 'trun' && rest.length === 0 && run.end - run.start === 12 + 16 * view.getUint32(run.start + 4);
  });
  return isOurs ? readMediaFragment(moof) : undefined;
}

interface Track {
  shape: MovieTrack;
  readonly table: SampleTable;
  lastDts: number | undefined;
  lastTicks: number;
}

/** A piece of the finished file's media data. */
type Piece =
  | { readonly tag: 'copied'; readonly reader: PartReader; readonly offset: number; readonly bytes: number }
  | { readonly tag: 'silence'; readonly content: Uint8Array };

interface JoinedParts {
  readonly atMs: number;
  readonly before: PartTime;
  /** The length of the part before. */
  readonly beforeMs: number;
  readonly after: PartTime;
}

/** The index of the finished file, which is built while the parts are read. */
class Index {
  readonly pieces: Piece[] = [];
  readonly tracks: Track[] = [];
  dataBytes = 0;
  startedAtMs: number | undefined;
  readonly #joints: JoinedParts[] = [];
  #time = new PartTime();
  #timeBefore = new PartTime();
  #lengthBeforeMs = 0;
  /** Where the part begins in the finished file. */
  #partMs = 0;
  #isPartOpen = false;

  get endMs(): number {
    return Math.max(0, ...this.tracks.map(({ shape, table }) => (table.endPts * 1000) / shape.timescale));
  }

  /** To be asked when all parts are read. */
  get joints(): Joint[] {
    return this.#joints.map(({ atMs, before, beforeMs, after }) => ({
      atMs,
      missingMs: before.missingUntil(after, beforeMs),
    }));
  }

  beginPart(): void {
    if (this.#isPartOpen) {
      this.#lengthBeforeMs = this.endMs - this.#partMs;
      this.#timeBefore = this.#time;
    }
    this.#time = new PartTime();
    this.#isPartOpen = false;
  }

  noteTime({ kind, unixMs, mediaTimeTicks }: ReferenceTime): void {
    const timescale = this.tracks[0]?.shape.timescale ?? 1;
    if (kind === 'input') this.#time.startedAtMs = unixMs;
    else this.#time.captured({ partMs: (mediaTimeTicks / timescale - TIMELINE_START_S) * 1000, senderMs: unixMs });
  }

  /** Returns false if the tracks from before aren't among these. There may be more now, because tracks come later. */
  learn(tracks: readonly MovieTrack[]): boolean {
    const continues = this.tracks.every(({ shape }, index) => {
      const later = tracks[index];
      return later !== undefined && codecOf(later) === codecOf(shape);
    });
    if (!continues) return false;
    for (const [index, shape] of tracks.entries()) {
      const known = this.tracks[index];
      if (known === undefined) this.tracks.push({ shape, table: new SampleTable(), lastDts: undefined, lastTicks: 0 });
      // A video without a picture had no size yet.
      else if (known.table.isEmpty) known.shape = shape;
    }
    return true;
  }

  add(reader: PartReader, { runs, dataOffset, dataBytes }: Extract<Found, { tag: 'fragment' }>): void {
    if (!this.#isPartOpen) this.#openPart();
    let used = 0;
    let isCut = false;
    for (const run of runs) {
      const track = this.tracks.find(({ shape }) => shape.trackId === run.trackId);
      if (track === undefined || isCut) break;
      track.table.openChunk(this.dataBytes + used);
      let dts = run.decodeTime + this.#ticks(track, this.#partMs) - TIMELINE_START_S * track.shape.timescale;
      for (const { bytes, duration, isSync, compositionOffset } of run.samples) {
        isCut ||= used + bytes > dataBytes;
        if (isCut) break;
        used += bytes;
        addSample(track, { dts, pts: dts + compositionOffset, bytes, isSync }, duration);
        dts += duration;
      }
    }
    if (used === 0) return;
    this.pieces.push({ tag: 'copied', reader, offset: dataOffset, bytes: used });
    this.dataBytes += used;
  }

  /** The part follows the one before. Sound goes on until it begins, because players count its samples. */
  #openPart(): void {
    this.#isPartOpen = true;
    if (this.startedAtMs === undefined) {
      this.startedAtMs = this.#time.startedAtMs;
      return;
    }
    this.#partMs = Math.round(this.endMs);
    this.#joints.push({
      ...{ atMs: this.#partMs, before: this.#timeBefore, after: this.#time },
      beforeMs: this.#lengthBeforeMs,
    });
    for (const track of this.tracks) if (!track.shape.isVideo) this.#addSilence(track);
  }

  #addSilence(track: Track): void {
    const { shape, table, lastTicks } = track;
    const unit = silenceOf({
      codec: codecOf(shape) === 'Opus' ? 'opus' : 'MPEG4-GENERIC',
      channels: channelsOf(shape),
      ...{ timescale: shape.timescale, aacFrameTicks: lastTicks },
    })[0];
    const missing = Math.min(this.#ticks(track, this.#partMs) - table.endPts, this.#ticks(track, MAX_SILENCE_MS));
    const count = unit === undefined || unit.ticks === 0 ? 0 : Math.round(missing / unit.ticks);
    if (unit === undefined || count <= 0) return;
    table.openChunk(this.dataBytes);
    for (let index = 0; index < count; index++) {
      const dts = table.endPts;
      addSample(track, { dts, pts: dts, bytes: unit.data.length, isSync: true }, unit.ticks);
    }
    this.pieces.push({ tag: 'silence', content: concat(Array.from({ length: count }, () => unit.data)) });
    this.dataBytes += count * unit.data.length;
  }

  #ticks({ shape }: Track, ms: number): number {
    return Math.round((ms * shape.timescale) / 1000);
  }
}

function addSample(track: Track, sample: Parameters<SampleTable['add']>[0], durationTicks: number): void {
  const stepTicks = sample.dts - (track.lastDts ?? sample.dts);
  const longest = (track.shape.timescale * MAX_LAST_PICTURE_MS) / 1000;
  const lastsAsBefore = track.shape.isVideo && stepTicks > 0;
  track.table.add(sample, lastsAsBefore ? Math.min(stepTicks, longest) : durationTicks);
  track.lastDts = sample.dts;
  track.lastTicks = durationTicks;
}

/** Name of the sample entry. */
const codecOf = ({ sampleDescription }: MovieTrack): string =>
  String.fromCharCode(...sampleDescription.subarray(20, 24));

const channelsOf = ({ sampleDescription }: MovieTrack): number =>
  ((sampleDescription[40] ?? 0) << 8) | (sampleDescription[41] ?? 0);
