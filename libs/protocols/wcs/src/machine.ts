import { decode, type DecodeError } from './codec.js';
import { infoOf, problem, refusal, type Cause, type Problem } from './info.js';
import {
  classified,
  type Classified,
  type ClientMessage,
  type ConnectionMessage,
  type MessageOfClass,
  type ServerMessage,
  type UserData,
} from './messages.js';
import * as queries from './queries.js';
import { answerNo, CALLS_NOT_SUPPORTED } from './refusals.js';
import { CLOSE, LENGTH_PER_FRAME_COST, LOG_FRAME_COST, type CloseCode, type SessionSettings } from './settings.js';
import type {
  Address,
  EstablishedState,
  Input,
  Link,
  StreamId,
  QueryId,
  SessionState,
  SocketEnds,
  Step,
  StreamSignal,
} from './state.js';
import { failure } from './status.js';
import * as streams from './streams.js';
import { Turn } from './turn.js';

type OpenState = Extract<SessionState, { link: Link }>;
type ConnectingState = Extract<SessionState, { tag: 'connecting' }>;
type AuthorisingState = Extract<SessionState, { tag: 'authorising' }>;

/** @param key unique forever: the ids of everything that the session creates start with it. */
export const newSession = (settings: SessionSettings, key: string): SessionState => ({ tag: 'new', settings, key });

/**
 * One session of a client, from the opening of its socket to its end. Inputs carry the time of their arrival; effects
 * must be carried out in the given order. No input in any state throws.
 */
export const step = (state: SessionState, input: Input, nowMs: number): Step => {
  const turn = new Turn(nowMs);
  return { state: next(state, input, turn), effects: turn.effects };
};

/** When the session needs its next `tick`; Infinity if it needs none. */
export const nextDeadlineMs = (state: SessionState): number => {
  switch (state.tag) {
    case 'new':
    case 'closed':
      return Infinity;
    case 'connecting':
      return state.deadlineMs;
    case 'authorising':
      return Math.min(state.deadlineMs, state.link.nextPingMs);
    case 'established': {
      let earliestMs = state.link.nextPingMs;
      for (const stream of state.streams.values()) earliestMs = Math.min(earliestMs, streams.deadlineOf(stream));
      for (const query of state.queries.values()) earliestMs = Math.min(earliestMs, query.deadlineMs);
      return earliestMs;
    }
    default:
      return state satisfies never;
  }
};

const next = (state: SessionState, input: Input, turn: Turn): SessionState => {
  switch (state.tag) {
    case 'new':
      return input.tag === 'opened' ? opened(state, input, turn) : state;
    case 'connecting':
    case 'authorising':
    case 'established':
      return open(state, input, turn);
    case 'closed':
      if (input.tag === 'answered') streams.abandon(input, 'disconnected', turn);
      return state;
    default:
      return state satisfies never;
  }
};

const opened = ({ settings, key }: SessionState, ends: SocketEnds, { nowMs }: Turn): SessionState => ({
  tag: 'connecting',
  settings,
  key,
  ends: { remote: ends.remote, local: ends.local },
  deadlineMs: nowMs + settings.connectionDeadlineMs,
  link: {
    tokens: settings.frameBurst,
    refilledAtMs: nowMs,
    malformed: 0,
    nextPingMs: nowMs + settings.pingIntervalMs,
    unansweredPings: 0,
  },
});

const released = (state: OpenState, turn: Turn): SessionState => {
  if (state.tag === 'established') streams.releaseAll(state, turn);
  return { tag: 'closed', settings: state.settings, key: state.key };
};

const close = (state: OpenState, code: CloseCode, reason: string, turn: Turn): SessionState => {
  turn.refuse('session', reason);
  turn.do({ tag: 'close', code, reason });
  return released(state, turn);
};

/** Sends `fail` first, because a browser doesn't show the close code to the application. */
const closeWithWord = (state: OpenState, code: CloseCode, info: string, turn: Turn): SessionState => {
  turn.send(failure('connect', null, info));
  return close(state, code, info, turn);
};

