import { backOffMs, type Pace } from '@weir/timing';

/** How long and how often a recording tries. */
export interface RecordingSettings {
  /** How long to wait for a stream that isn't there yet, or has gone away. */
  readonly streamWaitMs: number;
  /** The pause between two attempts to find a stream. */
  readonly lookAgainMs: number;
  /** The pauses between attempts to finish a file. */
  readonly finishPace: Pace;
}

/** What the stream's absence means for the recording. */
export type Absence = 'may-return' | 'is-over';

export type RecordingState =
  /** The stream is looked up and tapped. `reason`: why it isn't recorded at the moment. */
  | {
      readonly tag: 'opening';
      readonly hasParts: boolean;
      readonly reason: string;
      readonly deadlineMs: number;
      /** Set if somebody has asked for the end meanwhile. */
      readonly ending: Ending | undefined;
    }
  /** The stream is away and will be looked for again. */
  | {
      readonly tag: 'waiting';
      readonly hasParts: boolean;
      readonly reason: string;
      readonly deadlineMs: number;
      readonly tryAtMs: number;
    }
  | { readonly tag: 'recording' }
  /** The part's last bytes are being written. */
  | { readonly tag: 'closing'; readonly ending: Ending }
  | { readonly tag: 'finishing'; readonly reason: string; readonly retries: number; readonly isReleased: boolean }
  /** The file couldn't be finished, perhaps for lack of space, and will be tried again. */
  | {
      readonly tag: 'unfinished';
      readonly reason: string;
      readonly trouble: string;
      readonly retries: number;
      readonly tryAtMs: number;
    }
  | { readonly tag: 'finished'; readonly reason: string }
  | { readonly tag: 'failed'; readonly reason: string }
  /** This instance has released the recording. Its parts stay, and another instance goes on with them. */
  | { readonly tag: 'released' };

export type Ending = { readonly tag: 'stop'; readonly reason: string } | { readonly tag: 'release' };

export type RecordingInput =
  /** Packets arrive, and are written to a new part. */
  | { readonly tag: 'opened' }
  | { readonly tag: 'refused'; readonly reason: string; readonly absence: Absence }
  /** The stream's node has ended the tap. */
  | { readonly tag: 'lost'; readonly reason: string; readonly absence: Absence }
  /** The part can't be written any more: the disk is full, or the media can't be read. */
  | { readonly tag: 'broken'; readonly reason: string }
  | { readonly tag: 'closed' }
  | { readonly tag: 'file-made' }
  /** No part has a single frame. */
  | { readonly tag: 'nothing-recorded' }
  | { readonly tag: 'file-failed'; readonly trouble: string }
  /** A stream of this name has begun. */
  | { readonly tag: 'stream-began' }
  | { readonly tag: 'stop'; readonly reason: string }
  | { readonly tag: 'release' }
  | { readonly tag: 'tick' };

export type RecordingEffect =
  /** Is answered with `opened` or `refused`. */
  | { readonly tag: 'open-part' }
  /** Is answered with `closed`. */
  | { readonly tag: 'close-part' }
  /** Is answered with `file-made`, `nothing-recorded` or `file-failed`. */
  | { readonly tag: 'make-file' }
  /** The new state must be stored in the database. */
  | { readonly tag: 'save' };

export interface RecordingStep {
  readonly state: RecordingState;
  readonly effects: readonly RecordingEffect[];
}

/** A recording that has just been asked for, or that another instance has left behind while it was recorded. */
export const begin = (settings: RecordingSettings, hasParts: boolean, nowMs: number): RecordingStep => ({
  state: {
    ...{ tag: 'opening', hasParts, ending: undefined, deadlineMs: nowMs + settings.streamWaitMs },
    reason: hasParts ? 'the recorder was lost' : '',
  },
  effects: [{ tag: 'open-part' }],
});

/** A recording that another instance has left behind while its file was being made. */
export const beginFinishing = (reason: string): RecordingStep => ({
  state: { tag: 'finishing', reason, retries: 0, isReleased: false },
  effects: [{ tag: 'make-file' }],
});

/** When the recording needs its next `tick`; Infinity if it needs none. */
export const nextTickMs = (state: RecordingState): number => ('tryAtMs' in state ? state.tryAtMs : Infinity);

const same = (state: RecordingState): RecordingStep => ({ state, effects: [] });

const finishing = (reason: string): RecordingStep => ({
  state: { tag: 'finishing', reason, retries: 0, isReleased: false },
  effects: [{ tag: 'save' }, { tag: 'make-file' }],
});

const failed = (reason: string): RecordingStep => ({ state: { tag: 'failed', reason }, effects: [{ tag: 'save' }] });

const RELEASED: RecordingStep = { state: { tag: 'released' }, effects: [] };

/** Without a part, there is nothing to make a file of. */
const over = (hasParts: boolean, reason: string): RecordingStep => (hasParts ? finishing(reason) : failed(reason));

