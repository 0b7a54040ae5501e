import type { EndCause } from './frames.js';
import { RECONNECT_WITHIN_MS } from './settings.js';

/**
 * One call between two devices, as a machine without I/O. The caller is the device whose URL was handed out, the callee
 * is the device that opens it. Several devices may be rung; the first one that opens the URL becomes the callee.
 *
 * A device is in one call at most. The places of both devices are claimed outside of the machine, in one order for all
 * calls (see `placesOf`), so of two calls that want the same device exactly one gets it.
 */

export type Side = 'caller' | 'callee';

/** Why a device's request was refused. The call goes on. */
export type CallRefusal =
  | { readonly tag: 'busy' | 'answered-elsewhere' | 'already-open' | 'no-such-call' }
  /** The media core's words. */
  | { readonly tag: 'media'; readonly message: string };

export interface CallSettings {
  /** The URL must be opened within this time. */
  readonly ringMs: number;
  /** The caller must join within this time after the URL was opened. */
  readonly joinMs: number;
  /** Both sides must be connected within this time after the caller has joined. */
  readonly connectMs: number;
  /** How long a device's channel may be away. Media go on meanwhile. */
  readonly graceMs: number;
}

export const CALL_SETTINGS: CallSettings = {
  ringMs: 60_000,
  joinMs: 10_000,
  connectMs: 20_000,
  graceMs: RECONNECT_WITHIN_MS,
};

/** What the two sides may switch off. */
export interface Muted {
  readonly audio: boolean;
  readonly video: boolean;
}

/** The call with which a claim collided. */
export interface OtherCall {
  readonly callId: string;
  readonly caller: number;
  readonly callee: number;
}

export type CallInput =
  /** A device opens the caller's URL; or, after glare, the caller opens the callee's. */
  | { readonly tag: 'open'; readonly cid: number; readonly sdp: string }
  /** Both devices belong to this call now. */
  | { readonly tag: 'claimed' }
  /** Another call has one of the devices. */
  | { readonly tag: 'taken'; readonly by: OtherCall }
  /** The first one is the caller's answer to `accepted`. A later one of either side restarts ICE. */
  | { readonly tag: 'join'; readonly cid: number; readonly sdp: string }
  /** The media core's answer to the last offer of this side. */
  | { readonly tag: 'answered'; readonly side: Side; readonly sdp: string }
  | { readonly tag: 'refused'; readonly side: Side; readonly message: string }
  /** The media of this side are connected. `sends`: it sends something. */
  | { readonly tag: 'connected'; readonly side: Side; readonly sends: boolean }
  | { readonly tag: 'media-ended'; readonly side: Side; readonly cause: 'no-media' | 'silence' | 'media-lost' }
  /** The whole state of the device's microphone and camera. */
  | { readonly tag: 'mute'; readonly cid: number; readonly muted: Muted }
  /** The device shows its user that it is called. */
  | { readonly tag: 'rings'; readonly cid: number }
  | { readonly tag: 'close'; readonly cid: number }
  /** A device's channel is lost, or it is there again. */
  | { readonly tag: 'gone'; readonly cid: number }
  | { readonly tag: 'back'; readonly cid: number }
  | { readonly tag: 'tick' };

/** What a device is told. */
export type CallNews =
  /** The answer to its `open` or `join`. */
  | { readonly tag: 'opened'; readonly sdp: string }
  /** The callee has opened the caller's URL. */
  | { readonly tag: 'accepted'; readonly callee: number }
  /** The other side's media arrive. */
  | { readonly tag: 'media' }
  | { readonly tag: 'other-muted'; readonly muted: Muted }
  /** The other side's channel is lost or there again; its media go on. */
  | { readonly tag: 'other-away' | 'other-back' }
  | { readonly tag: 'closed'; readonly cause: EndCause }
  /** The device `cid` rings. */
  | { readonly tag: 'rings'; readonly cid: number }
  /** The ringing between this device and `cid` is over. */
  | { readonly tag: 'stopped-ringing'; readonly cid: number; readonly cause: EndCause }
  | { readonly tag: 'refused'; readonly refusal: CallRefusal };

