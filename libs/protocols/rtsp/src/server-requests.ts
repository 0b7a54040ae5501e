import { type Credentials, type DigestCredentials, parseAuthorization } from './authentication.js';
import { parseSession } from './header-values.js';
import { cseqOf, isRtspMethod, type RtspRequest } from './messages.js';
import { after, challenge, isSession, respond, wrongState } from './server-reply.js';
import { chooseTransport } from './server-setup.js';
import type {
  AwaitedStep,
  Awaiting,
  OpenTrack,
  ServerChallenge,
  ServerEffect,
  ServerPhase,
  ServerState,
  ServerStep,
} from './server-state.js';
import { parseTransport } from './transport-header.js';
import { parseRtspUrl, setupTargetOf, streamPathOf } from './url.js';

const PUBLIC_METHODS =
  'OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER';

/** Answers a request, or asks the host first. */
export function handleRequest(state: ServerState, request: RtspRequest, nowMs: number): ServerStep {
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

/** A request without Session means the session of this connection. */
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
  if (credentials?.scheme === 'digest' && !isFresh(state, credentials.nonce, nowMs)) {
    return challenge(state, request, [challengeAnsweredBy(credentials)], true, nowMs);
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

function isFresh({ nonce, config }: ServerState, answered: string, nowMs: number): boolean {
  return answered === nonce.value && nowMs - nonce.issuedMs < config.nonceLifeMs;
}

/** A client that has answered a challenge gets the same kind of challenge again. */
function challengeAnsweredBy({ algorithm }: DigestCredentials): ServerChallenge {
  return algorithm.startsWith('MD5') ? 'digest-md5' : 'digest-sha-256';
}

function basicOf(user: { readonly username: string; readonly password: string } | undefined): Credentials | undefined {
  return user && { scheme: 'basic', ...user };
}

export function ask(
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

/** Normal play time without an end (RFC 2326, 12.29). */
export const LIVE_RANGE = 'npt=0.000-';

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

/** A publisher keeps its stream during a pause. */
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

/** A TEARDOWN of one track or of all ends the session; the connection may then start another. */
function handleTeardown(state: ServerState, request: RtspRequest): ServerStep {
  if (!isSession(state.phase)) return wrongState(state, request);
  const ended: ServerStep = {
    state: { ...state, phase: { tag: 'idle' } },
    effects: [{ tag: 'end-session', reason: { tag: 'teardown' } }],
  };
  return after(ended, (next) => respond(next, request, 200));
}
