import type { RecordingAnswer } from './filmed.js';
import type { KnownSource } from './known-source.js';
import type { RecordedFile } from './recorded-file.js';

/** At most this much may be missing before a kill, or before the moment at which somebody asked for the end. */
export const MAX_MISSING_MS = 1_000;
/** A frame that was sent just after a kill may still have been written, by a process that was killed a moment later. */
const ON_THE_WAY_MS = 100;
/** A shorter hole needn't be reported, and neither need one that the file shows because its source was silent. */
const LEAST_HOLE_MS = 300;
/** The packets of WebRTC and of a tap travel by UDP: this share of a track's frames may get lost on a busy machine. */
const MAX_LOST_SHARE = 0.02;
/** How far a hole's reported place and length may be off. */
const MAX_TOLD_WRONG_MS = 500;

export interface Cut {
  readonly atMs: number;
  readonly what: string;
}

export interface CutReport {
  /** The most that is missing before a cut, over all cuts and tracks. */
  readonly missingMs: number;
  /** Frames that are missing where nothing was killed. */
  readonly lostFrames: number;
  readonly sentences: readonly string[];
}

export interface CutCase {
  readonly source: Pick<KnownSource, 'tracks' | 'sentMs'>;
  readonly file: Pick<RecordedFile, 'frames'>;
  readonly answer: RecordingAnswer;
  /** When the platform said that it was recording. */
  readonly startedMs: number;
  /** In order. Frames may be missing only between a cut and the continuation. */
  readonly cuts: readonly Cut[];
}

/**
 * Compares the frames in a file with those that its source has sent. The cuts go by the times of sending, and everything
 * else by the times of capture, so that a busy machine changes nothing.
 */
export function reportOfCuts({ source, file, answer, startedMs, cuts }: CutCase): CutReport {
  const sentences: string[] = [];
  let missingMs = 0;
  let lostFrames = 0;
  for (const [track, { codec, frameMs }] of source.tracks.entries()) {
    const sentMs = source.sentMs[track] ?? [];
    const found = (file.frames[track] ?? []).flatMap(({ number, atMs }) => {
      const sent = sentMs[number];
      if (sent === undefined) sentences.push(`its ${codec} has frame ${number}, which wasn't sent then`);
      return sent === undefined ? [] : [{ number, atMs, sentMs: sent }];
    });
    const [first] = found;
    if (first === undefined) {
      sentences.push(`it has no ${codec}`);
      continue;
    }
    if (first.sentMs > startedMs + MAX_MISSING_MS)
      sentences.push(`its ${codec} begins ${Math.round(first.sentMs - startedMs)} ms after the start was answered`);
    for (const { atMs, what } of cuts) {
      const last = found.findLast((frame) => frame.sentMs <= atMs)?.number ?? -1;
      // By the length of the media, so that a pause of the source doesn't count.
      const missing = sentMs.filter((sent, number) => number > last && sent !== undefined && sent <= atMs);
      missingMs = Math.max(missingMs, missing.length * frameMs);
      if (missing.length * frameMs > MAX_MISSING_MS)
        sentences.push(`of its ${codec}, ${Math.round(missing.length * frameMs)} ms are missing before ${what}`);
    }
    let lost = 0;
    const lostAtMs: number[] = [];
    for (const [index, frame] of found.entries()) {
      const before = found[index - 1];
      if (before === undefined || frame.number === before.number + 1) continue;
      // Files go by the times of capture. After a pause, a source sends late what it captured meanwhile.
      const spanMs = (frame.number - before.number) * frameMs;
      const holeMs = spanMs - frameMs;
      const isAtCut = cuts.some(
        ({ atMs }) => before.sentMs <= atMs + ON_THE_WAY_MS && before.sentMs > atMs - MAX_MISSING_MS - frameMs,
      );
      const sent = sentMs.slice(before.number + 1, frame.number).filter((atMs) => atMs !== undefined);
      if (sent.length > 0 && !isAtCut) {
        lost += sent.length;
        lostAtMs.push(Math.round(frame.atMs));
      }
      const isShown = Math.abs(frame.atMs - before.atMs - spanMs) < LEAST_HOLE_MS;
      if (holeMs > LEAST_HOLE_MS && !isShown && !isTold(holeMs, frame.atMs, answer))
        sentences.push(
          `its ${codec} has a hole of ${Math.round(holeMs)} ms at ${Math.round(frame.atMs)} ms, ` +
            `which isn't told: ${JSON.stringify(answer.details)}`,
        );
    }
    lostFrames += lost;
    if (lost > found.length * MAX_LOST_SHARE)
      sentences.push(
        `its ${codec} lacks ${lost} frames of ${found.length} where nothing was killed, before ${lostAtMs.join(', ')} ms; ` +
          `losses told: ${answer.details.losses}`,
      );
  }
  return { missingMs, lostFrames, sentences };
}

function isTold(holeMs: number, atMs: number, { details: { joints, gaps } }: RecordingAnswer): boolean {
  const told = [
    ...joints.map((joint) => ({ atMs: joint.atMs, lengthMs: joint.missingMs })),
    ...gaps.map((gap) => ({ atMs: gap.atMs, lengthMs: gap.lengthMs })),
  ];
  return told.some(
    (gap) =>
      Math.abs(gap.atMs - atMs) <= MAX_TOLD_WRONG_MS + Math.max(0, holeMs) &&
      Math.abs(gap.lengthMs - holeMs) <= MAX_TOLD_WRONG_MS,
  );
}
