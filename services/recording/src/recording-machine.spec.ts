import { describe, expect, it } from 'vitest';
import {
  begin,
  beginFinishing,
  nextTickMs,
  step,
  type RecordingInput,
  type RecordingSettings,
  type RecordingStep,
} from './recording-machine.js';

const SETTINGS: RecordingSettings = {
  ...{ streamWaitMs: 10_000, lookAgainMs: 500, finishPace: { firstMs: 500, maxMs: 4_000 } },
};

const AWAY: RecordingInput = { tag: 'refused', reason: 'no stream', absence: 'may-return' };
const UNFIT: RecordingInput = { tag: 'refused', reason: 'unfit', absence: 'is-over' };
const NODE_LOST: RecordingInput = { tag: 'lost', reason: 'node lost', absence: 'may-return' };
const STREAM_ENDED: RecordingInput = { tag: 'lost', reason: 'ended', absence: 'is-over' };
const STOP: RecordingInput = { tag: 'stop', reason: 'stopped' };
const RELEASE: RecordingInput = { tag: 'release' };
const NO_ROOM: RecordingInput = { tag: 'file-failed', trouble: 'no room' };

/** Each line: the input, the state after it, the effects. */
function transcript(start: RecordingStep, ...inputs: (readonly [RecordingInput | RecordingInput['tag'], number])[]) {
  let { state } = start;
  const lines = [`begin: ${state.tag}${told(start)}`];
  for (const [input, nowMs] of inputs) {
    const given = typeof input === 'string' ? ({ tag: input } as RecordingInput) : input;
    const next = step(SETTINGS, state, given, nowMs);
    state = next.state;
    const reason = 'reason' in state && state.reason !== '' ? ` (${state.reason})` : '';
    lines.push(`${given.tag}: ${state.tag}${reason}${told(next)}`);
  }
  return lines;
}

const told = ({ effects }: RecordingStep): string => effects.map(({ tag }) => ` > ${tag}`).join('');

