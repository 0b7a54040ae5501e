import { box, fullBox, u32 } from './box.js';

const FIRST_CAPACITY = 256;

/** Numbers of 32 bits; a plain array would need twice the memory. */
class NumberList {
  #values = new Uint32Array(FIRST_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Uint32Array(this.#length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length++] = value;
  }

  at(index: number): number {
    return this.#values[index]!;
  }

  replace(index: number, value: number): void {
    this.#values[index] = value;
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.#length * 4);
    const view = new DataView(bytes.buffer);
    for (let index = 0; index < this.#length; index++) view.setUint32(index * 4, this.#values[index]!);
    return bytes;
  }
}

/** Pairs of a count and the value that this many samples in a row have. */
class Runs {
  readonly #pairs = new NumberList();

  push(value: number): void {
    const last = this.#pairs.length - 2;
    if (last >= 0 && this.#pairs.at(last + 1) === value >>> 0) {
      this.#pairs.replace(last, this.#pairs.at(last) + 1);
      return;
    }
    this.#pairs.push(1);
    this.#pairs.push(value);
  }

  get count(): number {
    return this.#pairs.length / 2;
  }

  bytes(): Uint8Array {
    return this.#pairs.bytes();
  }
}

/** A sample of a finished file. Times are in ticks of its track, counted from the beginning of the file. */
export interface TableSample {
  readonly dts: number;
  readonly pts: number;
  readonly bytes: number;
  readonly isSync: boolean;
}

/**
 * The index of one track in a file that isn't fragmented (ISO 14496-12 §8.6 and §8.7). It needs four bytes per sample
 * and little else. Samples are added in decoding order, and each chunk is opened before its samples.
 */
export class SampleTable {
  readonly #sizes = new NumberList();
  readonly #steps = new Runs();
  readonly #compositions = new Runs();
  readonly #syncSamples = new NumberList();
  /** High and low word of each chunk's offset. */
  readonly #offsets = new NumberList();
  /** For each run of chunks with equally many samples: first chunk, samples per chunk, description. */
  readonly #chunkRuns = new NumberList();
  #chunkSamples = 0;
  #startPts = 0;
  #firstComposition = 0;
  #lastDts = 0;
  #lastDurationTicks = 0;
  #decodeTicks = 0;
  #endPts = 0;
  #isReordered = false;

  get isEmpty(): boolean {
    return this.#sizes.length === 0;
  }

  /** When the first sample is shown. */
  get startPts(): number {
    return this.#startPts;
  }

  /** Where the last shown sample ends. */
  get endPts(): number {
    return this.#endPts;
  }

  /** The first sample's presentation time, counted from its decoding time. */
  get firstComposition(): number {
    return this.#firstComposition;
  }

  /** Opens a chunk at this offset in the media data. */
  openChunk(offset: number): void {
    this.#closeChunk();
    this.#offsets.push(Math.floor(offset / 2 ** 32));
    this.#offsets.push(offset % 2 ** 32);
  }

  /** `durationTicks` counts only for the last sample: the others last until the next one. */
  add({ dts, pts, bytes, isSync }: TableSample, durationTicks: number): void {
    if (this.#sizes.length === 0) {
      this.#startPts = pts;
      this.#firstComposition = pts - dts;
    } else {
      const step = Math.max(1, dts - this.#lastDts);
      this.#steps.push(step);
      this.#decodeTicks += step;
    }
    if (pts !== dts) this.#isReordered = true;
    this.#compositions.push(pts - dts);
    this.#sizes.push(bytes);
    if (isSync) this.#syncSamples.push(this.#sizes.length);
    this.#chunkSamples += 1;
    this.#lastDts = dts;
    this.#lastDurationTicks = durationTicks;
    this.#endPts = Math.max(this.#endPts, pts + durationTicks);
  }

  /** The sum of all samples' durations. */
  get mediaTicks(): number {
    return this.#decodeTicks + this.#lastDurationTicks;
  }

  /** Writes `stbl`; nothing may be added afterwards. Chunk offsets count from the beginning of the media data. */
  write(sampleDescription: Uint8Array): Uint8Array {
    this.#closeChunk();
    this.#steps.push(this.#lastDurationTicks);
    const isAllSync = this.#syncSamples.length === this.#sizes.length;
    const chunks = this.#offsets.length / 2;
    return box(
      'stbl',
      sampleDescription,
      fullBox('stts', 0, 0, u32(this.#steps.count), this.#steps.bytes()),
      this.#isReordered ? fullBox('ctts', 1, 0, u32(this.#compositions.count), this.#compositions.bytes()) : [],
      isAllSync ? [] : fullBox('stss', 0, 0, u32(this.#syncSamples.length), this.#syncSamples.bytes()),
      fullBox('stsc', 0, 0, u32(this.#chunkRuns.length / 3), this.#chunkRuns.bytes()),
      fullBox('stsz', 0, 0, u32(0, this.#sizes.length), this.#sizes.bytes()),
      fullBox('co64', 0, 0, u32(chunks), this.#offsets.bytes()),
    );
  }

  #closeChunk(): void {
    if (this.#chunkSamples === 0) return;
    const chunk = this.#offsets.length / 2;
    const last = this.#chunkRuns.length - 3;
    if (last < 0 || this.#chunkRuns.at(last + 1) !== this.#chunkSamples) {
      for (const value of [chunk, this.#chunkSamples, 1]) this.#chunkRuns.push(value);
    }
    this.#chunkSamples = 0;
  }
}
