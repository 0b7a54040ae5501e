import { errOf, type Err, type Outcome } from '@weir/protocol-turing';

/** Why a stream is over, as metrics and logs show it. */
export type EndCause =
  | 'failed-to-start'
  | 'unwatched'
  | 'stopped'
  | 'camera-changed'
  | 'taken-over'
  | 'draining'
  | 'ended-by-media'
  | 'robot-refused'
  | 'credential-ended'
  | 'node-lost';

export interface Camera {
  /** Undefined: the platform asks the robot to push. */
  readonly rtspUrl?: string | undefined;
  /** The stream goes on without viewers. */
  readonly pinned: boolean;
}

export interface CameraStreamSettings {
  /** The longest time from the first request to the first picture. */
  readonly timeoutMs: number;
  /** How long a stream goes on without viewers, and how long a request for it counts as interest. */
  readonly lingerMs: number;
}

/** How far the command to the robot has come; always `none` for a camera that is pulled. */
type Command = 'none' | 'asked' | 'acknowledged';

type Phase =
  /** Finding out whether the robot can be reached. */
  | { readonly tag: 'checking' }
  /** Asking the media core for a session. */
  | { readonly tag: 'opening'; readonly attempt: number }
  /** The name is taken: ending the stream that a dead owner may have left. */
  | { readonly tag: 'evicting'; readonly attempt: number; readonly refusal: Err }
  | { readonly tag: 'pausing'; readonly attempt: number; readonly deadlineMs: number }
  /** The session is open, and no picture has come yet. */
  | { readonly tag: 'awaiting'; readonly command: Command; readonly pushUrl: string }
  | {
      readonly tag: 'live';
      readonly command: Command;
      readonly pushUrl: string;
      readonly viewers: number;
      readonly unwatchedSinceMs: number | undefined;
    }
  /** The robot has time to end its push by itself, before the media core refuses it. */
  | { readonly tag: 'stopping'; readonly deadlineMs: number }
  /** Closing the media core's session. */
  | { readonly tag: 'closing' }
  | { readonly tag: 'ended' };

export type CameraStreamState = Phase & {
  readonly settings: CameraStreamSettings;
  readonly camera: Camera;
  /** Who asked for the stream, and the time of each one's last request. */
  readonly askers: ReadonlyMap<string, number>;
  /** The first picture must have come by then. */
  readonly untilMs: number;
};

type StateOf<Tag extends Phase['tag']> = Extract<CameraStreamState, { tag: Tag }>;

export type CameraStreamInput =
  /** Somebody wants the stream. */
  | { readonly tag: 'joined'; readonly asker: string }
  /** Somebody doesn't want the stream any more. */
  | { readonly tag: 'left'; readonly asker: string }
  /** An operator has changed the camera, or removed it (undefined). */
  | { readonly tag: 'camera-changed'; readonly camera: Camera | undefined }
  | { readonly tag: 'watched'; readonly viewers: number }
  /** The robot has reconnected, perhaps after a restart. */
  | { readonly tag: 'robot-returned' }
  | { readonly tag: 'end'; readonly cause: Exclude<EndCause, 'failed-to-start'> }
  | { readonly tag: 'tick' }
  // Results of effects:
  | { readonly tag: 'reachable'; readonly isReachable: boolean }
  | { readonly tag: 'opened'; readonly pushUrl: string }
  | { readonly tag: 'name-taken'; readonly err: Err }
  | { readonly tag: 'evicted'; readonly wasOurs: boolean }
  | { readonly tag: 'failed'; readonly err: Err }
  | { readonly tag: 'robot-answered'; readonly to: 'start' | 'again'; readonly outcome: Outcome<unknown> }
  | { readonly tag: 'robot-stopped' }
  | { readonly tag: 'closed' }
  // Events of the session:
  | { readonly tag: 'connected' }
  | { readonly tag: 'media-ended'; readonly cause: 'ended-by-media' | 'node-lost'; readonly err: Err };

