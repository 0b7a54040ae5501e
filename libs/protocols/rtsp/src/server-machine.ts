import type { InterleavedFrame, MalformedInput, RtspEvent, RtspRequest } from './messages.js';
import { RtspHeaders } from './headers.js';
import { statusOfProtocolError } from './protocol-error.js';
import { proceed, refuse } from './server-answers.js';
import { after, close, isSession, respond, responseEffect } from './server-reply.js';
import { handleRequest } from './server-requests.js';
import type { Awaiting, HostAnswer, ServerConfig, ServerInput, ServerState, ServerStep } from './server-state.js';
import { DEFAULT_SERVER_CONFIG } from './server-state.js';

export function startServer(
  config: Pick<ServerConfig, 'sessionId' | 'nonce'> & Partial<ServerConfig>,
  nowMs: number,
): ServerState {
  return {
    config: { ...DEFAULT_SERVER_CONFIG, ...config },
    phase: { tag: 'idle' },
    awaiting: undefined,
    queue: [],
    lastHeardMs: nowMs,
    refusals: 0,
    nonce: { value: config.nonce, issuedMs: nowMs, number: 1 },
    sessionsOpened: 0,
    nextEffectId: 1,
  };
}

/** When the next `tick` is due; undefined once closed. Every step may change it. */
export function serverDeadlineMs(state: ServerState): number | undefined {
  if (state.phase.tag === 'closed') return undefined;
  return state.awaiting?.deadlineMs ?? state.lastHeardMs + silenceLimitMs(state);
}

function silenceLimitMs({ phase, config }: ServerState): number {
  return isSession(phase) ? config.sessionTimeoutMs : config.idleTimeoutMs;
}

/** One connection of an RTSP server. After `close`, all input is ignored. */
export function stepServer(state: ServerState, input: ServerInput, nowMs: number): ServerStep {
  if (state.phase.tag === 'closed') return { state, effects: [] };
  switch (input.tag) {
    case 'received':
      return receive(state, input.event, nowMs);
    case 'answered':
      return isAwaited(state, input.id) ? resume(state, state.awaiting, input.answer, nowMs) : { state, effects: [] };
    case 'heard':
      return { state: { ...state, lastHeardMs: nowMs }, effects: [] };
    case 'tick':
      return tick(state, nowMs);
    case 'stop':
      return close(state, { tag: 'stopped', cause: input.cause });
    case 'disconnected':
      return close(state, { tag: 'disconnected' });
    default: {
      const never: never = input;
      return never;
    }
  }
}

type AwaitingState = ServerState & { readonly awaiting: Awaiting };

function isAwaited(state: ServerState, id: number): state is AwaitingState {
  return state.awaiting?.id === id;
}

function tick(state: ServerState, nowMs: number): ServerStep {
  const deadlineMs = serverDeadlineMs(state);
  if (deadlineMs === undefined || nowMs < deadlineMs) return { state, effects: [] };
  if (state.awaiting) {
    const answered = respond(state, state.awaiting.request, 503);
    return after(answered, (next) => close(next, { tag: 'host-timeout' }));
  }
  return close(state, { tag: isSession(state.phase) ? 'session-timeout' : 'idle' });
}

function receive(state: ServerState, event: RtspEvent, nowMs: number): ServerStep {
  switch (event.tag) {
    case 'interleaved':
      return receiveFrame(state, event, nowMs);
    case 'malformed':
      return receiveMalformed(state, event);
    case 'response':
      return { state: { ...state, lastHeardMs: nowMs }, effects: [] };
    case 'request':
      return receiveRequest({ ...state, lastHeardMs: nowMs }, event, nowMs);
    default: {
      const never: never = event;
      return never;
    }
  }
}

function receiveFrame(state: ServerState, frame: InterleavedFrame, nowMs: number): ServerStep {
  const { phase } = state;
  if (!isSession(phase)) return { state, effects: [] };
  for (const { track, transport } of phase.tracks) {
    if (transport.tag !== 'tcp') continue;
    const { rtp, rtcp } = transport.channels;
    if (frame.channel !== rtp && frame.channel !== rtcp) continue;
    const heard: ServerState = { ...state, lastHeardMs: nowMs };
    if (phase.tag === 'ready' || (phase.tag === 'recording' && phase.paused)) return { state: heard, effects: [] };
    if (frame.channel === rtcp) return { state: heard, effects: [{ tag: 'rtcp', track, data: frame.data }] };
    // A player sends data on a media channel only to open its firewall.
    if (phase.tag === 'playing') return { state: heard, effects: [] };
    return { state: heard, effects: [{ tag: 'rtp', track, data: frame.data }] };
  }
  return { state, effects: [] };
}

function receiveMalformed(state: ServerState, { error, cseq }: MalformedInput): ServerStep {
  const headers = RtspHeaders.of({ CSeq: cseq === undefined ? undefined : String(cseq) });
  const send = responseEffect(statusOfProtocolError(error.code), headers);
  return after({ state, effects: [send] }, (next) => close(next, { tag: 'malformed', code: error.code }));
}

function receiveRequest(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
  if (!state.awaiting) return handleRequest(state, request, nowMs);
  const queue = [...state.queue, request];
  const queuedBytes = queue.reduce((sum, { body }) => sum + body.length, 0);
  const { maxQueuedRequests, maxQueuedBytes } = state.config;
  if (queue.length > maxQueuedRequests || queuedBytes > maxQueuedBytes)
    return close(state, { tag: 'too-many-requests' });
  return { state: { ...state, queue }, effects: [] };
}

/** Answers the waiting requests until one needs the host again. */
function drain(step: ServerStep, nowMs: number): ServerStep {
  let drained = step;
  for (;;) {
    const [request, ...queue] = drained.state.queue;
    if (!request || drained.state.awaiting || drained.state.phase.tag === 'closed') return drained;
    drained = after(drained, (state) => handleRequest({ ...state, queue }, request, nowMs));
  }
}

/** Continues with the request that waited for the host, then with the requests queued after it. */
function resume(state: AwaitingState, awaiting: Awaiting, answer: HostAnswer, nowMs: number): ServerStep {
  const free: ServerState = { ...state, awaiting: undefined };
  if (answer.tag === 'refused') return drain(refuse(free, awaiting, answer, nowMs), nowMs);
  return drain(proceed(free, awaiting, answer, nowMs), nowMs);
}