export type CallEffect =
  | { readonly tag: 'tell'; readonly cid: number; readonly news: CallNews }
  /** Is answered with `claimed` or `taken`. */
  | { readonly tag: 'claim'; readonly cids: readonly [number, number] }
  /** Is answered with `answered` or `refused`. */
  | { readonly tag: 'open-media' | 'restart-media'; readonly side: Side; readonly sdp: string }
  /** The open belongs to the other call, between the same two devices. */
  | { readonly tag: 'pass-open'; readonly to: string; readonly cid: number; readonly sdp: string }
  /** The host ends the media, gives up both places and writes the record. It comes once. */
  | { readonly tag: 'end'; readonly cause: EndCause }
  /** A claim came through after the end. */
  | { readonly tag: 'release' };

interface Opening {
  readonly cid: number;
  readonly sdp: string;
}

interface Leg {
  readonly cid: number;
  readonly media: 'none' | 'opening' | 'open' | 'connected';
  readonly muted: Muted;
  /** Since when the device's channel is away. */
  readonly awayMs: number | null;
}

interface Begun {
  readonly callId: string;
  readonly caller: number;
  /** Everybody who was rung. */
  readonly rung: readonly number[];
  readonly settings: CallSettings;
}

interface Ringing extends Begun {
  readonly tag: 'ringing';
  readonly deadlineMs: number;
  readonly awayMs: number | null;
}

/** The first device has opened the URL, and the places are being claimed. */
interface Claiming extends Begun {
  readonly tag: 'claiming';
  readonly deadlineMs: number;
  readonly opening: Opening;
  /**
   * Opened meanwhile. If the claim fails for the callee alone, the next of them gets the call. If it succeeds, only the caller
   * counts, which has opened the callee's URL.
   */
  readonly waiting: readonly Opening[];
}

/** The sides join, and their media are being connected. */
interface Connecting extends Begun {
  readonly tag: 'connecting';
  readonly legs: Readonly<Record<Side, Leg>>;
  readonly answeredMs: number;
  readonly deadlineMs: number;
}

/** Media flow between both sides, as far as each of them sends any. */
interface Established extends Begun {
  readonly tag: 'established';
  readonly legs: Readonly<Record<Side, Leg>>;
  readonly answeredMs: number;
}

interface Ended extends Begun {
  readonly tag: 'ended';
  readonly cause: EndCause;
}

/** Plain data, so that another instance can go on with it. */
export type Call = Ringing | Claiming | Connecting | Established | Ended;

export interface CallStep {
  readonly state: Call;
  readonly effects: readonly CallEffect[];
}

export const otherOf = (side: Side): Side => (side === 'caller' ? 'callee' : 'caller');

/** Places are claimed in this order, so of two calls that want the same two devices, the second one finds the first. */
export const placesOf = (one: number, other: number): readonly [number, number] =>
  one < other ? [one, other] : [other, one];

export interface NewCall {
  readonly callId: string;
  readonly caller: number;
  /** The devices that get the caller's URL; none if that isn't known. */
  readonly rung?: readonly number[];
  readonly settings?: CallSettings;
}

/** A call whose URL is on its way to the callees. */
export const newCall = ({ callId, caller, rung = [], settings = CALL_SETTINGS }: NewCall, nowMs: number): Call => ({
  ...{ tag: 'ringing', callId, caller, settings, rung: rung.filter((cid) => cid !== caller) },
  deadlineMs: nowMs + settings.ringMs,
  awayMs: null,
});

/** The two devices of the call, once there are two. */
export const sidesOf = (state: Call): Readonly<Record<Side, number>> | undefined => {
  switch (state.tag) {
    case 'claiming':
      return { caller: state.caller, callee: state.opening.cid };
    case 'connecting':
    case 'established':
      return { caller: state.legs.caller.cid, callee: state.legs.callee.cid };
    case 'ringing':
    case 'ended':
      return undefined;
    default:
      return state satisfies never;
  }
};

/** When the call needs its next `tick`; Infinity if it needs none. */
export const callDeadlineMs = (state: Call): number => {
  const { graceMs } = state.settings;
  const away = (sinceMs: number | null): number => (sinceMs === null ? Infinity : sinceMs + graceMs);
  switch (state.tag) {
    case 'ringing':
      return Math.min(state.deadlineMs, away(state.awayMs));
    case 'claiming':
      return state.deadlineMs;
    case 'connecting':
      return Math.min(state.deadlineMs, ...legsOf(state).map(({ awayMs }) => away(awayMs)));
    case 'established':
      return Math.min(...legsOf(state).map(({ awayMs }) => away(awayMs)));
    case 'ended':
      return Infinity;
    default:
      return state satisfies never;
  }
};