export type CameraStreamEffect =
  | { readonly tag: 'check' }
  | { readonly tag: 'open'; readonly rtspUrl: string | undefined; readonly timeoutMs: number }
  | { readonly tag: 'evict' }
  | {
      readonly tag: 'command';
      readonly to: 'start' | 'again';
      readonly pushUrl: string;
      readonly timeoutMs: number;
    }
  | { readonly tag: 'stop-robot' }
  /** Comes once: the result for everybody who asked for the stream. */
  | { readonly tag: 'started'; readonly err: Err | undefined }
  /** Comes once: from now on nobody can get the stream. */
  | { readonly tag: 'over'; readonly cause: EndCause }
  | { readonly tag: 'close' }
  /** Comes once, as the last effect: everything is released. */
  | { readonly tag: 'gone' };

export interface CameraStreamStep {
  readonly state: CameraStreamState;
  readonly effects: readonly CameraStreamEffect[];
}

/** How long a robot that pushes may take to end its push by itself before it is cut off. */
const STOP_GRACE_MS = 1_000;
/** When an owner dies, the media node ends its streams within some seconds. */
const NAME_RETRY_DELAYS_MS = [100, 300, 600, 1_000, 2_000];

/**
 * One camera's stream, from the first request to its end. It has one session in the media core and one command to the
 * robot, or one pull, no matter how many ask for it. Whatever ends it, it releases everything before it is gone. No
 * input throws in any state.
 */
export function startCameraStream(camera: Camera, settings: CameraStreamSettings, nowMs: number): CameraStreamStep {
  const common = { camera, settings, askers: new Map<string, number>(), untilMs: nowMs + settings.timeoutMs };
  if (camera.rtspUrl === undefined) return { state: { ...common, tag: 'checking' }, effects: [{ tag: 'check' }] };
  return open({ ...common, tag: 'opening', attempt: 0 }, nowMs);
}

/** The stage that others see. */
export function stageOf({ tag }: CameraStreamState): 'starting' | 'live' | 'ended' {
  switch (tag) {
    case 'checking':
    case 'opening':
    case 'evicting':
    case 'pausing':
    case 'awaiting':
      return 'starting';
    case 'live':
      return 'live';
    case 'stopping':
    case 'closing':
    case 'ended':
      return 'ended';
    default:
      return tag satisfies never;
  }
}

/** When the stream needs its next `tick`; Infinity if it needs none. */
export function nextCameraStreamDeadlineMs(state: CameraStreamState): number {
  switch (state.tag) {
    case 'pausing':
    case 'stopping':
      return state.deadlineMs;
    case 'awaiting':
      return state.untilMs;
    case 'live':
      return state.camera.pinned || state.unwatchedSinceMs === undefined
        ? Infinity
        : state.unwatchedSinceMs + state.settings.lingerMs;
    case 'checking':
    case 'opening':
    case 'evicting':
    case 'closing':
    case 'ended':
      return Infinity;
    default:
      return state satisfies never;
  }
}

export function stepCameraStream(state: CameraStreamState, input: CameraStreamInput, nowMs: number): CameraStreamStep {
  switch (input.tag) {
    case 'joined':
      return joined(state, input.asker, nowMs);
    case 'left':
      return left(state, input.asker, nowMs);
    case 'camera-changed':
      return cameraChanged(state, input.camera, nowMs);
    case 'watched':
      return watched(state, input.viewers, nowMs);
    case 'robot-returned':
      return robotReturned(state);
    case 'end':
      return end(state, input.cause, nowMs);
    case 'tick':
      return nextCameraStreamDeadlineMs(state) <= nowMs ? expired(state, nowMs) : unchanged(state);
    case 'reachable':
      if (state.tag !== 'checking') return unchanged(state);
      return input.isReachable
        ? open({ ...state, tag: 'opening', attempt: 0 }, nowMs)
        : failed(state, errOf('robot-offline'), nowMs);
    case 'opened':
      return state.tag === 'opening' ? opened(state, input.pushUrl, nowMs) : unchanged(state);
    case 'name-taken':
      return state.tag === 'opening' ? nameTaken(state, input.err, nowMs) : unchanged(state);
    case 'evicted':
      return state.tag === 'evicting' ? evicted(state, input.wasOurs, nowMs) : unchanged(state);
    case 'failed':
      return stageOf(state) === 'starting' ? failed(state, input.err, nowMs) : unchanged(state);
    case 'robot-answered':
      return robotAnswered(state, input, nowMs);
    case 'robot-stopped':
      return state.tag === 'stopping' ? close(state) : unchanged(state);
    case 'closed':
      if (state.tag !== 'closing') return unchanged(state);
      return { state: { ...state, tag: 'ended' }, effects: [{ tag: 'gone' }] };
    case 'connected':
      if (state.tag !== 'awaiting') return unchanged(state);
      return {
        state: { ...state, tag: 'live', viewers: 0, unwatchedSinceMs: nowMs },
        effects: [{ tag: 'started', err: undefined }],
      };
    case 'media-ended':
      return mediaEnded(state, input, nowMs);
    default:
      return input satisfies never;
  }
}

