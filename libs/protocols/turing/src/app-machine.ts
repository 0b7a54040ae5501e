import { charged, fullAllowance, type Allowance } from '@weir/timing';
import { decodeRequest, encodeComplaint, encodeEvent, encodeReply, type Outcome } from './codec.js';
import type { AppAct, AppEvent, AppRequest, AppResult, ReplyTo } from './messages.js';
import { errOf, type Err } from './problem.js';
import { CLOSE, frameCost, type AppSettings, type CloseCode } from './settings.js';

declare const requestRefBrand: unique symbol;
/** Names a request of one app's socket; unique forever. */
export type RequestRef = string & { readonly [requestRefBrand]: true };

interface PendingRequest {
  readonly replyTo: ReplyTo;
  readonly act: AppAct;
  readonly startedMs: number;
  readonly deadlineMs: number;
}

interface OpenApp {
  readonly tag: 'open';
  readonly settings: AppSettings;
  readonly key: string;
  readonly allowance: Allowance;
  readonly requests: ReadonlyMap<RequestRef, PendingRequest>;
  readonly asked: number;
  readonly heardMs: number;
  readonly nextPingMs: number;
}

export type AppState = OpenApp | { readonly tag: 'closed' };

export type AppInput =
  | { readonly tag: 'frame'; readonly text: string }
  | { readonly tag: 'binary-frame'; readonly byteLength: number }
  /** A pong arrived, so the client's WebSocket layer is alive. */
  | { readonly tag: 'heard' }
  | { readonly tag: 'answered'; readonly ref: RequestRef; readonly outcome: Outcome<AppResult> }
  | { readonly tag: 'event'; readonly event: AppEvent }
  /** The token has expired or was revoked. */
  | { readonly tag: 'credential-ended' }
  | { readonly tag: 'terminate'; readonly code: CloseCode; readonly reason: string }
  | { readonly tag: 'socket-closed' }
  | { readonly tag: 'tick' };

export type AppEffect =
  | { readonly tag: 'send'; readonly text: string }
  | { readonly tag: 'ping' }
  | { readonly tag: 'close'; readonly code: CloseCode; readonly reason: string }
  /** The host answers with an `answered` input. */
  | { readonly tag: 'ask'; readonly ref: RequestRef; readonly request: AppRequest }
  /** For logs and metrics: a request was answered with this err. */
  | { readonly tag: 'replied'; readonly act: string; readonly err: Err | undefined; readonly elapsedMs: number };

export interface AppStep {
  readonly state: AppState;
  readonly effects: readonly AppEffect[];
}

/** @param key unique forever: the refs of all requests start with it */
export const newApp = (settings: AppSettings, key: string, nowMs: number): AppState => ({
  tag: 'open',
  settings,
  key,
  allowance: fullAllowance(settings, nowMs),
  requests: new Map(),
  asked: 0,
  heardMs: nowMs,
  nextPingMs: nowMs + settings.pingIntervalMs,
});

/** When the socket needs its next `tick`; Infinity if it needs none. */
export const nextAppDeadlineMs = (state: AppState): number => {
  if (state.tag === 'closed') return Infinity;
  let earliestMs = Math.min(state.nextPingMs, state.heardMs + state.settings.silentAfterMs);
  for (const { deadlineMs } of state.requests.values()) earliestMs = Math.min(earliestMs, deadlineMs);
  return earliestMs;
};

/**
 * One app's socket. Inputs carry the time of their arrival; effects must be carried out in the given order. No input in
 * any state throws. Every request gets exactly one reply while the socket is open.
 */
export const stepApp = (state: AppState, input: AppInput, nowMs: number): AppStep => {
  if (state.tag === 'closed') return { state, effects: [] };
  switch (input.tag) {
    case 'frame':
      return frame({ ...state, heardMs: nowMs }, input.text, nowMs);
    case 'binary-frame': {
      const heard = { ...state, heardMs: nowMs };
      return paid(heard, input.byteLength, nowMs, (open) => complaint(open, errOf('not-a-request', 'It is binary.')));
    }
    case 'heard':
      return { state: { ...state, heardMs: nowMs }, effects: [] };
    case 'answered':
      return answered(state, input.ref, input.outcome, nowMs);
    case 'event':
      return { state, effects: [{ tag: 'send', text: encodeEvent(input.event) }] };
    case 'credential-ended':
      return closed(
        CLOSE.notLoggedIn,
        'The token is no longer valid',
        refusedAll(state, errOf('not-logged-in'), nowMs),
      );
    case 'terminate':
      return closed(input.code, input.reason, refusedAll(state, errOf('unavailable'), nowMs));
    case 'socket-closed':
      return { state: { tag: 'closed' }, effects: [] };
    case 'tick':
      return tick(state, nowMs);
    default:
      return input satisfies never;
  }
};

