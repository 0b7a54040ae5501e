import { type Challenge, parseChallenges, strongestChallenge } from './authentication.js';
import {
  after,
  ask,
  connect,
  end,
  idle,
  lowersOf,
  nextTransport,
  NO_BODY,
  send,
  sessionHeaders,
  sessionOf,
  tearDown,
} from './client-requests.js';
import {
  begin,
  described,
  portsOpened,
  selected,
  setUpPush,
  started,
  trackSetUp,
  transportRefused,
} from './client-setup.js';
import type {
  ClientConfig,
  ClientInput,
  ClientPhase,
  ClientState,
  ClientStep,
  Running,
  SentRequest,
} from './client-state.js';
import { DEFAULT_CLIENT_CONFIG } from './client-state.js';
import { type HeaderEntry, RtspHeaders } from './headers.js';
import {
  cseqOf,
  type InterleavedFrame,
  reasonOf,
  type RtspEvent,
  type RtspRequest,
  type RtspResponse,
} from './messages.js';
import { formatRtspUrl, parseRtspUrl } from './url.js';

/** The first step. Its effect asks for a connection. */
export function startClient(
  config: Pick<ClientConfig, 'url' | 'cnonce'> & Partial<ClientConfig>,
  nowMs: number,
): ClientStep {
  const whole: ClientConfig = { ...DEFAULT_CLIENT_CONFIG, ...config };
  const state: ClientState = {
    config: whole,
    url: { ...whole.url, user: undefined },
    user: whole.url.user,
    phase: { tag: 'connecting' },
    deadlineMs: nowMs,
    nextCseq: 1,
    methods: new Set(),
    challenge: undefined,
    nonceCount: 0,
    redirects: 0,
    lower: 0,
  };
  return connect(state, 'start', nowMs);
}

/** When the next `tick` is due; undefined after the end. Every step may change it. */
export function clientDeadlineMs(state: ClientState): number | undefined {
  const { phase } = state;
  if (phase.tag === 'ended') return undefined;
  if (phase.tag !== 'running') return state.deadlineMs;
  return Math.min(phase.keepAliveAtMs, silentAtMs(state.config, phase));
}

function silentAtMs(config: ClientConfig, phase: Running): number {
  if (config.intent.tag === 'push') return Infinity;
  return phase.lastMediaMs === undefined
    ? phase.startedMs + config.firstMediaTimeoutMs
    : phase.lastMediaMs + config.mediaTimeoutMs;
}

/** One pull or push of one URL. After `end`, all input is ignored; start again with a new machine. */
export function stepClient(state: ClientState, input: ClientInput, nowMs: number): ClientStep {
  const { phase } = state;
  if (phase.tag === 'ended') return { state, effects: [] };
  switch (input.tag) {
    case 'connected':
      return phase.tag === 'connecting' ? connected(state, nowMs) : idle(state);
    case 'connect-failed':
      return phase.tag === 'connecting' ? end(state, { tag: input.cause }) : idle(state);
    case 'received':
      return phase.tag === 'connecting' ? idle(state) : receive(state, input.event, nowMs);
    case 'selected':
      return phase.tag === 'selecting' ? selected(state, phase, input.tracks, nowMs) : idle(state);
    case 'ports-opened':
      return phase.tag === 'opening-ports' ? portsOpened(state, phase, input.ports, nowMs) : idle(state);
    case 'heard':
      return idle(heard(state, nowMs));
    case 'tick':
      return tick(state, nowMs);
    case 'stop':
      return end(state, { tag: 'stopped' });
    case 'disconnected':
      return phase.tag === 'connecting' ? end(state, { tag: 'unreachable' }) : end(state, { tag: 'closed-by-server' });
    default: {
      const never: never = input;
      return never;
    }
  }
}

function heard(state: ClientState, nowMs: number): ClientState {
  return state.phase.tag === 'running' ? { ...state, phase: { ...state.phase, lastMediaMs: nowMs } } : state;
}

function connected(state: ClientState, nowMs: number): ClientStep {
  return ask(state, 'OPTIONS', formatRtspUrl(state.url), [], nowMs, (request) => ({ tag: 'asking-options', request }));
}

