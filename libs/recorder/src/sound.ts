import { type AudioFrame, silentFrame } from '@weir/frames';

/** A frame this much after the end of the one before leaves a hole, which silence fills. */
const HOLE_MS = 10;
/** A frame that begins this much before the end of the one before is dropped. */
const OVERLAP_MS = 12;
/** A silent track gets silence up to this long ago … */
const LEAST_PATIENCE_MS = 1_000;
/** … or longer, if its packets turn out to come later than that. */
const MAX_PATIENCE_MS = 5_000;

/** RFC 6716 §3.1: CELT, full band; 20, 10, 5 and 2.5 ms. */
const OPUS_UNITS = [
  { header: 0xf8, ticks: 960 },
  { header: 0xf0, ticks: 480 },
  { header: 0xe8, ticks: 240 },
  { header: 0xe0, ticks: 120 },
] as const;

interface Unit {
  readonly data: Uint8Array;
  readonly ticks: number;
}

export interface SoundOptions {
  readonly codec: 'opus' | 'MPEG4-GENERIC';
  readonly channels: number;
  /** Ticks per second. */
  readonly timescale: number;
  readonly aacFrameTicks: number;
}

export interface SoundPiece {
  readonly startTicks: number;
  readonly durationTicks: number;
  readonly data: Uint8Array;
}

/**
 * Makes sound without holes and overlaps, because many players count samples and don't look at timestamps. Where frames
 * are missing, or a clock runs slowly, silence is inserted; where there are too many, frames are dropped. All times are
 * in ticks from the beginning of the file.
 */
export class Sound {
  readonly #units: readonly Unit[];
  readonly #holeTicks: number;
  readonly #overlapTicks: number;
  readonly #ticksPerMs: number;
  #endTicks = 0;
  #patienceMs = LEAST_PATIENCE_MS;

  constructor(options: SoundOptions) {
    this.#ticksPerMs = options.timescale / 1000;
    this.#units = silenceOf(options);
    const smallest = this.#units.at(-1)?.ticks ?? options.aacFrameTicks;
    this.#holeTicks = Math.max(HOLE_MS * this.#ticksPerMs, 0.75 * smallest);
    this.#overlapTicks = Math.max(OVERLAP_MS * this.#ticksPerMs, 0.75 * smallest);
  }

  get endTicks(): number {
    return this.#endTicks;
  }

  /** `edgeTicks` is the present, in ticks of the file. */
  push(frame: AudioFrame, startTicks: number, edgeTicks: number): SoundPiece[] {
    const gap = startTicks - this.#endTicks;
    if (gap < -this.#overlapTicks) {
      const lateMs = (edgeTicks - startTicks) / this.#ticksPerMs;
      if (lateMs > this.#patienceMs) this.#patienceMs = Math.min(MAX_PATIENCE_MS, lateMs + 100);
      return [];
    }
    const pieces = gap > this.#holeTicks ? this.fillTo(startTicks) : [];
    pieces.push(this.#append(frame.data, frame.durationTicks));
    return pieces;
  }

  /** Nothing has come for some time: returns the silence that players need meanwhile. */
  advance(edgeTicks: number): SoundPiece[] {
    const untilTicks = edgeTicks - this.#patienceMs * this.#ticksPerMs;
    return untilTicks - this.#endTicks > this.#holeTicks ? this.fillTo(untilTicks) : [];
  }

  /** Adds silence up to this time, to the nearest unit. */
  fillTo(ticks: number): SoundPiece[] {
    const pieces: SoundPiece[] = [];
    for (const unit of this.#units) {
      const isSmallest = unit === this.#units.at(-1);
      const least = isSmallest ? unit.ticks / 2 : unit.ticks;
      while (ticks - this.#endTicks >= least) pieces.push(this.#append(unit.data, unit.ticks));
    }
    // There is no silent frame for this layout: the next frame comes late, and a player waits for it.
    if (this.#units.length === 0) this.#endTicks = Math.max(this.#endTicks, Math.round(ticks));
    return pieces;
  }

  #append(data: Uint8Array, durationTicks: number): SoundPiece {
    const startTicks = this.#endTicks;
    this.#endTicks += durationTicks;
    return { startTicks, durationTicks, data };
  }
}

/** Silent frames, the longest first. */
export function silenceOf({ codec, channels, aacFrameTicks }: SoundOptions): readonly Unit[] {
  const silent = silentFrame({ codec, channels }, aacFrameTicks);
  if (silent === undefined) return [];
  if (codec !== 'opus') return [{ data: silent.data, ticks: silent.durationTicks }];
  return OPUS_UNITS.map(({ header, ticks }) => {
    const data = Uint8Array.from(silent.data);
    data[0] = header | (channels === 2 ? 4 : 0);
    return { data, ticks };
  });
}