const unchanged = (state: CameraStreamState): CameraStreamStep => ({ state, effects: [] });

function joined(state: CameraStreamState, asker: string, nowMs: number): CameraStreamStep {
  const known = { ...state, askers: new Map(state.askers).set(asker, nowMs) };
  return unchanged(known.tag === 'live' && known.viewers === 0 ? { ...known, unwatchedSinceMs: nowMs } : known);
}

/** The stream ends now if nobody watches, nobody else has asked for it lately and the camera isn't pinned. */
function left(state: CameraStreamState, asker: string, nowMs: number): CameraStreamStep {
  const askers = new Map(state.askers);
  askers.delete(asker);
  const isWanted = [...askers.values()].some((askedMs) => askedMs > nowMs - state.settings.lingerMs);
  const isWatched = state.tag === 'live' && state.viewers > 0;
  const known = { ...state, askers };
  return isWanted || isWatched || state.camera.pinned ? unchanged(known) : end(known, 'stopped', nowMs);
}

function cameraChanged(state: CameraStreamState, camera: Camera | undefined, nowMs: number): CameraStreamStep {
  const isSame = camera !== undefined && camera.rtspUrl === state.camera.rtspUrl;
  const known = camera === undefined ? state : { ...state, camera };
  return isSame ? unchanged(known) : end(known, 'camera-changed', nowMs);
}

function watched(state: CameraStreamState, viewers: number, nowMs: number): CameraStreamStep {
  if (state.tag !== 'live') return unchanged(state);
  const unwatchedSinceMs = viewers > 0 ? undefined : (state.unwatchedSinceMs ?? nowMs);
  return unchanged({ ...state, viewers, unwatchedSinceMs });
}

/**
 * A robot that still pushes only confirms it. A robot that has forgotten the stream begins again while the media core
 * waits. A robot that can't push refuses, which ends the stream, so that nobody waits in vain.
 */
function robotReturned(state: CameraStreamState): CameraStreamStep {
  if (state.tag !== 'live' || state.command === 'none') return unchanged(state);
  const { pushUrl, settings } = state;
  return { state, effects: [{ tag: 'command', to: 'again', pushUrl, timeoutMs: settings.timeoutMs }] };
}

function open(state: StateOf<'opening'>, nowMs: number): CameraStreamStep {
  const timeoutMs = Math.max(0, state.untilMs - nowMs);
  return { state, effects: [{ tag: 'open', rtspUrl: state.camera.rtspUrl, timeoutMs }] };
}

/** A dead owner may still hold the name; the instance that leases the camera may end that stream. */
function nameTaken(state: StateOf<'opening'>, refusal: Err, nowMs: number): CameraStreamStep {
  const delayMs = NAME_RETRY_DELAYS_MS[state.attempt];
  if (delayMs === undefined || state.untilMs - nowMs <= delayMs) return failed(state, refusal, nowMs);
  return { state: { ...state, tag: 'evicting', refusal }, effects: [{ tag: 'evict' }] };
}

function evicted(state: StateOf<'evicting'>, wasOurs: boolean, nowMs: number): CameraStreamStep {
  if (!wasOurs) return failed(state, state.refusal, nowMs);
  const { attempt } = state;
  const deadlineMs = nowMs + (NAME_RETRY_DELAYS_MS[attempt] ?? 0);
  return unchanged({ ...state, tag: 'pausing', attempt: attempt + 1, deadlineMs });
}

function opened(state: StateOf<'opening'>, pushUrl: string, nowMs: number): CameraStreamStep {
  if (state.camera.rtspUrl !== undefined) return unchanged({ ...state, tag: 'awaiting', command: 'none', pushUrl });
  const timeoutMs = Math.max(0, state.untilMs - nowMs);
  return {
    state: { ...state, tag: 'awaiting', command: 'asked', pushUrl },
    effects: [{ tag: 'command', to: 'start', pushUrl, timeoutMs }],
  };
}

