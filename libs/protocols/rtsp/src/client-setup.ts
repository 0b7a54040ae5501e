import { Buffer } from 'node:buffer';
import { controlOf, parseRtspDescription, writeRtspDescription } from '@weir/sdp';
import { after, ask, end, lowersOf, nextTransport, sessionHeaders } from './client-requests.js';
import type {
  ClientEffect,
  ClientEndReason,
  ClientPhase,
  ClientSession,
  ClientState,
  ClientStep,
  ClientTrack,
  ClientTrackOrigin,
  ClientTrackTransport,
  Running,
  SentRequest,
  SettingUp,
  TrackTarget,
} from './client-state.js';
import { parseMethods, parseRtpInfo, parseSession } from './header-values.js';
import type { HeaderEntry, RtspHeaders } from './headers.js';
import type { RtspResponse } from './messages.js';
import { formatTransport, parseTransport, type PortPair, type TransportSpec } from './transport-header.js';
import { contentBaseOf, formatRtspUrl, parseRtspUrl, resolveControl, withOneScheme } from './url.js';

const DEFAULT_SESSION_TIMEOUT_MS = 60_000;
const LOWEST_SESSION_TIMEOUT_MS = 2_000;
const HIGHEST_SESSION_TIMEOUT_MS = 120_000;

export function begin(state: ClientState, options: RtspResponse | undefined, nowMs: number): ClientStep {
  const methods = parseMethods(options?.headers.all('Public').join(',') ?? '');
  const url = formatRtspUrl(state.url);
  const { intent } = state.config;
  if (intent.tag === 'pull') {
    const headers: HeaderEntry[] = [['Accept', 'application/sdp']];
    return ask({ ...state, methods }, 'DESCRIBE', url, headers, nowMs, (request) => ({ tag: 'describing', request }));
  }
  const sdp = writeRtspDescription({ sessionId: String(Math.floor(nowMs)), sessionVersion: 1, ...intent });
  const headers: HeaderEntry[] = [['Content-Type', 'application/sdp']];
  const phase = (request: SentRequest): ClientPhase => ({ tag: 'announcing', request });
  return ask({ ...state, methods }, 'ANNOUNCE', url, headers, nowMs, phase, Buffer.from(sdp, 'utf8'));
}

export function described(state: ClientState, request: SentRequest, response: RtspResponse, nowMs: number): ClientStep {
  const sdp = parseRtspDescription(response.body.toString('utf8'));
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

/**
 * Content-Base, Content-Location or the request's URL. A value that isn't an absolute URL is ignored (RFC 2326, C.1.1).
 */
function baseOf(headers: RtspHeaders, requestUrl: string): string {
  for (const name of ['Content-Base', 'Content-Location']) {
    const url = parseRtspUrl(withOneScheme(headers.get(name) ?? ''));
    if (url) return formatRtspUrl(url);
  }
  return requestUrl;
}

export function selected(
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

export function setUpPush(state: ClientState, nowMs: number): ClientStep {
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
  if (lowersOf(state)[state.lower] === 'udp') {
    const phase: ClientPhase = { tag: 'opening-ports', ...settingUp };
    const deadlineMs = nowMs + state.config.answerTimeoutMs;
    return { state: { ...state, phase, deadlineMs }, effects: [{ tag: 'open-ports', track: first.track }] };
  }
  return askSetup(state, settingUp, undefined, nowMs);
}

export function portsOpened(
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

/** The first track may be set up again on this connection. Later tracks must use the same transport as the first. */
export function transportRefused(
  state: ClientState,
  phase: Extract<ClientPhase, { tag: 'setting-up' }>,
  nowMs: number,
): ClientStep {
  const reason: ClientEndReason = { tag: 'unsupported-transport' };
  if (phase.session.tracks.length > 0) return nextTransport(state, reason, nowMs);
  if (state.lower + 1 >= lowersOf(state).length) return end(state, reason);
  return setUp({ ...state, lower: state.lower + 1 }, phase.session, phase.targets, nowMs);
}

export function trackSetUp(
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

/** Undefined if the server answered with a transport that wasn't requested. */
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

export function started(
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

/**
 * Matches by URL, or by the end of the URL (servers leave out the base); otherwise by position, if every track has an
 * entry.
 */
function originsOf(tracks: readonly ClientTrack[], header: string): ClientTrackOrigin[] {
  const infos = parseRtpInfo(header);
  return tracks.flatMap(({ track, url }, index) => {
    const byUrl = infos.find((info) => info.url === url || url.endsWith(`/${info.url}`));
    const info = byUrl ?? (infos.length === tracks.length ? infos[index] : undefined);
    return info ? [{ track, sequence: info.sequence, timestamp: info.timestamp }] : [];
  });
}