describe('a recording', () => {
  it('is recorded, stopped and finished', () => {
    expect(transcript(begin(SETTINGS, false, 0), ['opened', 1], [STOP, 2], ['closed', 3], ['file-made', 4])).toEqual([
      'begin: opening > open-part',
      'opened: recording > save',
      'stop: closing > save > close-part',
      'closed: finishing (stopped) > save > make-file',
      'file-made: finished (stopped)',
    ]);
  });

  it('ends when its stream ends, and when its part breaks', () => {
    for (const input of [STREAM_ENDED, { tag: 'broken', reason: 'full' } as const])
      expect(transcript(begin(SETTINGS, false, 0), ['opened', 1], [input, 2], ['closed', 3]).at(-1)).toBe(
        `closed: finishing (${input.reason}) > save > make-file`,
      );
  });

  it('waits for a stream whose node was lost, and goes on with another part', () => {
    const steps = [
      ['opened', 0],
      [NODE_LOST, 1_000],
      ['closed', 1_001],
      ['tick', 1_499],
      ['tick', 1_500],
      [AWAY, 1_600],
      ['stream-began', 1_700],
      ['opened', 1_800],
    ] as const;
    expect(transcript(begin(SETTINGS, false, 0), ...steps).slice(2)).toEqual([
      'lost: waiting (node lost) > close-part > save',
      'closed: waiting (node lost)',
      'tick: waiting (node lost)',
      'tick: opening (node lost) > open-part',
      'refused: waiting (no stream) > save',
      'stream-began: opening (no stream) > open-part',
      'opened: recording > save',
    ]);
  });

  it('is finished when its stream stays away, and fails if the stream never came', () => {
    const away = (hasParts: boolean) => transcript(begin(SETTINGS, hasParts, 0), [AWAY, 10_000]).at(-1);
    expect(away(true)).toBe('refused: finishing (no stream) > save > make-file');
    expect(away(false)).toBe('refused: failed (no stream) > save');
    expect(transcript(begin(SETTINGS, false, 0), [UNFIT, 1]).at(-1)).toBe('refused: failed (unfit) > save');
  });

  it('never looks again later than its deadline', () => {
    const { state } = step(SETTINGS, begin(SETTINGS, true, 0).state, AWAY, 9_800);
    expect(nextTickMs(state)).toBe(10_000);
  });

  it('that is stopped while its stream is looked up ends when the answer is there', () => {
    expect(transcript(begin(SETTINGS, false, 0), [STOP, 1], [STOP, 2], ['opened', 3], ['closed', 4]).slice(2)).toEqual([
      'stop: opening',
      'opened: closing > close-part',
      'closed: finishing (stopped) > save > make-file',
    ]);
    expect(transcript(begin(SETTINGS, false, 0), [STOP, 1], [AWAY, 2]).at(-1)).toBe('refused: failed (stopped) > save');
  });

  it('that is stopped while it waits is finished', () => {
    expect(transcript(begin(SETTINGS, true, 0), [AWAY, 1], [STOP, 2]).at(-1)).toBe(
      'stop: finishing (stopped) > save > make-file',
    );
  });

  it('whose file can’t be made is tried again, later each time', () => {
    const start = beginFinishing('stopped');
    let { state } = start;
    const pauses: number[] = [];
    for (let tries = 0; tries < 5; tries++) {
      state = step(SETTINGS, state, NO_ROOM, 0).state;
      pauses.push(nextTickMs(state));
      expect(step(SETTINGS, state, { tag: 'tick' }, nextTickMs(state) - 1).effects).toEqual([]);
      state = step(SETTINGS, state, { tag: 'tick' }, nextTickMs(state)).state;
    }
    expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 4_000]);
    expect(transcript(start, ['nothing-recorded', 1]).at(-1)).toBe(
      'nothing-recorded: failed (nothing was recorded: stopped) > save',
    );
  });

  it('can be released in every state, and keeps its parts', () => {
    const paths: (readonly [RecordingInput | RecordingInput['tag'], number])[][] = [
      [
        [RELEASE, 1],
        [AWAY, 2],
      ],
      [
        [RELEASE, 1],
        ['opened', 2],
        ['closed', 3],
      ],
      [
        [AWAY, 1],
        [RELEASE, 2],
      ],
      [
        ['opened', 1],
        [RELEASE, 2],
        ['closed', 3],
      ],
      [
        ['opened', 1],
        [STOP, 2],
        [RELEASE, 3],
        ['closed', 4],
      ],
      [
        ['opened', 1],
        [STOP, 2],
        ['closed', 3],
        [RELEASE, 4],
        [NO_ROOM, 5],
      ],
      [
        ['opened', 1],
        [STOP, 2],
        ['closed', 3],
        [NO_ROOM, 4],
        [RELEASE, 5],
      ],
    ];
    for (const path of paths) expect(transcript(begin(SETTINGS, true, 0), ...path).at(-1)).toMatch(/: released$/);
  });

  it('accepts every input in every state, and stays in an end state', () => {
    const inputs: RecordingInput[] = [
      ...[AWAY, UNFIT, NODE_LOST, STREAM_ENDED, STOP, RELEASE, NO_ROOM],
      ...(['opened', 'closed', 'file-made', 'nothing-recorded', 'stream-began', 'tick'] as const).map((tag) => ({
        tag,
      })),
      { tag: 'broken', reason: 'x' },
    ];
    let states = [begin(SETTINGS, false, 0).state, begin(SETTINGS, true, 0).state];
    for (let depth = 0; depth < 4; depth++) {
      const next = new Map<string, (typeof states)[number]>();
      for (const state of states)
        for (const input of inputs) {
          const after = step(SETTINGS, state, input, depth * 5_000).state;
          if (state.tag === 'finished' || state.tag === 'failed' || state.tag === 'released') expect(after).toBe(state);
          next.set(JSON.stringify(after), after);
        }
      states = [...next.values()];
    }
    expect(new Set(states.map(({ tag }) => tag)).size).toBeGreaterThan(7);
  });
});