/** Inputs carry the time of their arrival; effects must be carried out in the given order. No input throws. */
export const stepCall = (state: Call, input: CallInput, nowMs: number): CallStep => {
  switch (state.tag) {
    case 'ringing':
      return ringing(state, input, nowMs);
    case 'claiming':
      return claiming(state, input, nowMs);
    case 'connecting':
    case 'established':
      return talking(state, input, nowMs);
    case 'ended':
      return afterEnd(state, input);
    default:
      return state satisfies never;
  }
};

/**
 * Another instance goes on with a call. Its times count anew, because clocks differ, so devices that are still away must
 * be named by `gone` again. An offer that was being answered is lost with the instance, so a call goes on only if no offer
 * waits.
 */
export const resumedCall = (state: Call, nowMs: number): CallStep => {
  switch (state.tag) {
    case 'ringing':
      return unchanged({ ...state, deadlineMs: nowMs + state.settings.ringMs, awayMs: null });
    case 'claiming':
      return unopened(state, 'shutdown', openersOf(state));
    case 'connecting':
      return legsOf(state).some(({ media }) => media === 'opening')
        ? finished(state, 'shutdown', membersOf(state))
        : unchanged({ ...nobodyAway(state), deadlineMs: nowMs + state.settings.connectMs });
    case 'established':
      return unchanged(nobodyAway(state));
    case 'ended':
      return unchanged(state);
    default:
      return state satisfies never;
  }
};

type Talking = Connecting | Established;

const NOT_MUTED: Muted = { audio: false, video: false };
const SIDES = ['caller', 'callee'] as const;
const legsOf = ({ legs }: Talking): readonly Leg[] => [legs.caller, legs.callee];
const membersOf = (state: Talking): number[] => legsOf(state).map(({ cid }) => cid);
const sideOf = ({ legs }: Talking, cid: number): Side | undefined => SIDES.find((side) => legs[side].cid === cid);

const unchanged = (state: Call, ...effects: CallEffect[]): CallStep => ({ state, effects });
const tell = (cid: number, news: CallNews): CallEffect => ({ tag: 'tell', cid, news });
const refuse = (cid: number, tag: 'busy' | 'answered-elsewhere' | 'already-open' | 'no-such-call'): CallEffect =>
  tell(cid, { tag: 'refused', refusal: { tag } });

const begunOf = ({ callId, caller, rung, settings }: Begun): Begun => ({ callId, caller, rung, settings });

/** The devices are told before the end, because the host forgets the call then. */
const over = (state: Exclude<Call, Ended>, cause: EndCause, told: readonly CallEffect[]): CallStep => ({
  state: { ...begunOf(state), tag: 'ended', cause },
  effects: [...told, { tag: 'end', cause }],
});

const finished = (state: Talking, cause: EndCause, told: readonly number[]): CallStep =>
  over(
    state,
    cause,
    told.map((cid) => tell(cid, { tag: 'closed', cause })),
  );

/**
 * Ends a call that was never set up.
 * @param refused these devices have opened the URL; their error is the answer
 * @param knowing this device has ended the call or knows its end, so it isn't told
 */
const unopened = (
  state: Ringing | Claiming,
  cause: EndCause,
  refused: readonly CallEffect[],
  knowing?: number,
): CallStep => {
  const answeredTo = refused.flatMap((effect) => (effect.tag === 'tell' ? [effect.cid] : []));
  const silent = state.rung.filter((cid) => cid !== knowing && !answeredTo.includes(cid));
  const toCaller = knowing === state.caller ? [] : state.rung.slice(0, 1);
  return over(state, cause, [
    ...refused,
    ...silent.map((cid) => tell(cid, { tag: 'stopped-ringing', cid: state.caller, cause })),
    ...toCaller.map((cid) => tell(state.caller, { tag: 'stopped-ringing', cid, cause })),
  ]);
};

const openersOf = ({ opening, waiting }: Claiming): CallEffect[] =>
  [opening, ...waiting].map(({ cid }) => refuse(cid, 'no-such-call'));

