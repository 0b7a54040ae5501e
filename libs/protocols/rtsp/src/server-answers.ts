import { Buffer } from 'node:buffer';
import { controlOf, parseRtspDescription, writeRtspDescription } from '@weir/sdp';
import { formatRtpInfo } from './header-values.js';
import type { HeaderEntry } from './headers.js';
import type { RtspRequest } from './messages.js';
import { after, challenge, close, isSession, NO_BODY, respond } from './server-reply.js';
import { ask, LIVE_RANGE } from './server-requests.js';
import type { AwaitedStep, Awaiting, HostAnswer, Presentation, ServerState, ServerStep } from './server-state.js';
import { formatTransport } from './transport-header.js';
import { contentBaseOf, resolveControl } from './url.js';

type Consent = Exclude<HostAnswer, { tag: 'refused' }>;

/** @throws TypeError if the host's answer belongs to another kind of effect */
export function proceed(state: ServerState, { request, step }: Awaiting, answer: Consent, nowMs: number): ServerStep {
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
  const sdp = parseRtspDescription(request.body.toString('utf8'));
  if (sdp.tag === 'malformed' || sdp.tracks.length === 0 || sdp.tracks.length > state.config.maxTracks) {
    return respond(state, request, 400);
  }
  const { tracks } = sdp;
  const presentation: Presentation = { purpose: 'record', url, path, tracks };
  return ask(state, request, { tag: 'announce', presentation }, nowMs, (id) => ({ tag: 'announce', id, path, tracks }));
}

/** In a session, DESCRIBE only returns the description again. */
function described(
  state: ServerState,
  request: RtspRequest,
  { url, path }: Extract<AwaitedStep, { tag: 'describe' }>,
  answer: Extract<HostAnswer, { tag: 'described' }>,
  nowMs: number,
): ServerStep {
  const tracks = answer.tracks.map((track, index) => ({ ...track, control: controlOf(index) }));
  const sdp = writeRtspDescription({
    sessionId: String(Math.floor(nowMs)),
    sessionVersion: 1,
    sessionName: answer.sessionName,
    tracks,
  });
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

export function refuse(
  state: ServerState,
  { request }: Awaiting,
  { refusal, challenges = state.config.challenges }: Extract<HostAnswer, { tag: 'refused' }>,
  nowMs: number,
): ServerStep {
  switch (refusal) {
    case 'unauthenticated':
      return countRefusal(challenge(state, request, challenges, false, nowMs));
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