function tick(state: ClientState, nowMs: number): ClientStep {
  const { phase } = state;
  const deadlineMs = clientDeadlineMs(state);
  if (deadlineMs === undefined || nowMs < deadlineMs) return idle(state);
  if (phase.tag !== 'running') return end(state, { tag: 'timed-out', during: phase.tag });
  if (nowMs < silentAtMs(state.config, phase)) return keepAlive(state, phase, nowMs);
  const isUdpBlocked = phase.lastMediaMs === undefined && lowersOf(state)[state.lower] === 'udp';
  return isUdpBlocked ? nextTransport(state, { tag: 'media-silent' }, nowMs) : end(state, { tag: 'media-silent' });
}

/**
 * The machine doesn't wait for the answer: some cameras never send one, and missing media are the better sign of
 * failure.
 */
function keepAlive(state: ClientState, phase: Running, nowMs: number): ClientStep {
  const request: SentRequest = {
    method: phase.keepAliveMethod,
    url: phase.session.aggregateUrl,
    headers: RtspHeaders.of(sessionHeaders(phase.session)),
    body: NO_BODY,
    cseq: state.nextCseq,
    retries: 0,
  };
  const keepAliveAtMs = nowMs + phase.session.timeoutMs / 2;
  return send({ ...state, phase: { ...phase, keepAlive: request, keepAliveAtMs } }, request);
}

function receive(state: ClientState, event: RtspEvent, nowMs: number): ClientStep {
  switch (event.tag) {
    case 'interleaved':
      return receiveFrame(state, event, nowMs);
    case 'response':
      return receiveResponse(state, event, nowMs);
    case 'request':
      return receiveRequest(state, event, nowMs);
    case 'malformed':
      return end(state, { tag: 'malformed', code: event.error.code });
    default: {
      const never: never = event;
      return never;
    }
  }
}

/** Servers may send media before they answer PLAY. */
function receiveFrame(state: ClientState, frame: InterleavedFrame, nowMs: number): ClientStep {
  const { phase } = state;
  if (phase.tag !== 'running' && phase.tag !== 'starting') return idle(state);
  for (const { track, transport } of phase.session.tracks) {
    if (transport.tag !== 'tcp') continue;
    const { rtp, rtcp } = transport.channels;
    if (frame.channel !== rtp && frame.channel !== rtcp) continue;
    const tag = frame.channel === rtp ? 'rtp' : 'rtcp';
    return { state: heard(state, nowMs), effects: [{ tag, track, data: frame.data }] };
  }
  return idle(state);
}

function receiveRequest(state: ClientState, request: RtspRequest, nowMs: number): ClientStep {
  switch (request.method) {
    case 'OPTIONS':
      return reply(state, request, 200, [['Public', 'OPTIONS, GET_PARAMETER, SET_PARAMETER, REDIRECT, TEARDOWN']]);
    case 'GET_PARAMETER':
    case 'SET_PARAMETER':
      return reply(state, request, 200);
    case 'TEARDOWN':
      return after(reply(state, request, 200), (next) => end(next, { tag: 'closed-by-server' }));
    case 'REDIRECT':
      return after(reply(state, request, 200), (next) =>
        redirect(next, { method: 'REDIRECT', status: 302, headers: request.headers }, nowMs),
      );
    default:
      return reply(state, request, 501);
  }
}

function reply(
  state: ClientState,
  request: RtspRequest,
  status: number,
  extra: readonly HeaderEntry[] = [],
): ClientStep {
  const cseq = cseqOf(request);
  const session = sessionOf(state.phase);
  const headers = RtspHeaders.of([
    ...(cseq === undefined ? [] : [['CSeq', String(cseq)] as const]),
    ...(session ? sessionHeaders(session) : []),
    ...extra,
  ]);
  const message: RtspResponse = { tag: 'response', status, reason: reasonOf(status), headers, body: NO_BODY };
  return { state, effects: [{ tag: 'send', message }] };
}

interface Redirection {
  readonly method: string;
  readonly status: number;
  readonly headers: RtspHeaders;
}