const open = (state: OpenState, input: Input, turn: Turn): SessionState => {
  switch (input.tag) {
    case 'opened':
      return state;
    case 'frame':
      return frame(state, input.text, turn);
    case 'binary-frame':
      return charged(state, 1 + input.byteLength / LENGTH_PER_FRAME_COST, turn, (paid) =>
        malformed(paid, 'Binary frames are not supported', turn),
      );
    case 'socket-closed':
      return released(state, turn);
    case 'tick':
      return tick(state, turn);
    case 'terminate':
      return closeWithWord(state, input.code, input.info, turn);
    case 'connection-decided':
      if (state.tag !== 'authorising') return state;
      return input.decision.allowed
        ? established(state, turn)
        : closeWithWord(state, input.decision.code, input.decision.info, turn);
    case 'decided':
    case 'found':
    case 'answered':
    case 'snapshot-taken':
    case 'refused':
    case 'media':
    case 'recording-changed':
    case 'recording-refused':
    case 'terminate-stream':
      if (state.tag === 'established') return result(state, input, turn);
      if (input.tag === 'answered') streams.abandon(input, 'disconnected', turn);
      return state;
    default:
      return input satisfies never;
  }
};

const isQuery = (state: EstablishedState, ref: StreamId | QueryId): ref is QueryId => state.queries.has(ref as QueryId);

type ResultInput = Extract<
  Input,
  {
    tag:
      | 'decided'
      | 'found'
      | 'answered'
      | 'snapshot-taken'
      | 'refused'
      | 'media'
      | 'recording-changed'
      | 'recording-refused'
      | 'terminate-stream';
  }
>;

const result = (state: EstablishedState, input: ResultInput, turn: Turn): SessionState => {
  switch (input.tag) {
    case 'decided':
      return isQuery(state, input.ref)
        ? queries.decided(state, input.ref, input.decision, turn)
        : streams.decided(state, input.ref, input.decision, turn);
    case 'found':
      return isQuery(state, input.ref)
        ? queries.found(state, input.ref, input.stream, turn)
        : streams.found(state, input.ref, input.stream, turn);
    case 'refused':
      return isQuery(state, input.ref)
        ? queries.refused(state, input.ref, refusal(input.code), turn)
        : streams.refused(state, input.ref, refusal(input.code), turn);
    case 'answered':
      return streams.answered(state, input, turn);
    case 'snapshot-taken':
      return queries.snapshotTaken(state, input.queryId, input.pngBase64, turn);
    case 'media':
      return streams.media(state, input.streamId, input.event, turn);
    case 'recording-changed':
      return streams.recordingChanged(state, input.streamId, input.recording, turn);
    case 'recording-refused':
      return streams.recordingRefused(state, input.streamId, turn);
    case 'terminate-stream':
      return streams.terminate(state, input.streamId, input.cause, turn);
    default:
      return input satisfies never;
  }
};

const tick = (state: OpenState, turn: Turn): SessionState => {
  if (state.tag === 'connecting')
    return state.deadlineMs <= turn.nowMs
      ? closeWithWord(state, CLOSE.timeout, 'No connection message came in time', turn)
      : state;
  if (state.tag === 'authorising' && state.deadlineMs <= turn.nowMs)
    return closeWithWord(state, CLOSE.unavailable, 'Access could not be decided in time', turn);
  const { settings, link } = state;
  if (link.nextPingMs <= turn.nowMs && link.unansweredPings >= settings.pingProbes)
    return close(state, CLOSE.timeout, 'Pings were not answered', turn);
  const pinged = ping(state, turn);
  return pinged.tag === 'established' ? queries.expire(streams.expire(pinged, turn), turn) : pinged;
};

const ping = <State extends AuthorisingState | EstablishedState>(state: State, turn: Turn): State => {
  const { settings, link } = state;
  if (link.nextPingMs > turn.nowMs) return state;
  turn.send({ message: 'ping', data: [] });
  return {
    ...state,
    link: { ...link, nextPingMs: turn.nowMs + settings.pingIntervalMs, unansweredPings: link.unansweredPings + 1 },
  };
};

