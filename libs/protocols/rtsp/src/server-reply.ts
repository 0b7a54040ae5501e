import { Buffer } from 'node:buffer';
import { type Challenge, formatChallenge } from './authentication.js';
import { formatSession } from './header-values.js';
import { type HeaderEntry, RtspHeaders } from './headers.js';
import { cseqOf, reasonOf, type RtspRequest, type RtspResponse } from './messages.js';
import type {
  CloseReason,
  IssuedNonce,
  ServerChallenge,
  ServerConfig,
  ServerEffect,
  ServerPhase,
  ServerState,
  ServerStep,
  SessionPhase,
} from './server-state.js';

export const NO_BODY = Buffer.alloc(0);

export function isSession(phase: ServerPhase): phase is SessionPhase {
  return phase.tag === 'ready' || phase.tag === 'playing' || phase.tag === 'recording';
}

/** The session ends before its connection. */
export function close(state: ServerState, reason: CloseReason): ServerStep {
  const effects: ServerEffect[] = [];
  if (isSession(state.phase) || state.awaiting?.step.tag === 'open-track') effects.push({ tag: 'end-session', reason });
  effects.push({ tag: 'close', reason });
  return { state: { ...state, phase: { tag: 'closed', reason }, awaiting: undefined, queue: [] }, effects };
}

export function after(step: ServerStep, next: (state: ServerState) => ServerStep): ServerStep {
  const { state, effects } = next(step.state);
  return { state, effects: [...step.effects, ...effects] };
}

export function respond(
  state: ServerState,
  request: RtspRequest,
  status: number,
  extra: readonly HeaderEntry[] = [],
  body = NO_BODY,
  reason = reasonOf(status),
): ServerStep {
  const cseq = cseqOf(request);
  const entries: HeaderEntry[] = [];
  if (cseq !== undefined) entries.push(['CSeq', String(cseq)]);
  entries.push(['Server', 'weir']);
  if (isSession(state.phase)) entries.push(['Session', sessionHeader(state.phase, state.config)]);
  const response = responseEffect(status, RtspHeaders.of([...entries, ...extra]), body, reason);
  return { state, effects: [response] };
}

function sessionHeader(phase: SessionPhase, config: ServerConfig): string {
  return formatSession({ id: phase.id, timeoutS: Math.floor(config.sessionTimeoutMs / 1000) });
}

export function responseEffect(
  status: number,
  headers: RtspHeaders,
  body = NO_BODY,
  reason = reasonOf(status),
): ServerEffect {
  const response: RtspResponse = { tag: 'response', status, reason, headers, body };
  return { tag: 'send', response };
}

export function wrongState(state: ServerState, request: RtspRequest): ServerStep {
  return respond(state, request, 455, [['Allow', allowedIn(state.phase)]]);
}

function allowedIn(phase: ServerPhase): string {
  switch (phase.tag) {
    case 'idle':
      return 'OPTIONS, DESCRIBE, ANNOUNCE';
    case 'prepared':
      return 'OPTIONS, DESCRIBE, ANNOUNCE, SETUP';
    case 'ready':
      return `OPTIONS, SETUP, ${phase.presentation.purpose === 'play' ? 'DESCRIBE, PLAY' : 'RECORD'}, PAUSE, TEARDOWN`;
    case 'playing':
      return 'OPTIONS, DESCRIBE, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER';
    case 'recording':
      return 'OPTIONS, RECORD, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER';
    case 'closed':
      return 'OPTIONS';
    default: {
      const never: never = phase;
      return never;
    }
  }
}

/** Asks the client to authenticate. A nonce that is too old is replaced. */
export function challenge(
  state: ServerState,
  request: RtspRequest,
  challenges: readonly ServerChallenge[],
  stale: boolean,
  nowMs: number,
): ServerStep {
  const { config } = state;
  const nonce = nowMs - state.nonce.issuedMs < config.nonceLifeMs ? state.nonce : nextNonce(state, nowMs);
  const headers = challenges.map((kind): HeaderEntry => [
    'WWW-Authenticate',
    formatChallenge(challengeOf(kind, config.realm, nonce.value, stale)),
  ]);
  return respond({ ...state, nonce }, request, 401, headers);
}

/** The random part is unique to the connection, so nonces of other connections aren't valid here. */
function nextNonce({ config, nonce }: ServerState, nowMs: number): IssuedNonce {
  const number = nonce.number + 1;
  return { value: `${config.nonce}-${number}`, issuedMs: nowMs, number };
}

/** MD5 is offered without its name and without qop, because every client since RFC 2069 can answer this form. */
function challengeOf(kind: ServerChallenge, realm: string, nonce: string, stale: boolean): Challenge {
  const digest = { scheme: 'digest', realm, nonce, stale, opaque: undefined } as const;
  switch (kind) {
    case 'basic':
      return { scheme: 'basic', realm };
    case 'digest-md5':
      return { ...digest, algorithm: 'MD5', algorithmNamed: false, qop: undefined };
    case 'digest-sha-256':
      return { ...digest, algorithm: 'SHA-256', algorithmNamed: true, qop: 'auth' };
    default: {
      const never: never = kind;
      return never;
    }
  }
}