const ringing = (state: Ringing, input: CallInput, nowMs: number): CallStep => {
  switch (input.tag) {
    case 'open':
      if (input.cid === state.caller) return unchanged(state, refuse(input.cid, 'no-such-call'));
      return {
        state: {
          ...begunOf(state),
          tag: 'claiming',
          opening: openingOf(input),
          waiting: [],
          deadlineMs: state.deadlineMs,
        },
        effects: [{ tag: 'claim', cids: placesOf(state.caller, input.cid) }],
      };
    case 'join':
    case 'mute':
      return unchanged(state, refuse(input.cid, 'no-such-call'));
    case 'close':
      return declined(state, input.cid);
    case 'gone':
      return input.cid === state.caller ? unchanged({ ...state, awayMs: nowMs }) : unchanged(state);
    case 'back':
      return input.cid === state.caller ? unchanged({ ...state, awayMs: null }) : unchanged(state);
    case 'tick':
      if (state.awayMs !== null && state.awayMs + state.settings.graceMs <= nowMs)
        return unopened(state, 'channel-lost', [], state.caller);
      return state.deadlineMs <= nowMs ? unopened(state, 'ring-timeout', []) : unchanged(state);
    case 'rings':
      return unchanged(state, tell(state.caller, { tag: 'rings', cid: input.cid }));
    case 'claimed':
    case 'taken':
    case 'answered':
    case 'refused':
    case 'connected':
    case 'media-ended':
      return unchanged(state);
    default:
      return input satisfies never;
  }
};

const declined = (state: Ringing, cid: number): CallStep => {
  if (cid === state.caller) return unopened(state, 'cancelled', [], cid);
  if (!state.rung.includes(cid)) return unchanged(state);
  const rung = state.rung.filter((other) => other !== cid);
  return rung.length > 0 ? unchanged({ ...state, rung }) : unopened(state, 'declined', [], cid);
};

const claiming = (state: Claiming, input: CallInput, nowMs: number): CallStep => {
  const { opening, waiting } = state;
  switch (input.tag) {
    case 'claimed':
      return answered(state, nowMs);
    case 'taken':
      return collided(state, input.by, nowMs);
    case 'open':
      return [opening, ...waiting].some(({ cid }) => cid === input.cid)
        ? unchanged(state, refuse(input.cid, 'already-open'))
        : unchanged({ ...state, waiting: [...waiting, openingOf(input)] });
    case 'close':
      return closedEarly(state, input.cid);
    case 'join':
    case 'mute':
      return unchanged(state, refuse(input.cid, 'no-such-call'));
    case 'tick':
      return state.deadlineMs <= nowMs ? unopened(state, 'ring-timeout', openersOf(state)) : unchanged(state);
    case 'rings':
    case 'gone':
    case 'back':
    case 'answered':
    case 'refused':
    case 'connected':
    case 'media-ended':
      return unchanged(state);
    default:
      return input satisfies never;
  }
};

const closedEarly = (state: Claiming, cid: number): CallStep => {
  const { opening, waiting, caller } = state;
  if (cid === caller) return unopened(state, 'cancelled', openersOf(state), cid);
  if (cid !== opening.cid) return unchanged({ ...state, waiting: waiting.filter((other) => other.cid !== cid) });
  const others = waiting.map((other) => refuse(other.cid, 'no-such-call'));
  return unopened(state, 'closed', others, cid);
};

/** The first one who opened the URL gets the call. */
const answered = (state: Claiming, nowMs: number): CallStep => {
  const { opening, waiting, rung, caller } = state;
  const late = waiting.flatMap(({ cid }) => (cid === caller ? [] : [cid]));
  const others = rung.filter((cid) => cid !== opening.cid && !late.includes(cid));
  const step: CallStep = {
    state: {
      ...{ ...begunOf(state), tag: 'connecting', answeredMs: nowMs },
      legs: {
        caller: { cid: caller, media: 'none', muted: NOT_MUTED, awayMs: null },
        callee: { cid: opening.cid, media: 'opening', muted: NOT_MUTED, awayMs: null },
      },
      deadlineMs: nowMs + state.settings.joinMs,
    },
    effects: [
      ...late.map((cid) => refuse(cid, 'answered-elsewhere')),
      ...others.map((cid) => tell(cid, { tag: 'stopped-ringing', cid: caller, cause: 'answered-elsewhere' })),
      { tag: 'open-media', side: 'callee', sdp: opening.sdp },
    ],
  };
  const ofCaller = waiting.find(({ cid }) => cid === caller);
  return ofCaller === undefined ? step : then(step, { tag: 'open', ...ofCaller }, nowMs);
};

