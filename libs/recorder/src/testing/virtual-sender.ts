import { ntpTimeOf, renumber, type TrackDescription, writeSenderReport } from '@weir/frames';

import type { Clip } from './ffmpeg.js';

export interface Sent {
  readonly track: number;
  readonly packet: Uint8Array;
  readonly atMs: number;
}

/** What happens to one track on its way. Times are in ms after the beginning. */
export interface Path {
  /** How much the track's RTP clock is too fast, in millionths. */
  readonly driftPpm?: number;
  readonly firstTimestamp?: number;
  readonly delayMs?: number;
  readonly jitterMs?: number;
  /** Part of the packets that are lost. */
  readonly loss?: number;
  /** Stretches in which the track sends nothing. */
  readonly silent?: readonly (readonly [fromMs: number, toMs: number])[];
  /** When the source begins with other numbers. */
  readonly jumpsAtMs?: readonly number[];
  /** Undefined for a track that never reports. */
  readonly reportEveryMs?: number | undefined;
  readonly firstReportMs?: number;
}

export interface SenderOptions {
  readonly clip: Clip;
  readonly clipMs: number;
  readonly startMs: number;
  readonly durationMs: number;
  readonly paths: readonly Path[];
  readonly random: () => number;
  /** The sender's clock minus the receiver's. */
  readonly clockMs?: number;
}

interface Numbers {
  ssrc: number;
  timestamp: number;
  sinceMs: number;
  sequenceNumber: number;
}

/** Sends a clip again and again, as one stream, over a simulated network. The packets are in the order of arrival. */
export function* sendLoop(options: SenderOptions): Generator<Sent> {
  const { clip, clipMs, durationMs, paths } = options;
  const senders = clip.tracks.map((track, index) => new TrackSender(options, track, paths[index] ?? {}, index));
  const waiting: Sent[] = [];
  for (let loopMs = 0; loopMs < durationMs; loopMs += clipMs) {
    for (const { track, packet, captureMs, sentMs } of clip.packets) {
      const atMs = loopMs + sentMs;
      if (captureMs >= clipMs || atMs > durationMs) continue;
      waiting.push(...senders[track]!.send(packet, loopMs + captureMs, atMs));
    }
    waiting.sort((a, b) => a.atMs - b.atMs);
    const readyMs = options.startMs + loopMs + clipMs - 2_000;
    while (waiting[0] !== undefined && waiting[0].atMs < readyMs) yield waiting.shift()!;
  }
  yield* waiting;
}

class TrackSender {
  readonly #numbers: Numbers;
  #nextReportMs: number;
  #jumps: number[];
  #lastArrivalMs = 0;

  constructor(
    private readonly options: SenderOptions,
    private readonly track: TrackDescription,
    private readonly path: Path,
    private readonly index: number,
  ) {
    const timestamp = path.firstTimestamp ?? this.#below(2 ** 32);
    this.#numbers = { ssrc: this.#below(2 ** 32), timestamp, sinceMs: 0, sequenceNumber: this.#below(2 ** 16) };
    this.#nextReportMs = path.firstReportMs ?? 100;
    this.#jumps = [...(path.jumpsAtMs ?? [])];
  }

  *send(packet: Uint8Array, captureMs: number, sentMs: number): Generator<Sent> {
    const { silent = [], loss = 0, reportEveryMs } = this.path;
    if (this.#jumps[0] !== undefined && captureMs >= this.#jumps[0]) this.#jump(captureMs);
    if (reportEveryMs !== undefined && sentMs >= this.#nextReportMs) {
      this.#nextReportMs = sentMs + reportEveryMs;
      yield this.#arriving(this.#report(sentMs), sentMs);
    }
    if (silent.some(([from, to]) => captureMs >= from && captureMs < to)) return;
    const copy = Uint8Array.from(packet);
    const { ssrc, sequenceNumber } = this.#numbers;
    this.#numbers.sequenceNumber = (sequenceNumber + 1) & 0xffff;
    const payloadType = packet[1]! & 0x7f;
    renumber(copy, { payloadType, ssrc, sequenceNumber, timestamp: this.#timestampAt(captureMs) });
    if (this.options.random() >= loss) yield this.#arriving(copy, sentMs);
  }

  #arriving(packet: Uint8Array, sentMs: number): Sent {
    const { delayMs = 0, jitterMs = 0 } = this.path;
    const atMs = this.options.startMs + sentMs + delayMs + this.options.random() * jitterMs;
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, atMs);
    return { track: this.index, packet, atMs: this.#lastArrivalMs };
  }

  #jump(nowMs: number): void {
    this.#jumps.shift();
    const [ssrc, timestamp, sequenceNumber] = [this.#below(2 ** 32), this.#below(2 ** 32), this.#below(2 ** 16)];
    Object.assign(this.#numbers, { ssrc, timestamp, sequenceNumber, sinceMs: nowMs });
  }

  #timestampAt(ms: number): number {
    const { timestamp, sinceMs } = this.#numbers;
    const ticks = ((ms - sinceMs) * this.track.clockRate * (1 + (this.path.driftPpm ?? 0) / 1e6)) / 1000;
    return (timestamp + Math.round(ticks)) % 2 ** 32;
  }

  #report(ms: number): Uint8Array {
    const { startMs, clockMs = 0 } = this.options;
    return writeSenderReport({
      ...{ ssrc: this.#numbers.ssrc, ...ntpTimeOf(startMs + clockMs + ms) },
      ...{ rtpTimestamp: this.#timestampAt(ms), packetCount: 0, octetCount: 0 },
    });
  }

  #below(limit: number): number {
    return Math.floor(this.options.random() * limit);
  }
}

/** Random numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