function redirect(state: ClientState, { method, status, headers }: Redirection, nowMs: number): ClientStep {
  const url = parseRtspUrl(headers.get('Location') ?? '');
  if (!url) return end(state, { tag: 'refused', method, status });
  if (state.redirects >= state.config.maxRedirects) return end(state, { tag: 'too-many-redirects' });
  // A password is only for the host that it was given for.
  const isSameServer = url.host === state.url.host && url.port === state.url.port && url.scheme === state.url.scheme;
  const user = url.user ?? (isSameServer ? state.user : undefined);
  const left: ClientStep = {
    state: { ...state, url: { ...url, user: undefined }, user, redirects: state.redirects + 1 },
    effects: [...tearDown(state), { tag: 'disconnect' }],
  };
  return after(left, (next) => connect(next, 'redirect', nowMs));
}

function receiveResponse(state: ClientState, response: RtspResponse, nowMs: number): ClientStep {
  const request = inFlight(state.phase);
  const cseq = cseqOf(response);
  if (!request || response.status < 200 || (cseq !== undefined && cseq !== request.cseq)) return idle(state);
  if (response.status === 401) return authenticate(state, request, response, nowMs);
  if (response.status >= 300 && response.status < 400)
    return redirect(state, { ...response, method: request.method }, nowMs);
  return answered(state, request, response, nowMs);
}

function inFlight(phase: ClientPhase): SentRequest | undefined {
  if (phase.tag === 'running') return phase.keepAlive;
  return 'request' in phase ? phase.request : undefined;
}

function authenticate(state: ClientState, request: SentRequest, response: RtspResponse, nowMs: number): ClientStep {
  const challenge = strongestChallenge(parseChallenges(response.headers.all('WWW-Authenticate')));
  if (!challenge || !state.user || !isWorthAnswering(challenge, state.challenge, request)) {
    return end(state, { tag: 'unauthorised' });
  }
  const again: SentRequest = { ...request, cseq: state.nextCseq, retries: request.retries + 1 };
  const deadlineMs = nowMs + state.config.answerTimeoutMs;
  const phase = withRequest(state.phase, again);
  return send({ ...state, phase, deadlineMs, challenge, nonceCount: 0 }, again);
}

/** A second 401 for one request means a wrong password, unless the server says that only the nonce is too old. */
function isWorthAnswering(challenge: Challenge, former: Challenge | undefined, request: SentRequest): boolean {
  if (former === undefined) return true;
  if (challenge.scheme !== 'digest') return false;
  if (challenge.stale) return request.retries < 2;
  return request.retries === 0 && (former.scheme !== 'digest' || former.nonce !== challenge.nonce);
}

function withRequest(phase: ClientPhase, request: SentRequest): ClientPhase {
  if (phase.tag === 'running') return { ...phase, keepAlive: request };
  return 'request' in phase ? { ...phase, request } : phase;
}

function answered(state: ClientState, request: SentRequest, response: RtspResponse, nowMs: number): ClientStep {
  const { phase } = state;
  const isGood = response.status < 300;
  if (phase.tag === 'running') return keptAlive(state, phase, response);
  // Some cameras refuse OPTIONS but still play.
  if (phase.tag === 'asking-options') return begin(state, isGood ? response : undefined, nowMs);
  if (phase.tag === 'setting-up' && response.status === 461) return transportRefused(state, phase, nowMs);
  if (!isGood) return end(state, { tag: 'refused', method: request.method, status: response.status });
  switch (phase.tag) {
    case 'describing':
      return described(state, request, response, nowMs);
    case 'announcing':
      return setUpPush(state, nowMs);
    case 'setting-up':
      return trackSetUp(state, phase, response, nowMs);
    case 'starting':
      return started(state, phase, response, nowMs);
    case 'connecting':
    case 'selecting':
    case 'opening-ports':
    case 'ended':
      return idle(state);
    default: {
      const never: never = phase;
      return never;
    }
  }
}

function keptAlive(state: ClientState, phase: Running, response: RtspResponse): ClientStep {
  if (response.status === 454) return end(state, { tag: 'refused', method: phase.keepAliveMethod, status: 454 });
  const keepAliveMethod = response.status < 300 ? phase.keepAliveMethod : 'OPTIONS';
  return idle({ ...state, phase: { ...phase, keepAlive: undefined, keepAliveMethod } });
}
