import { Buffer } from 'node:buffer';
import { answerChallenge } from './authentication.js';
import type {
  ClientEffect,
  ClientEndReason,
  ClientPhase,
  ClientSession,
  ClientState,
  ClientStep,
  SentRequest,
} from './client-state.js';
import { type HeaderEntry, RtspHeaders } from './headers.js';
import type { RtspMethod } from './messages.js';

export const NO_BODY = Buffer.alloc(0);

export function idle(state: ClientState): ClientStep {
  return { state, effects: [] };
}

export function after(step: ClientStep, next: (state: ClientState) => ClientStep): ClientStep {
  const { state, effects } = next(step.state);
  return { state, effects: [...step.effects, ...effects] };
}

export function connect(state: ClientState, cause: 'start' | 'redirect' | 'transport', nowMs: number): ClientStep {
  const deadlineMs = nowMs + state.config.connectTimeoutMs;
  const next: ClientState = {
    ...state,
    phase: { tag: 'connecting' },
    deadlineMs,
    challenge: undefined,
    methods: new Set(),
  };
  return { state: next, effects: [{ tag: 'connect', url: state.url, cause }] };
}

/** Sends a request and enters the phase that `phase` returns, which waits for the answer. */
export function ask(
  state: ClientState,
  method: RtspMethod,
  url: string,
  headers: readonly HeaderEntry[],
  nowMs: number,
  phase: (request: SentRequest) => ClientPhase,
  body = NO_BODY,
): ClientStep {
  const request: SentRequest = {
    method,
    url,
    headers: RtspHeaders.of(headers),
    body,
    cseq: state.nextCseq,
    retries: 0,
  };
  const deadlineMs = nowMs + state.config.answerTimeoutMs;
  return send({ ...state, phase: phase(request), deadlineMs }, request);
}

export function send(state: ClientState, request: SentRequest): ClientStep {
  const { method, url, body, cseq } = request;
  const nonceCount = state.nonceCount + 1;
  const entries: HeaderEntry[] = [
    ['CSeq', String(cseq)],
    ['User-Agent', state.config.userAgent],
  ];
  if (state.challenge && state.user) {
    const answer = { method, uri: url, ...state.user, cnonce: state.config.cnonce, nonceCount };
    entries.push(['Authorization', answerChallenge(state.challenge, answer)]);
  }
  const headers = RtspHeaders.of([...entries, ...request.headers.entries]);
  return {
    state: { ...state, nextCseq: Math.max(state.nextCseq, cseq + 1), nonceCount },
    effects: [{ tag: 'send', message: { tag: 'request', method, url, headers, body } }],
  };
}

/** Sends the session's TEARDOWN without waiting for the answer. */
export function end(state: ClientState, reason: ClientEndReason): ClientStep {
  const ended: ClientState = { ...state, phase: { tag: 'ended', reason } };
  const silent = reason.tag === 'closed-by-server' || reason.tag === 'malformed';
  return { state: ended, effects: [...(silent ? [] : tearDown(state)), { tag: 'end', reason }] };
}

export function tearDown(state: ClientState): readonly ClientEffect[] {
  const session = sessionOf(state.phase);
  if (!session || session.tracks.length === 0) return [];
  const request: SentRequest = {
    method: 'TEARDOWN',
    url: session.aggregateUrl,
    headers: RtspHeaders.of(sessionHeaders(session)),
    body: NO_BODY,
    cseq: state.nextCseq,
    retries: 0,
  };
  return send(state, request).effects;
}

export function sessionOf(phase: ClientPhase): ClientSession | undefined {
  return 'session' in phase ? phase.session : undefined;
}

export function sessionHeaders(session: ClientSession): HeaderEntry[] {
  return session.id === undefined ? [] : [['Session', session.id]];
}

/**
 * The lower transports that may be tried. With TLS, only TCP inside the TLS connection, because UDP media would be
 * unencrypted.
 */
export function lowersOf({ config, url }: ClientState): readonly ('tcp' | 'udp')[] {
  return url.scheme === 'rtsps' ? ['tcp'] : config.lowers;
}

/** Starts again on a new connection, because a half-open session with the other transport is useless. */
export function nextTransport(state: ClientState, otherwise: ClientEndReason, nowMs: number): ClientStep {
  if (state.lower + 1 >= lowersOf(state).length) return end(state, otherwise);
  const left: ClientStep = {
    state: { ...state, lower: state.lower + 1 },
    effects: [...tearDown(state), { tag: 'disconnect' }],
  };
  return after(left, (next) => connect(next, 'transport', nowMs));
}
