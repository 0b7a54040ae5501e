import { Buffer } from 'node:buffer';
import { type Challenge, type Credentials, formatChallenge, parseAuthorization } from './authentication.js';
import { formatRange, formatRtpInfo, parseSession } from './header-values.js';
import { type HeaderEntry, RtspHeaders } from './headers.js';
import {
  cseqOf,
  type InterleavedFrame,
  isRtspMethod,
  type MalformedInput,
  reasonOf,
  type RtspEvent,
  type RtspRequest,
  type RtspResponse,
} from './messages.js';
import { statusOfProtocolError } from './protocol-error.js';
import { controlOf, parseSdp, writeSdp } from './sdp.js';
import { chooseTransport } from './server-setup.js';
import type {
  Awaiting,
  AwaitedStep,
  CloseReason,
  HostAnswer,
  OpenTrack,
  Presentation,
  Refusal,
  ServerChallenge,
  ServerConfig,
  ServerEffect,
  ServerInput,
  ServerPhase,
  ServerState,
  ServerStep,
  SessionPhase,
} from './server-state.js';
import { DEFAULT_SERVER_CONFIG } from './server-state.js';
import { formatTransport, parseTransport } from './transport-header.js';
import { contentBaseOf, parseRtspUrl, resolveControl, setupTargetOf, streamPathOf } from './url.js';

const PUBLIC_METHODS =
  'OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER';

const NO_BODY = Buffer.alloc(0);

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
    sessionsOpened: 0,
    nextEffectId: 1,
  };
}

/** When the next `tick` is due; undefined when closed. Every step may move it. */
export function serverDeadlineMs(state: ServerState): number | undefined {
  if (state.phase.tag === 'closed') return undefined;
  return state.awaiting?.deadlineMs ?? state.lastHeardMs + silenceLimitMs(state);
}

function silenceLimitMs({ phase, config }: ServerState): number {
  return isSession(phase) ? config.sessionTimeoutMs : config.idleTimeoutMs;
}

/** One connection of an RTSP server. After `close` every input is swallowed. */
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