/** Takes the frame's cost from the session's tokens, or ends a session that has too few left. */
const charged = (state: OpenState, cost: number, turn: Turn, then: (paid: OpenState) => SessionState): SessionState => {
  const { settings, link } = state;
  const elapsedMs = Math.max(0, turn.nowMs - link.refilledAtMs);
  const refilled = Math.min(settings.frameBurst, link.tokens + (elapsedMs * settings.framesPerSecond) / 1000);
  if (refilled < cost) return closeWithWord(state, CLOSE.flood, 'Too many frames', turn);
  return then({
    ...state,
    link: { ...link, tokens: refilled - cost, refilledAtMs: turn.nowMs, unansweredPings: 0 },
  });
};

const costOf = (text: string): number =>
  (text.startsWith('{"message":"pushLogs"') ? LOG_FRAME_COST : 1) + text.length / LENGTH_PER_FRAME_COST;

const frame = (state: OpenState, text: string, turn: Turn): SessionState =>
  charged(state, costOf(text), turn, (paid) => {
    const decoded = decode(text);
    return decoded.ok ? received(paid, decoded.message, turn) : unreadable(paid, decoded.error, turn);
  });

const malformed = (state: OpenState, info: string, turn: Turn): SessionState => {
  turn.refuse('frame', info);
  turn.send(failure('frame', null, info));
  const link = { ...state.link, malformed: state.link.malformed + 1 };
  const counted: OpenState = { ...state, link };
  return link.malformed >= state.settings.maxMalformed
    ? close(counted, CLOSE.protocolError, 'Too many malformed frames', turn)
    : counted;
};

const unreadable = (state: OpenState, error: DecodeError, turn: Turn): SessionState => {
  switch (error.tag) {
    case 'too-long':
      return malformed(state, 'Frame is too long', turn);
    case 'not-json':
      return malformed(state, 'Frame is not JSON', turn);
    case 'not-a-frame':
      return malformed(state, 'Frame is not a message', turn);
    case 'unknown-message':
      turn.refuse('frame', 'unknown message');
      turn.send(failure(error.message, null, 'Unknown message'));
      return state.tag === 'connecting' ? tooEarly(state, turn) : state;
    case 'invalid':
      turn.refuse('frame', 'invalid message');
      turn.send(answerToInvalid(error, turn.nowMs));
      return state.tag === 'connecting' ? tooEarly(state, turn) : state;
    default:
      return error satisfies never;
  }
};

const problemOf = ({ field, missing }: Extract<DecodeError, { tag: 'invalid' }>): Problem => {
  switch (field) {
    case 'mediaSessionId':
      return 'media-session-id-missing';
    case 'name':
      return missing ? 'name-missing' : 'name-not-valid';
    case 'sdp':
      return 'sdp-not-valid';
    case 'custom':
      return 'custom-not-valid';
    default:
      return 'field-not-valid';
  }
};

/** A client that waits for an answer to an invalid message gets the same kind of refusal as for a valid one. */
const answerToInvalid = (error: Extract<DecodeError, { tag: 'invalid' }>, nowMs: number): ServerMessage =>
  answerNo(error, infoOf(problem(problemOf(error)), 'publish'), nowMs, error.mediaSessionId);

const received = (state: OpenState, message: ClientMessage, turn: Turn): SessionState => {
  const read = classified(message);
  switch (read.class) {
    case 'ping':
      turn.send({ message: 'pong', data: [] });
      return state;
    case 'ignored':
      return state;
    case 'connection':
      return connection(state, read.message, turn);
    case 'media-transport':
      return closeWithWord(state, CLOSE.unsupported, 'Media over WebSocket is not supported', turn);
    case 'offer':
    case 'stop':
    case 'signal':
    case 'query':
    case 'debug':
    case 'call':
      return asked(state, read, turn);
    default:
      return read satisfies never;
  }
};

type Command = Classified<'offer' | 'stop' | 'signal' | 'query' | 'debug' | 'call'>;

/** These messages need an established session. */
const asked = (state: OpenState, read: Command, turn: Turn): SessionState => {
  const answerWithoutSession = (cause: Cause): ServerMessage =>
    answerNo(read.message, infoOf(cause, 'publish'), turn.nowMs);
  switch (state.tag) {
    case 'connecting':
      turn.send(answerWithoutSession(problem('session-missing')));
      return tooEarly(state, turn);
    case 'authorising':
      turn.send(answerWithoutSession(problem('session-not-ready')));
      turn.refuse('frame', 'session not ready');
      return state;
    case 'established':
      return command(state, read, turn);
    default:
      return state satisfies never;
  }
};