/**
 * One recording, from the request until its file is complete. The time is passed with each input. No input throws in
 * any state, and no input has to be given twice.
 */
export function step(
  settings: RecordingSettings,
  state: RecordingState,
  input: RecordingInput,
  nowMs: number,
): RecordingStep {
  switch (state.tag) {
    case 'opening':
      return opening(settings, state, input, nowMs);
    case 'waiting':
      return waiting(state, input, nowMs);
    case 'recording':
      return recording(settings, input, nowMs);
    case 'closing':
      if (input.tag === 'closed') return state.ending.tag === 'release' ? RELEASED : finishing(state.ending.reason);
      return input.tag === 'release' ? same({ tag: 'closing', ending: input }) : same(state);
    case 'finishing':
      return inFinishing(settings, state, input, nowMs);
    case 'unfinished':
      if (input.tag === 'release') return RELEASED;
      if (input.tag !== 'tick' || nowMs < state.tryAtMs) return same(state);
      return {
        state: { tag: 'finishing', reason: state.reason, retries: state.retries, isReleased: false },
        effects: [{ tag: 'make-file' }],
      };
    case 'finished':
    case 'failed':
    case 'released':
      return same(state);
    default:
      return state satisfies never;
  }
}

function opening(
  settings: RecordingSettings,
  state: Extract<RecordingState, { tag: 'opening' }>,
  input: RecordingInput,
  nowMs: number,
): RecordingStep {
  const { ending, hasParts } = state;
  switch (input.tag) {
    case 'opened':
      if (ending !== undefined) return { state: { tag: 'closing', ending }, effects: [{ tag: 'close-part' }] };
      return { state: { tag: 'recording' }, effects: [{ tag: 'save' }] };
    case 'refused':
      if (ending !== undefined) return ending.tag === 'release' ? RELEASED : over(hasParts, ending.reason);
      if (input.absence === 'is-over' || nowMs >= state.deadlineMs) return over(hasParts, input.reason);
      return {
        state: {
          ...{ tag: 'waiting', hasParts, reason: input.reason, deadlineMs: state.deadlineMs },
          tryAtMs: Math.min(nowMs + settings.lookAgainMs, state.deadlineMs),
        },
        effects: [{ tag: 'save' }],
      };
    case 'stop':
      return same({ ...state, ending: ending ?? input });
    case 'release':
      return same({ ...state, ending: input });
    default:
      return same(state);
  }
}

function waiting(
  state: Extract<RecordingState, { tag: 'waiting' }>,
  input: RecordingInput,
  nowMs: number,
): RecordingStep {
  const { hasParts, reason, deadlineMs } = state;
  switch (input.tag) {
    case 'stop':
      return over(hasParts, input.reason);
    case 'release':
      return RELEASED;
    case 'tick':
      if (nowMs < state.tryAtMs) return same(state);
      break;
    case 'stream-began':
      break;
    default:
      return same(state);
  }
  return {
    state: { tag: 'opening', hasParts, reason, deadlineMs, ending: undefined },
    effects: [{ tag: 'open-part' }],
  };
}

function recording(settings: RecordingSettings, input: RecordingInput, nowMs: number): RecordingStep {
  const closing = (ending: Ending): RecordingStep => ({
    state: { tag: 'closing', ending },
    effects: [{ tag: 'save' }, { tag: 'close-part' }],
  });
  switch (input.tag) {
    case 'lost':
      if (input.absence === 'is-over') return closing({ tag: 'stop', reason: input.reason });
      return {
        state: {
          ...{ tag: 'waiting', hasParts: true, reason: input.reason },
          ...{ deadlineMs: nowMs + settings.streamWaitMs, tryAtMs: nowMs + settings.lookAgainMs },
        },
        effects: [{ tag: 'close-part' }, { tag: 'save' }],
      };
    case 'broken':
    case 'stop':
      return closing({ tag: 'stop', reason: input.reason });
    case 'release':
      return closing(input);
    default:
      return same({ tag: 'recording' });
  }
}

function inFinishing(
  settings: RecordingSettings,
  state: Extract<RecordingState, { tag: 'finishing' }>,
  input: RecordingInput,
  nowMs: number,
): RecordingStep {
  const { reason, retries, isReleased } = state;
  switch (input.tag) {
    case 'file-made':
      return { state: { tag: 'finished', reason }, effects: [] };
    case 'nothing-recorded':
      return failed(reason === '' ? 'nothing was recorded' : `nothing was recorded: ${reason}`);
    case 'file-failed': {
      if (isReleased) return RELEASED;
      const tryAtMs = nowMs + backOffMs(settings.finishPace, retries);
      return {
        state: { tag: 'unfinished', reason, trouble: input.trouble, retries: retries + 1, tryAtMs },
        effects: [{ tag: 'save' }],
      };
    }
    case 'release':
      return same({ ...state, isReleased: true });
    default:
      return same(state);
  }
}