const then = (step: CallStep, input: CallInput, nowMs: number): CallStep => {
  const next = stepCall(step.state, input, nowMs);
  return { state: next.state, effects: [...step.effects, ...next.effects] };
};

const collided = (state: Claiming, by: OtherCall, nowMs: number): CallStep => {
  const { opening, waiting, caller, rung } = state;
  const isSamePair = [by.caller, by.callee].every((cid) => cid === caller || cid === opening.cid);
  const late = waiting.map(({ cid }) => refuse(cid, 'busy'));
  if (isSamePair) {
    const passed: CallEffect = { tag: 'pass-open', to: by.callId, ...openingOf(opening) };
    const { state: ended, effects } = unopened(state, 'glare', late, opening.cid);
    return { state: ended, effects: [passed, ...effects] };
  }
  const isCallerTaken = by.caller === caller || by.callee === caller;
  const refused = refuse(opening.cid, 'busy');
  if (isCallerTaken || rung.length === 0) return unopened(state, 'busy', [refused, ...late]);
  const back: Ringing = { ...begunOf(state), tag: 'ringing', deadlineMs: state.deadlineMs, awayMs: null };
  // Only the callee is busy, so somebody else who was rung may still answer.
  return waiting.reduce<CallStep>(
    (step, later) => then(step, { tag: 'open', ...later }, nowMs),
    unchanged(back, refused),
  );
};

const openingOf = ({ cid, sdp }: Opening): Opening => ({ cid, sdp });

const talking = (state: Talking, input: CallInput, nowMs: number): CallStep => {
  switch (input.tag) {
    case 'open':
      return openedAgain(state, input, nowMs);
    case 'join':
      return joined(state, input, nowMs);
    case 'answered':
      return offerTaken(state, input.side, input.sdp);
    case 'refused':
      return offerRefused(state, input.side, input.message);
    case 'connected':
      return connected(state, input.side, input.sends);
    case 'media-ended':
      return finished(state, input.cause, membersOf(state));
    case 'mute': {
      const side = sideOf(state, input.cid);
      if (side === undefined) return unchanged(state, refuse(input.cid, 'no-such-call'));
      const { muted } = input;
      return unchanged(
        withLeg(state, side, { ...state.legs[side], muted }),
        tell(state.legs[otherOf(side)].cid, { tag: 'other-muted', muted }),
      );
    }
    case 'close': {
      const side = sideOf(state, input.cid);
      return side === undefined ? unchanged(state) : finished(state, 'closed', [state.legs[otherOf(side)].cid]);
    }
    case 'gone':
    case 'back':
      return channelChanged(state, input.tag, input.cid, nowMs);
    case 'tick':
      return timePassed(state, nowMs);
    case 'claimed':
    case 'taken':
    case 'rings':
      return unchanged(state);
    default:
      return input satisfies never;
  }
};

const withLeg = <State extends Talking>(state: State, side: Side, leg: Leg): State => ({
  ...state,
  legs: { ...state.legs, [side]: leg },
});

const nobodyAway = <State extends Talking>(state: State): State => ({
  ...state,
  legs: { caller: { ...state.legs.caller, awayMs: null }, callee: { ...state.legs.callee, awayMs: null } },
});

/** Glare: the caller opens the callee's URL. Its offer is its side of this call. */
const openedAgain = (state: Talking, { cid, sdp }: Opening, nowMs: number): CallStep => {
  const side = sideOf(state, cid);
  if (side === 'caller' && state.legs.caller.media === 'none') return joined(state, { cid, sdp }, nowMs);
  if (side !== undefined) return unchanged(state, refuse(cid, 'already-open'));
  const isSameRing = state.rung.includes(cid) || nowMs - state.answeredMs < state.settings.ringMs;
  return unchanged(state, refuse(cid, isSameRing ? 'answered-elsewhere' : 'busy'));
};