const tooEarly = (state: OpenState, turn: Turn): SessionState =>
  close(state, CLOSE.protocolError, 'The first message must be connection', turn);

const connection = (state: OpenState, message: ConnectionMessage, turn: Turn): SessionState => {
  if (state.tag !== 'connecting') {
    turn.refuse('frame', 'second connection');
    turn.send(failure('connect', null, 'Session is already connected'));
    return state;
  }
  turn.do({ tag: 'authorise-connection', connection: message });
  return authorising(state, message, turn.nowMs);
};

const authorising = (
  { settings, key, link, ends }: ConnectingState,
  message: ConnectionMessage,
  nowMs: number,
): AuthorisingState => ({
  tag: 'authorising',
  settings,
  key,
  link,
  ends,
  connection: message,
  deadlineMs: nowMs + settings.decisionDeadlineMs,
});

const addressText = ({ address, port }: Address): string => `/${address}:${port}`;

/** The original server's session id, which is also the token of the session's media sockets. */
export const wireSessionId = ({ remote, local }: SocketEnds): string => addressText(remote) + addressText(local);

const isLegacy = (clientVersion: string): boolean => /^[01]\./.test(clientVersion);

const established = ({ settings, key, link, ends, connection: told }: AuthorisingState, turn: Turn): SessionState => {
  const userData: UserData = {
    useWsTunnel: false,
    useWsTunnelPacketization2: false,
    useBase64BinaryEncoding: false,
    appKey: told.appKey,
    mediaProviders: told.mediaProviders,
    authToken: wireSessionId(ends),
    status: 'ESTABLISHED',
    clientVersion: told.clientVersion,
    clientOSVersion: told.clientOSVersion,
    clientBrowserVersion: told.clientBrowserVersion,
    ...(told.msePacketizationVersion === undefined ? {} : { msePacketizationVersion: told.msePacketizationVersion }),
    forceLogger: false,
    keepAlive: told.keepAlive,
  };
  turn.send({ message: 'getUserData', data: [userData] });
  turn.send({ message: 'getVersion', data: [settings.version] });
  turn.do({ tag: 'established' });
  return {
    tag: 'established',
    settings,
    key,
    link,
    legacy: isLegacy(told.clientVersion),
    streams: NO_STREAMS,
    queries: NO_QUERIES,
    nextNumber: 1,
  };
};

/** Shared by all idle sessions. */
const NO_STREAMS: EstablishedState['streams'] = new Map();
const NO_QUERIES: EstablishedState['queries'] = new Map();

const command = (state: EstablishedState, read: Command, turn: Turn): SessionState => {
  switch (read.class) {
    case 'offer':
      return streams.request(state, read.message, turn);
    case 'stop':
      return streams.stop(state, read.message.message, read.message.mediaSessionId, turn);
    case 'signal':
      return streams.signal(state, read.message.mediaSessionId, signalOf(read.message), turn);
    case 'query':
      return queries.ask(state, read.message, turn);
    case 'debug':
      turn.send({ message: 'notifySessionDebugEvent', data: [{ status: read.message.command }] });
      return state;
    case 'call':
      turn.refuse('frame', 'calls are not supported');
      turn.send(answerNo(read.message, CALLS_NOT_SUPPORTED, turn.nowMs));
      return state;
    default:
      return read satisfies never;
  }
};

const signalOf = (message: MessageOfClass<'signal'>): StreamSignal => {
  switch (message.type) {
    case 'audioMuted':
    case 'audioUnmuted':
      return { tag: 'audio-muted', muted: message.type === 'audioMuted' };
    case 'videoMuted':
    case 'videoUnmuted':
      return { tag: 'video-muted', muted: message.type === 'videoMuted' };
    case 'data':
      return { tag: 'data', json: JSON.stringify(message.payload ?? null) };
    default:
      return message.type satisfies never;
  }
};