const closed = (code: CloseCode, reason: string, before: readonly AppEffect[] = []): AppStep => ({
  state: { tag: 'closed' },
  effects: [...before, { tag: 'close', code, reason }],
});

const replied = (
  { replyTo, act, startedMs }: PendingRequest,
  outcome: Outcome<AppResult>,
  nowMs: number,
): AppEffect[] => [
  { tag: 'send', text: encodeReply(replyTo, outcome) },
  { tag: 'replied', act, err: outcome.ok ? undefined : outcome.err, elapsedMs: nowMs - startedMs },
];

const refusedAll = ({ requests }: OpenApp, err: Err, nowMs: number): AppEffect[] =>
  [...requests.values()].flatMap((request) => replied(request, { ok: false, err }, nowMs));

const paid = (state: OpenApp, length: number, nowMs: number, then: (state: OpenApp) => AppStep): AppStep => {
  const allowance = charged(state.allowance, frameCost(length), state.settings, nowMs);
  return allowance === undefined ? closed(CLOSE.flood, 'Too many frames') : then({ ...state, allowance });
};

/** Answers a frame that isn't a request. */
const complaint = (state: OpenApp, err: Err): AppStep => {
  const malformed = state.allowance.malformed + 1;
  const effects: AppEffect[] = [
    { tag: 'send', text: encodeComplaint(err) },
    { tag: 'replied', act: '', err, elapsedMs: 0 },
  ];
  if (malformed >= state.settings.maxMalformed)
    return closed(CLOSE.protocolError, 'Too many malformed frames', effects);
  return { state: { ...state, allowance: { ...state.allowance, malformed } }, effects };
};

const frame = (state: OpenApp, text: string, nowMs: number): AppStep =>
  paid(state, text.length, nowMs, (open) => {
    const decoded = decodeRequest(text);
    switch (decoded.tag) {
      case 'malformed':
        return complaint(open, decoded.err);
      case 'refused':
        return refused(open, decoded.replyTo, decoded.err);
      case 'request':
        return open.requests.size >= open.settings.maxRequests
          ? refused(open, decoded.replyTo, errOf('too-many'))
          : ask(open, decoded.replyTo, decoded.request, nowMs);
      default:
        return decoded satisfies never;
    }
  });

const refused = (state: OpenApp, replyTo: ReplyTo, err: Err): AppStep => ({
  state,
  effects: [
    { tag: 'send', text: encodeReply(replyTo, { ok: false, err }) },
    { tag: 'replied', act: replyTo.act, err, elapsedMs: 0 },
  ],
});

const ask = (state: OpenApp, replyTo: ReplyTo, request: AppRequest, nowMs: number): AppStep => {
  const asked = state.asked + 1;
  const ref = `${state.key}.${asked}` as RequestRef;
  const deadlineMs = nowMs + state.settings.requestDeadlineMs;
  const requests = new Map(state.requests).set(ref, { replyTo, act: request.act, startedMs: nowMs, deadlineMs });
  return { state: { ...state, asked, requests }, effects: [{ tag: 'ask', ref, request }] };
};

const answered = (state: OpenApp, ref: RequestRef, outcome: Outcome<AppResult>, nowMs: number): AppStep => {
  const request = state.requests.get(ref);
  // Its deadline has passed, and the app has already been told.
  if (request === undefined) return { state, effects: [] };
  const requests = new Map(state.requests);
  requests.delete(ref);
  return { state: { ...state, requests }, effects: replied(request, outcome, nowMs) };
};

const tick = (state: OpenApp, nowMs: number): AppStep => {
  const { settings, heardMs } = state;
  if (heardMs + settings.silentAfterMs <= nowMs) return closed(CLOSE.timeout, 'Nothing was heard for too long');
  const overdue = [...state.requests].filter(([, { deadlineMs }]) => deadlineMs <= nowMs);
  const requests = new Map(state.requests);
  for (const [ref] of overdue) requests.delete(ref);
  const effects = overdue.flatMap(([, request]) => replied(request, { ok: false, err: errOf('timeout') }, nowMs));
  if (state.nextPingMs > nowMs) return { state: { ...state, requests }, effects };
  return {
    state: { ...state, requests, nextPingMs: nowMs + settings.pingIntervalMs },
    effects: [...effects, { tag: 'ping' }],
  };
};