const joined = (state: Talking, { cid, sdp }: Opening, nowMs: number): CallStep => {
  const side = sideOf(state, cid);
  if (side === undefined) return unchanged(state, refuse(cid, 'no-such-call'));
  const leg = state.legs[side];
  switch (leg.media) {
    case 'none': {
      const next = withLeg(state, side, { ...leg, media: 'opening' });
      const timed = next.tag === 'connecting' ? { ...next, deadlineMs: nowMs + next.settings.connectMs } : next;
      return unchanged(timed, { tag: 'open-media', side, sdp });
    }
    case 'opening':
      return unchanged(state, refuse(cid, 'already-open'));
    case 'open':
    case 'connected':
      return unchanged(state, { tag: 'restart-media', side, sdp });
    default:
      return leg.media satisfies never;
  }
};

const offerTaken = (state: Talking, side: Side, sdp: string): CallStep => {
  const leg = state.legs[side];
  const opened = tell(leg.cid, { tag: 'opened', sdp });
  if (leg.media !== 'opening') return unchanged(state, opened);
  const next = withLeg(state, side, { ...leg, media: 'open' });
  const { caller } = state.legs;
  // A caller that opened the callee's URL meanwhile has its side already.
  const isAwaited = side === 'callee' && caller.media === 'none';
  const accepted = isAwaited ? [tell(caller.cid, { tag: 'accepted', callee: leg.cid })] : [];
  return unchanged(next, opened, ...accepted);
};

const offerRefused = (state: Talking, side: Side, message: string): CallStep => {
  const leg = state.legs[side];
  const refused = tell(leg.cid, { tag: 'refused', refusal: { tag: 'media', message } });
  if (leg.media !== 'opening') return unchanged(state, refused);
  const { state: ended, effects } = finished(state, 'refused', [state.legs[otherOf(side)].cid]);
  return { state: ended, effects: [refused, ...effects] };
};

const connected = (state: Talking, side: Side, sends: boolean): CallStep => {
  const leg = state.legs[side];
  if (leg.media !== 'open') return unchanged(state);
  const next = withLeg(state, side, { ...leg, media: 'connected' });
  const effects = sends ? [tell(next.legs[otherOf(side)].cid, { tag: 'media' } as const)] : [];
  if (next.tag === 'established' || !legsOf(next).every(({ media }) => media === 'connected'))
    return unchanged(next, ...effects);
  const { legs, answeredMs } = next;
  return unchanged({ ...begunOf(next), tag: 'established', legs, answeredMs }, ...effects);
};

const channelChanged = (state: Talking, change: 'gone' | 'back', cid: number, nowMs: number): CallStep => {
  const side = sideOf(state, cid);
  if (side === undefined) return unchanged(state);
  const leg = state.legs[side];
  const isAway = leg.awayMs !== null;
  if (isAway === (change === 'gone')) return unchanged(state);
  const next: Leg = { ...leg, awayMs: change === 'gone' ? nowMs : null };
  const news = { tag: change === 'gone' ? 'other-away' : 'other-back' } as const;
  return unchanged(withLeg(state, side, next), tell(state.legs[otherOf(side)].cid, news));
};

const timePassed = (state: Talking, nowMs: number): CallStep => {
  const { graceMs } = state.settings;
  const lost = legsOf(state).some(({ awayMs }) => awayMs !== null && awayMs + graceMs <= nowMs);
  if (lost) return finished(state, 'channel-lost', membersOf(state));
  if (state.tag === 'established' || state.deadlineMs > nowMs) return unchanged(state);
  const cause = state.legs.caller.media === 'none' ? 'join-timeout' : 'no-media';
  return finished(state, cause, membersOf(state));
};

/** Closing twice is no error. */
const afterEnd = (state: Ended, input: CallInput): CallStep => {
  switch (input.tag) {
    case 'claimed':
      return unchanged(state, { tag: 'release' });
    case 'open':
    case 'join':
    case 'mute':
      return unchanged(state, refuse(input.cid, 'no-such-call'));
    case 'taken':
    case 'answered':
    case 'refused':
    case 'connected':
    case 'media-ended':
    case 'rings':
    case 'close':
    case 'gone':
    case 'back':
    case 'tick':
      return unchanged(state);
    default:
      return input satisfies never;
  }
};
