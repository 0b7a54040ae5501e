import { Buffer } from 'node:buffer';
import { answerChallenge, type Challenge, parseChallenges, strongestChallenge } from './authentication.js';
import type {
  ClientConfig,
  ClientEffect,
  ClientEndReason,
  ClientInput,
  ClientPhase,
  ClientSession,
  ClientState,
  ClientStep,
  ClientTrack,
  ClientTrackOrigin,
  ClientTrackTransport,
  SentRequest,
  SettingUp,
  TrackTarget,
} from './client-state.js';
import { DEFAULT_CLIENT_CONFIG } from './client-state.js';
import { parseMethods, parseRtpInfo, parseSession } from './header-values.js';
import { type HeaderEntry, RtspHeaders } from './headers.js';
import {
  cseqOf,
  type InterleavedFrame,
  reasonOf,
  type RtspEvent,
  type RtspMethod,
  type RtspRequest,
  type RtspResponse,
} from './messages.js';
import { controlOf, parseSdp, writeSdp } from './sdp.js';
import { formatTransport, parseTransport, type PortPair, type TransportSpec } from './transport-header.js';
import { contentBaseOf, formatRtspUrl, parseRtspUrl, resolveControl } from './url.js';

const NO_BODY = Buffer.alloc(0);
const DEFAULT_SESSION_TIMEOUT_MS = 60_000;
const LOWEST_SESSION_TIMEOUT_MS = 2_000;
const HIGHEST_SESSION_TIMEOUT_MS = 120_000;

/** The first step: its effect asks for the connection. */
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

/** When the next `tick` is due; undefined when ended. Every step may move it. */
export function clientDeadlineMs(state: ClientState): number | undefined {
  const { phase } = state;
  if (phase.tag === 'ended') return undefined;
  if (phase.tag !== 'running') return state.deadlineMs;
  return Math.min(phase.keepAliveAtMs, silentAtMs(state.config, phase));
}

type Running = Extract<ClientPhase, { tag: 'running' }>;

function silentAtMs(config: ClientConfig, phase: Running): number {
  if (config.intent.tag === 'push') return Infinity;
  return phase.lastMediaMs === undefined
    ? phase.startedMs + config.firstMediaTimeoutMs
    : phase.lastMediaMs + config.mediaTimeoutMs;
}

/** One pull (or push) of one URL. After `end` every input is swallowed; begin again with a new machine. */
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

function idle(state: ClientState): ClientStep {
  return { state, effects: [] };
}

function after(step: ClientStep, next: (state: ClientState) => ClientStep): ClientStep {
  const { state, effects } = next(step.state);
  return { state, effects: [...step.effects, ...effects] };
}

function heard(state: ClientState, nowMs: number): ClientState {
  return state.phase.tag === 'running' ? { ...state, phase: { ...state.phase, lastMediaMs: nowMs } } : state;
}