function isSession(phase: ServerPhase): phase is SessionPhase {
  return phase.tag === 'ready' || phase.tag === 'playing' || phase.tag === 'recording';
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

/** A session is let go before its connection. */
function close(state: ServerState, reason: CloseReason): ServerStep {
  const effects: ServerEffect[] = [];
  if (isSession(state.phase) || state.awaiting?.step.tag === 'open-track') effects.push({ tag: 'end-session', reason });
  effects.push({ tag: 'close', reason });
  return { state: { ...state, phase: { tag: 'closed', reason }, awaiting: undefined, queue: [] }, effects };
}

function after(step: ServerStep, next: (state: ServerState) => ServerStep): ServerStep {
  const { state, effects } = next(step.state);
  return { state, effects: [...step.effects, ...effects] };
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
    // What a player sends on a media channel only opens its firewall.
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
  if (!state.awaiting) return handle(state, request, nowMs);
  if (state.queue.length >= state.config.maxQueuedRequests) return close(state, { tag: 'too-many-requests' });
  return { state: { ...state, queue: [...state.queue, request] }, effects: [] };
}

/** Answers what waited, until one needs the host again. */
function drain(step: ServerStep, nowMs: number): ServerStep {
  let drained = step;
  for (;;) {
    const [request, ...queue] = drained.state.queue;
    if (!request || drained.state.awaiting || drained.state.phase.tag === 'closed') return drained;
    drained = after(drained, (state) => handle({ ...state, queue }, request, nowMs));
  }
}

function handle(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
  if (cseqOf(request) === undefined) return respond(state, request, 400);
  const required = request.headers.get('Require');
  if (required !== undefined) return respond(state, request, 551, [['Unsupported', required]]);
  if (namesOtherSession(state.phase, request)) return respond(state, request, 454);
  if (!isRtspMethod(request.method)) return respond(state, request, 501);
  switch (request.method) {
    case 'OPTIONS':
      return respond(state, request, 200, [['Public', PUBLIC_METHODS]]);
    case 'DESCRIBE':
      return handleDescribe(state, request, nowMs);
    case 'ANNOUNCE':
      return handleAnnounce(state, request, nowMs);
    case 'SETUP':
      return handleSetup(state, request, nowMs);
    case 'PLAY':
      return handlePlay(state, request, nowMs);
    case 'RECORD':
      return handleRecord(state, request, nowMs);
    case 'PAUSE':
      return handlePause(state, request);
    case 'TEARDOWN':
      return handleTeardown(state, request);
    case 'GET_PARAMETER':
    case 'SET_PARAMETER':
      return respond(state, request, request.body.toString('latin1').trim() === '' ? 200 : 451);
    case 'REDIRECT':
      return respond(state, request, 501);
    default: {
      const never: never = request.method;
      return never;
    }
  }
}

/** A request without Session means the one this connection has. */
function namesOtherSession(phase: ServerPhase, request: RtspRequest): boolean {
  const header = request.headers.get('Session');
  if (header === undefined) return false;
  return !isSession(phase) || parseSession(header)?.id !== phase.id;
}

function handleDescribe(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
  const { phase } = state;
  if (isSession(phase) && phase.presentation.purpose === 'record') return wrongState(state, request);
  const accept = request.headers.get('Accept');
  if (accept !== undefined && !/application\/(sdp|\*)|\*\/\*/i.test(accept)) return respond(state, request, 406);
  return authorise(state, request, 'play', nowMs);
}

function handleAnnounce(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
  if (isSession(state.phase)) return wrongState(state, request);
  const contentType = request.headers.get('Content-Type');
  if (contentType !== undefined && !/^application\/sdp\b/i.test(contentType)) return respond(state, request, 415);
  return authorise(state, request, 'publish', nowMs);
}

function authorise(state: ServerState, request: RtspRequest, verb: 'publish' | 'play', nowMs: number): ServerStep {
  const whole = parseRtspUrl(request.url);
  const path = whole && streamPathOf(whole);
  if (!whole || path === undefined) return respond(state, request, 400);
  if (path === '') return respond(state, request, 404);
  const header = request.headers.get('Authorization');
  const credentials: Credentials | undefined = header === undefined ? basicOf(whole.user) : parseAuthorization(header);
  if (credentials?.scheme === 'digest' && credentials.nonce !== state.config.nonce) {
    return challenge(state, request, true);
  }
  const url = { ...whole, user: undefined };
  return ask(state, request, { tag: 'authorise', verb, url, path }, nowMs, (id) => ({
    tag: 'authorise',
    id,
    verb,
    path,
    url,
    method: request.method,
    requestUrl: request.url,
    credentials,
  }));
}

function basicOf(user: { readonly username: string; readonly password: string } | undefined): Credentials | undefined {
  return user && { scheme: 'basic', ...user };
}

function ask(
  state: ServerState,
  request: RtspRequest,
  step: AwaitedStep,
  nowMs: number,
  effect: (id: number) => ServerEffect,
): ServerStep {
  const id = state.nextEffectId;
  const awaiting: Awaiting = { id, request, deadlineMs: nowMs + state.config.hostTimeoutMs, step };
  return { state: { ...state, awaiting, nextEffectId: id + 1 }, effects: [effect(id)] };
}

function handleSetup(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
  const { phase } = state;
  if (phase.tag !== 'prepared' && phase.tag !== 'ready') return wrongState(state, request);
  const { presentation } = phase;
  const url = parseRtspUrl(request.url);
  if (!url) return respond(state, request, 400);
  const controls = presentation.tracks.map(({ control }) => control);
  const target = setupTargetOf(presentation.url, controls, url);
  if (target.tag === 'elsewhere') return respond(state, request, 404);
  if (target.tag === 'aggregate' && controls.length > 1) return respond(state, request, 459);
  const track = target.tag === 'track' ? target.index : 0;
  const specs = parseTransport(request.headers.get('Transport') ?? '');
  if (presentation.purpose === 'play' && specs[0]?.mode === 'record') return wrongState(state, request);
  const others = phase.tag === 'ready' ? phase.tracks.filter((open) => open.track !== track) : [];
  const chosen = chooseTransport(specs, state.config, others);
  if (!chosen) return respond(state, request, 461);
  const open: OpenTrack = { track, transport: chosen.transport };
  const step: AwaitedStep = { tag: 'open-track', open, profile: chosen.profile, mode: specs[0]?.mode !== undefined };
  const replaces = phase.tag === 'ready' && others.length < phase.tracks.length;
  const closing: ServerEffect[] = replaces ? [{ tag: 'close-track', track }] : [];
  const forgotten: ServerState = replaces ? { ...state, phase: { ...phase, tracks: others } } : state;
  return after({ state: forgotten, effects: closing }, (next) =>
    ask(next, request, step, nowMs, (id) => ({
      tag: 'open-track',
      id,
      path: presentation.path,
      purpose: presentation.purpose,
      ...open,
    })),
  );
}

function handlePlay(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
  const { phase } = state;
  if (phase.tag === 'playing') return respond(state, request, 200, [['Range', LIVE_RANGE]]);
  if (phase.tag !== 'ready' || phase.presentation.purpose !== 'play' || phase.tracks.length === 0) {
    return wrongState(state, request);
  }
  const { path } = phase.presentation;
  const { tracks } = phase;
  return ask(state, request, { tag: 'start-play' }, nowMs, (id) => ({ tag: 'start-play', id, path, tracks }));
}

const LIVE_RANGE = formatRange({ tag: 'npt', startS: 0, endS: undefined });

function handleRecord(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
  const { phase } = state;
  if (phase.tag === 'recording') {
    return respond({ ...state, phase: { ...phase, paused: false } }, request, 200);
  }
  if (phase.tag !== 'ready' || phase.presentation.purpose !== 'record' || phase.tracks.length === 0) {
    return wrongState(state, request);
  }
  const { path } = phase.presentation;
  const { tracks } = phase;
  return ask(state, request, { tag: 'start-record' }, nowMs, (id) => ({ tag: 'start-record', id, path, tracks }));
}

/** A publisher keeps its stream while it pauses. */
function handlePause(state: ServerState, request: RtspRequest): ServerStep {
  const { phase } = state;
  switch (phase.tag) {
    case 'playing': {
      const ready: ServerState = { ...state, phase: { ...phase, tag: 'ready' } };
      return after({ state: ready, effects: [{ tag: 'pause-play' }] }, (next) => respond(next, request, 200));
    }
    case 'recording':
      return respond({ ...state, phase: { ...phase, paused: true } }, request, 200);
    case 'ready':
      return respond(state, request, 200);
    case 'idle':
    case 'prepared':
    case 'closed':
      return wrongState(state, request);
    default: {
      const never: never = phase;
      return never;
    }
  }
}

/** Of a track or of all: the session ends, and the connection may begin another. */
function handleTeardown(state: ServerState, request: RtspRequest): ServerStep {
  if (!isSession(state.phase)) return wrongState(state, request);
  const ended: ServerStep = {
    state: { ...state, phase: { tag: 'idle' } },
    effects: [{ tag: 'end-session', reason: { tag: 'teardown' } }],
  };
  return after(ended, (next) => respond(next, request, 200));
}

function wrongState(state: ServerState, request: RtspRequest): ServerStep {
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

/** Goes on with the request that waited, then with those behind it. */
function resume(state: AwaitingState, awaiting: Awaiting, answer: HostAnswer, nowMs: number): ServerStep {
  const free: ServerState = { ...state, awaiting: undefined };
  if (answer.tag === 'refused') return drain(refuse(free, awaiting, answer.refusal), nowMs);
  return drain(proceed(free, awaiting, answer, nowMs), nowMs);
}

type Consent = Exclude<HostAnswer, { tag: 'refused' }>;

/** @throws TypeError when the host answers one effect with the answer of another */
function proceed(state: ServerState, { request, step }: Awaiting, answer: Consent, nowMs: number): ServerStep {
  switch (step.tag) {
    case 'authorise':
      if (answer.tag === 'accepted') return authorised(state, request, step, nowMs);
      break;
    case 'describe':
      if (answer.tag === 'described') return described(state, request, step, answer, nowMs);
      break;
    case 'announce':
      if (answer.tag === 'accepted') {
        return respond({ ...state, phase: { tag: 'prepared', presentation: step.presentation } }, request, 200);
      }
      break;
    case 'open-track':
      if (answer.tag === 'opened') return opened(state, request, step, answer);
      break;
    case 'start-play':
      if (answer.tag === 'play-ready') return playReady(state, request, answer);
      break;
    case 'start-record':
      if (answer.tag === 'accepted' && state.phase.tag === 'ready') {
        return respond({ ...state, phase: { ...state.phase, tag: 'recording', paused: false } }, request, 200);
      }
      break;
    default: {
      const never: never = step;
      return never;
    }
  }
  throw new TypeError(`${answer.tag} does not answer ${step.tag}`);
}

function authorised(
  state: ServerState,
  request: RtspRequest,
  { verb, url, path }: Extract<AwaitedStep, { tag: 'authorise' }>,
  nowMs: number,
): ServerStep {
  if (verb === 'play') {
    return ask(state, request, { tag: 'describe', url, path }, nowMs, (id) => ({ tag: 'describe', id, path }));
  }
  const sdp = parseSdp(request.body.toString('utf8'));
  if (sdp.tag === 'malformed' || sdp.tracks.length === 0 || sdp.tracks.length > state.config.maxTracks) {
    return respond(state, request, 400);
  }
  const { tracks } = sdp;
  const presentation: Presentation = { purpose: 'record', url, path, tracks };
  return ask(state, request, { tag: 'announce', presentation }, nowMs, (id) => ({ tag: 'announce', id, path, tracks }));
}

/** Inside a session the description is only shown again. */
function described(
  state: ServerState,
  request: RtspRequest,
  { url, path }: Extract<AwaitedStep, { tag: 'describe' }>,
  answer: Extract<HostAnswer, { tag: 'described' }>,
  nowMs: number,
): ServerStep {
  const tracks = answer.tracks.map((track, index) => ({ ...track, control: controlOf(index) }));
  const sdp = writeSdp({ sessionId: String(nowMs), sessionVersion: 1, sessionName: answer.sessionName, tracks });
  const next: ServerState = isSession(state.phase)
    ? state
    : { ...state, phase: { tag: 'prepared', presentation: { purpose: 'play', url, path, tracks } } };
  const headers: HeaderEntry[] = [
    ['Content-Base', contentBaseOf(url)],
    ['Content-Type', 'application/sdp'],
  ];
  return respond(next, request, 200, headers, Buffer.from(sdp, 'utf8'));
}

function opened(
  state: ServerState,
  request: RtspRequest,
  { open, profile, mode }: Extract<AwaitedStep, { tag: 'open-track' }>,
  answer: Extract<HostAnswer, { tag: 'opened' }>,
): ServerStep {
  const { phase } = state;
  if (phase.tag !== 'prepared' && phase.tag !== 'ready') throw new TypeError(`opened in ${phase.tag}`);
  const { presentation } = phase;
  const isNew = phase.tag === 'prepared';
  const sessionsOpened = state.sessionsOpened + (isNew ? 1 : 0);
  const id = isNew ? `${state.config.sessionId}${sessionsOpened}` : phase.id;
  const tracks = isNew ? [open] : [...phase.tracks, open];
  const next: ServerState = { ...state, sessionsOpened, phase: { tag: 'ready', presentation, id, tracks } };
  const transport = formatTransport({
    lower: open.transport.tag,
    profile,
    multicast: false,
    ...(open.transport.tag === 'tcp'
      ? { interleaved: open.transport.channels }
      : { clientPorts: open.transport.clientPorts }),
    ...(answer.serverPorts && { serverPorts: answer.serverPorts }),
    ...(answer.ssrc !== undefined && { ssrc: answer.ssrc }),
    ...(mode && { mode: presentation.purpose }),
  });
  return respond(next, request, 200, [['Transport', transport]]);
}

function playReady(
  state: ServerState,
  request: RtspRequest,
  { origins }: Extract<HostAnswer, { tag: 'play-ready' }>,
): ServerStep {
  const { phase } = state;
  if (phase.tag !== 'ready') throw new TypeError(`play-ready in ${phase.tag}`);
  const base = contentBaseOf(phase.presentation.url);
  const headers: HeaderEntry[] = [['Range', LIVE_RANGE]];
  if (origins.length > 0) {
    const infos = origins.map(({ track, ...origin }) => ({ url: resolveControl(base, controlOf(track)), ...origin }));
    headers.push(['RTP-Info', formatRtpInfo(infos)]);
  }
  const answered = respond({ ...state, phase: { ...phase, tag: 'playing' } }, request, 200, headers);
  return { state: answered.state, effects: [...answered.effects, { tag: 'release-media' }] };
}

function refuse(state: ServerState, { request }: Awaiting, refusal: Refusal): ServerStep {
  switch (refusal) {
    case 'unauthenticated':
      return countRefusal(challenge(state, request, false));
    case 'forbidden':
      return countRefusal(respond(state, request, 403));
    case 'not-found':
      return respond(state, request, 404);
    case 'busy':
      return respond(state, request, 503, [], NO_BODY, 'Stream Is Already Published');
    case 'unavailable':
      return respond(state, request, 503);
    case 'unsupported-media':
      return respond(state, request, 415);
    case 'unsupported-transport':
      return respond(state, request, 461);
    default: {
      const never: never = refusal;
      return never;
    }
  }
}

function countRefusal(step: ServerStep): ServerStep {
  const refusals = step.state.refusals + 1;
  const counted: ServerStep = { ...step, state: { ...step.state, refusals } };
  if (refusals < step.state.config.maxRefusals) return counted;
  return after(counted, (state) => close(state, { tag: 'too-many-refusals' }));
}

function challenge(state: ServerState, request: RtspRequest, stale: boolean): ServerStep {
  const headers = state.config.challenges.map((kind): HeaderEntry => [
    'WWW-Authenticate',
    formatChallenge(challengeOf(kind, state.config, stale)),
  ]);
  return respond(state, request, 401, headers);
}

/** MD5 is offered without naming it and without qop: the form that every client since RFC 2069 answers. */
function challengeOf(kind: ServerChallenge, { realm, nonce }: ServerConfig, stale: boolean): Challenge {
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

function respond(
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
  return `${phase.id};timeout=${Math.floor(config.sessionTimeoutMs / 1000)}`;
}

function responseEffect(status: number, headers: RtspHeaders, body = NO_BODY, reason = reasonOf(status)): ServerEffect {
  const response: RtspResponse = { tag: 'response', status, reason, headers, body };
  return { tag: 'send', response };
}