/**
 * Before the first picture, a refusal by the robot ends the stream. An acknowledgement alone starts nothing: the
 * picture must follow. A robot that pushes without an acknowledgement counts as well.
 */
function robotAnswered(
  state: CameraStreamState,
  { to, outcome }: Extract<CameraStreamInput, { tag: 'robot-answered' }>,
  nowMs: number,
): CameraStreamStep {
  if (state.tag !== 'awaiting' && state.tag !== 'live') return unchanged(state);
  if (outcome.ok) return unchanged(to === 'start' ? { ...state, command: 'acknowledged' } : state);
  if (state.tag === 'awaiting') return failed(state, outcome.err, nowMs);
  const isGone = outcome.err.dm === 'timeout' || outcome.err.dm === 'robot_offline';
  return to === 'start' || isGone ? unchanged(state) : end(state, 'robot-refused', nowMs);
}

function expired(state: CameraStreamState, nowMs: number): CameraStreamStep {
  switch (state.tag) {
    case 'pausing':
      return open({ ...state, tag: 'opening' }, nowMs);
    case 'awaiting':
      return failed(state, tooLate(state), nowMs);
    case 'live':
      return end(state, 'unwatched', nowMs);
    case 'stopping':
      return close(state);
    case 'checking':
    case 'opening':
    case 'evicting':
    case 'closing':
    case 'ended':
      return unchanged(state);
    default:
      return state satisfies never;
  }
}

/** Names the cause of the delay: a robot that hasn't answered, or a picture that hasn't come. */
const tooLate = ({ command }: StateOf<'awaiting'>): Err => errOf(command === 'asked' ? 'timeout' : 'no-media');

function mediaEnded(
  state: CameraStreamState,
  { cause, err }: Extract<CameraStreamInput, { tag: 'media-ended' }>,
  nowMs: number,
): CameraStreamStep {
  // The media core may find out a moment before this stream's own deadline that nothing came in time.
  if (state.tag === 'awaiting' && err.dm === 'timeout') return failed(state, tooLate(state), nowMs, 'session-over');
  if (state.tag === 'opening' || state.tag === 'awaiting') return failed(state, err, nowMs, 'session-over');
  if (state.tag === 'live') return over(state, cause, nowMs, 'session-over');
  return state.tag === 'stopping' ? close(state) : unchanged(state);
}

/** Those who still wait for the start are told that the stream will not start. */
function end(state: CameraStreamState, cause: Exclude<EndCause, 'failed-to-start'>, nowMs: number): CameraStreamStep {
  const stage = stageOf(state);
  switch (stage) {
    case 'starting':
      return failed(state, errOf(cause === 'draining' ? 'unavailable' : 'stream-failed'), nowMs);
    case 'live':
      return over(state, cause, nowMs);
    case 'ended':
      return unchanged(state);
    default:
      return stage satisfies never;
  }
}

function failed(state: CameraStreamState, err: Err, nowMs: number, session?: 'session-over'): CameraStreamStep {
  const { state: next, effects } = over(state, 'failed-to-start', nowMs, session);
  return { state: next, effects: [{ tag: 'started', err }, ...effects] };
}

/** A robot that has acknowledged gets time to end its push, unless the media core's session is over already. */
function over(state: CameraStreamState, cause: EndCause, nowMs: number, session?: 'session-over'): CameraStreamStep {
  const command = state.tag === 'awaiting' || state.tag === 'live' ? state.command : 'none';
  const first: CameraStreamEffect[] = [
    { tag: 'over', cause },
    ...(command === 'none' ? [] : [{ tag: 'stop-robot' } as const]),
  ];
  if (command === 'acknowledged' && session === undefined)
    return { state: { ...state, tag: 'stopping', deadlineMs: nowMs + STOP_GRACE_MS }, effects: first };
  const closing = close(state);
  return { state: closing.state, effects: [...first, ...closing.effects] };
}

function close(state: CameraStreamState): CameraStreamStep {
  return { state: { ...state, tag: 'closing' }, effects: [{ tag: 'close' }] };
}