function connect(state: ClientState, cause: 'start' | 'redirect' | 'transport', nowMs: number): ClientStep {
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

function connected(state: ClientState, nowMs: number): ClientStep {
  return ask(state, 'OPTIONS', formatRtspUrl(state.url), [], nowMs, (request) => ({ tag: 'asking-options', request }));
}

/** Sends a request and waits for its answer in the phase that `phase` gives. */
function ask(
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

function send(state: ClientState, request: SentRequest): ClientStep {
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

/** The session's TEARDOWN is sent without waiting for its answer. */
function end(state: ClientState, reason: ClientEndReason): ClientStep {
  const ended: ClientState = { ...state, phase: { tag: 'ended', reason } };
  const silent = reason.tag === 'closed-by-server' || reason.tag === 'malformed';
  return { state: ended, effects: [...(silent ? [] : tearDown(state)), { tag: 'end', reason }] };
}

function tearDown(state: ClientState): readonly ClientEffect[] {
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

function sessionOf(phase: ClientPhase): ClientSession | undefined {
  return 'session' in phase ? phase.session : undefined;
}

function sessionHeaders(session: ClientSession): HeaderEntry[] {
  return session.id === undefined ? [] : [['Session', session.id]];
}

function tick(state: ClientState, nowMs: number): ClientStep {
  const { phase } = state;
  const deadlineMs = clientDeadlineMs(state);
  if (deadlineMs === undefined || nowMs < deadlineMs) return idle(state);
  if (phase.tag !== 'running') return end(state, { tag: 'timed-out', during: phase.tag });
  if (nowMs < silentAtMs(state.config, phase)) return keepAlive(state, phase, nowMs);
  const isUdpBlocked = phase.lastMediaMs === undefined && state.config.lowers[state.lower] === 'udp';
  return isUdpBlocked ? nextTransport(state, { tag: 'media-silent' }, nowMs) : end(state, { tag: 'media-silent' });
}

/** Begins again on a new connection: a half-open session of the other transport is of no use. */
function nextTransport(state: ClientState, otherwise: ClientEndReason, nowMs: number): ClientStep {
  if (state.lower + 1 >= state.config.lowers.length) return end(state, otherwise);
  const left: ClientStep = {
    state: { ...state, lower: state.lower + 1 },
    effects: [...tearDown(state), { tag: 'disconnect' }],
  };
  return after(left, (next) => connect(next, 'transport', nowMs));
}

/** Its answer isn't waited for: there are cameras that never give one, and silence of the media tells more. */
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
  // A password is for the host it was given for.
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

/** A second 401 for one request means a wrong password, unless the server says that only its nonce is old. */
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
  // There are cameras that refuse OPTIONS and play all the same.
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

function begin(state: ClientState, options: RtspResponse | undefined, nowMs: number): ClientStep {
  const methods = parseMethods(options?.headers.all('Public').join(',') ?? '');
  const url = formatRtspUrl(state.url);
  const { intent } = state.config;
  if (intent.tag === 'pull') {
    const headers: HeaderEntry[] = [['Accept', 'application/sdp']];
    return ask({ ...state, methods }, 'DESCRIBE', url, headers, nowMs, (request) => ({ tag: 'describing', request }));
  }
  const sdp = writeSdp({ sessionId: String(nowMs), sessionVersion: 1, ...intent });
  const headers: HeaderEntry[] = [['Content-Type', 'application/sdp']];
  const phase = (request: SentRequest): ClientPhase => ({ tag: 'announcing', request });
  return ask({ ...state, methods }, 'ANNOUNCE', url, headers, nowMs, phase, Buffer.from(sdp, 'utf8'));
}

function described(state: ClientState, request: SentRequest, response: RtspResponse, nowMs: number): ClientStep {
  const sdp = parseSdp(response.body.toString('utf8'));
  if (sdp.tag === 'malformed') return end(state, { tag: 'malformed', code: 'bad-sdp' });
  if (sdp.tracks.length === 0) return end(state, { tag: 'no-tracks' });
  const base = baseOf(response.headers, request.url);
  const aggregateUrl = resolveControl(base, sdp.control);
  const isAbsolute = sdp.control !== undefined && parseRtspUrl(sdp.control) !== undefined;
  const targets = sdp.tracks.map((track, index) => ({
    track: index,
    url: resolveControl(isAbsolute ? aggregateUrl : base, track.control),
  }));
  const { tracks } = sdp;
  const phase: ClientPhase = { tag: 'selecting', aggregateUrl, targets };
  const deadlineMs = nowMs + state.config.answerTimeoutMs;
  return { state: { ...state, phase, deadlineMs }, effects: [{ tag: 'select-tracks', tracks }] };
}

/** Content-Base, Content-Location or the request's URL; what isn't an absolute URL is no base (RFC 2326, C.1.1). */
function baseOf(headers: RtspHeaders, requestUrl: string): string {
  for (const name of ['Content-Base', 'Content-Location']) {
    const url = parseRtspUrl(headers.get(name) ?? '');
    if (url) return formatRtspUrl(url);
  }
  return requestUrl;
}

function selected(
  state: ClientState,
  { aggregateUrl, targets }: Extract<ClientPhase, { tag: 'selecting' }>,
  tracks: readonly number[],
  nowMs: number,
): ClientStep {
  const wanted = targets.filter(({ track }) => tracks.includes(track));
  return setUp(state, newSession(aggregateUrl), wanted, nowMs);
}

function newSession(aggregateUrl: string): ClientSession {
  return { aggregateUrl, tracks: [], id: undefined, timeoutMs: DEFAULT_SESSION_TIMEOUT_MS };
}

function setUpPush(state: ClientState, nowMs: number): ClientStep {
  const { intent } = state.config;
  const url = formatRtspUrl(state.url);
  const count = intent.tag === 'push' ? intent.tracks.length : 0;
  const base = contentBaseOf(state.url);
  const targets = Array.from({ length: count }, (_, track) => ({ track, url: resolveControl(base, controlOf(track)) }));
  return setUp(state, newSession(url), targets, nowMs);
}

function setUp(state: ClientState, session: ClientSession, targets: readonly TrackTarget[], nowMs: number): ClientStep {
  const [first, ...rest] = targets;
  if (!first) return session.tracks.length === 0 ? end(state, { tag: 'no-tracks' }) : start(state, session, nowMs);
  const settingUp: SettingUp = { session, targets: [first, ...rest] };
  if (state.config.lowers[state.lower] === 'udp') {
    const phase: ClientPhase = { tag: 'opening-ports', ...settingUp };
    const deadlineMs = nowMs + state.config.answerTimeoutMs;
    return { state: { ...state, phase, deadlineMs }, effects: [{ tag: 'open-ports', track: first.track }] };
  }
  return askSetup(state, settingUp, undefined, nowMs);
}

function portsOpened(
  state: ClientState,
  { session, targets }: SettingUp,
  ports: PortPair | undefined,
  nowMs: number,
): ClientStep {
  if (!ports) return nextTransport(state, { tag: 'unsupported-transport' }, nowMs);
  return askSetup(state, { session, targets }, ports, nowMs);
}

function askSetup(state: ClientState, settingUp: SettingUp, ports: PortPair | undefined, nowMs: number): ClientStep {
  const { session, targets } = settingUp;
  const spec: TransportSpec = {
    lower: ports ? 'udp' : 'tcp',
    profile: 'RTP/AVP',
    multicast: false,
    ...(ports ? { clientPorts: ports } : { interleaved: channelsOf(session.tracks.length) }),
    ...(state.config.intent.tag === 'push' && { mode: 'record' }),
  };
  const headers: HeaderEntry[] = [['Transport', formatTransport(spec)], ...sessionHeaders(session)];
  const phase = (request: SentRequest): ClientPhase => ({ tag: 'setting-up', request, ports, ...settingUp });
  return ask(state, 'SETUP', targets[0].url, headers, nowMs, phase);
}

function channelsOf(index: number): PortPair {
  return { rtp: index * 2, rtcp: index * 2 + 1 };
}

/** The first track may be asked for again on this connection; later ones can't travel otherwise than it. */
function transportRefused(
  state: ClientState,
  phase: Extract<ClientPhase, { tag: 'setting-up' }>,
  nowMs: number,
): ClientStep {
  const reason: ClientEndReason = { tag: 'unsupported-transport' };
  if (phase.session.tracks.length > 0) return nextTransport(state, reason, nowMs);
  if (state.lower + 1 >= state.config.lowers.length) return end(state, reason);
  return setUp({ ...state, lower: state.lower + 1 }, phase.session, phase.targets, nowMs);
}

function trackSetUp(
  state: ClientState,
  phase: Extract<ClientPhase, { tag: 'setting-up' }>,
  response: RtspResponse,
  nowMs: number,
): ClientStep {
  const [target, ...rest] = phase.targets;
  const [spec] = parseTransport(response.headers.get('Transport') ?? '');
  const transport = transportOf(spec, phase.ports, phase.session.tracks.length);
  if (!transport) return nextTransport(state, { tag: 'unsupported-transport' }, nowMs);
  const header = parseSession(response.headers.get('Session') ?? '');
  const session: ClientSession = {
    ...phase.session,
    tracks: [...phase.session.tracks, { ...target, transport }],
    id: header?.id ?? phase.session.id,
    timeoutMs: header?.timeoutS === undefined ? phase.session.timeoutMs : sessionTimeoutMs(header.timeoutS),
  };
  const ready: ClientEffect = { tag: 'track-ready', track: target.track, transport, ssrc: spec?.ssrc };
  return after({ state, effects: [ready] }, (next) => setUp(next, session, rest, nowMs));
}

function sessionTimeoutMs(timeoutS: number): number {
  return Math.min(Math.max(timeoutS * 1000, LOWEST_SESSION_TIMEOUT_MS), HIGHEST_SESSION_TIMEOUT_MS);
}

/** undefined when the server answered with another transport than was asked for. */
function transportOf(
  spec: TransportSpec | undefined,
  localPorts: PortPair | undefined,
  index: number,
): ClientTrackTransport | undefined {
  if (spec?.multicast) return undefined;
  if (localPorts) {
    return spec?.lower === 'tcp' ? undefined : { tag: 'udp', localPorts, serverPorts: spec?.serverPorts };
  }
  return spec?.lower === 'udp' ? undefined : { tag: 'tcp', channels: spec?.interleaved ?? channelsOf(index) };
}

function start(state: ClientState, session: ClientSession, nowMs: number): ClientStep {
  const method = state.config.intent.tag === 'pull' ? 'PLAY' : 'RECORD';
  const headers: HeaderEntry[] = [...sessionHeaders(session), ['Range', 'npt=0.000-']];
  const phase = (request: SentRequest): ClientPhase => ({ tag: 'starting', request, session });
  return ask(state, method, session.aggregateUrl, headers, nowMs, phase);
}

function started(
  state: ClientState,
  { session }: Extract<ClientPhase, { tag: 'starting' }>,
  response: RtspResponse,
  nowMs: number,
): ClientStep {
  const phase: Running = {
    tag: 'running',
    session,
    startedMs: nowMs,
    lastMediaMs: undefined,
    keepAliveAtMs: nowMs + session.timeoutMs / 2,
    keepAliveMethod: state.methods.has('GET_PARAMETER') ? 'GET_PARAMETER' : 'OPTIONS',
    keepAlive: undefined,
  };
  const origins = originsOf(session.tracks, response.headers.get('RTP-Info') ?? '');
  return { state: { ...state, phase }, effects: [{ tag: 'started', origins }] };
}

/** By URL, whole or by its end (servers leave out the base); else by place when there is one for each track. */
function originsOf(tracks: readonly ClientTrack[], header: string): ClientTrackOrigin[] {
  const infos = parseRtpInfo(header);
  return tracks.flatMap(({ track, url }, index) => {
    const byUrl = infos.find((info) => info.url === url || url.endsWith(`/${info.url}`));
    const info = byUrl ?? (infos.length === tracks.length ? infos[index] : undefined);
    return info ? [{ track, sequence: info.sequence, timestamp: info.timestamp }] : [];
  });
}
