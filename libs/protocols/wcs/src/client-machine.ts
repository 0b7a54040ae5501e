import {
  clientFrames,
  decodeRemote,
  type RemoteFault,
  type RemoteMessage,
  type SentConnection,
} from './client-messages.js';
import type { Direction } from './info.js';

/** How long to wait for a server, and how much it may send. */
export interface ClientSettings {
  /** From the start to the open socket, TLS included. */
  readonly openDeadlineMs: number;
  /** From `connection` to `getUserData`. */
  readonly establishDeadlineMs: number;
  /** From the request for an offer to the offer, which this process makes itself. */
  readonly offerDeadlineMs: number;
  /** From `publishStream` or `playStream` to `setRemoteSDP`. */
  readonly answerDeadlineMs: number;
  /** From the answer to PUBLISHING or PLAYING. */
  readonly startDeadlineMs: number;
  /** From `unPublishStream` or `stopStream` to the server's confirmation. */
  readonly stopDeadlineMs: number;
  readonly pingIntervalMs: number;
  /** A server that sends nothing for this long is gone. */
  readonly silenceMs: number;
  readonly framesPerSecond: number;
}

export const DEFAULT_CLIENT_SETTINGS: ClientSettings = {
  openDeadlineMs: 5_000,
  establishDeadlineMs: 5_000,
  offerDeadlineMs: 5_000,
  answerDeadlineMs: 10_000,
  startDeadlineMs: 20_000,
  stopDeadlineMs: 3_000,
  pingIntervalMs: 5_000,
  silenceMs: 30_000,
  framesPerSecond: 200,
};

export interface ClientStream {
  readonly direction: Direction;
  readonly mediaSessionId: string;
  readonly name: string;
  readonly connection: SentConnection;
}

/** Why a session with another server has ended. */
export type ClientEnd =
  /** weir stopped the session. */
  | { readonly tag: 'stopped' }
  /** The connection couldn't be opened. */
  | { readonly tag: 'unreachable'; readonly detail: string }
  /** The connection broke, or the server closed it, before the stream was up. */
  | { readonly tag: 'closed'; readonly code: number; readonly during: ClientPhase }
  /** The same while the stream was running. */
  | { readonly tag: 'lost'; readonly code: number }
  /** The server refused; `info` is its text. */
  | { readonly tag: 'refused'; readonly info: string }
  /** The server ended a running stream: normally (UNPUBLISHED, STOPPED) or not (FAILED). */
  | { readonly tag: 'ended-by-remote'; readonly status: 'UNPUBLISHED' | 'STOPPED' | 'FAILED'; readonly info: string }
  | { readonly tag: 'timed-out'; readonly during: ClientPhase }
  | { readonly tag: 'silent' }
  /** The other side isn't a WCS server. */
  | { readonly tag: 'nonsense'; readonly fault: RemoteFault }
  /** The media failed on weir's side. */
  | { readonly tag: 'media-failed'; readonly detail: string };

export type ClientPhase = 'opening' | 'connecting' | 'offering' | 'negotiating' | 'starting' | 'running' | 'stopping';

interface Session {
  readonly stream: ClientStream;
  readonly settings: ClientSettings;
  readonly deadlineMs: number;
}

interface Link {
  readonly nextPingMs: number;
  readonly lastHeardMs: number;
  readonly frames: { readonly sinceMs: number; readonly count: number };
}

interface Linked extends Session {
  readonly link: Link;
}

export type ClientState =
  | ({ readonly tag: 'opening' } & Session)
  | ({ readonly tag: 'connecting' | 'offering' | 'negotiating' | 'starting' | 'running' } & Linked)
  /** `end` is the reason with which the session will end. */
  | ({ readonly tag: 'stopping'; readonly end: ClientEnd } & Linked)
  | { readonly tag: 'ended'; readonly end: ClientEnd };

type LinkedState = Extract<ClientState, { link: Link }>;

export type ClientInput =
  | { readonly tag: 'opened' }
  | { readonly tag: 'open-failed'; readonly detail: string }
  | { readonly tag: 'frame'; readonly text: string }
  | { readonly tag: 'binary-frame' }
  /** A frame that was too large for the socket layer. */
  | { readonly tag: 'oversized-frame' }
  | { readonly tag: 'closed'; readonly code: number }
  /** Answers `make-offer`. */
  | { readonly tag: 'offer'; readonly sdp: string; readonly hasAudio: boolean; readonly hasVideo: boolean }
  | { readonly tag: 'media-failed'; readonly detail: string }
  | { readonly tag: 'stop' }
  | { readonly tag: 'tick' };

export type ClientEffect =
  | { readonly tag: 'send'; readonly text: string }
  | { readonly tag: 'make-offer' }
  | { readonly tag: 'apply-answer'; readonly sdp: string }
  /** The server has reported PUBLISHING or PLAYING. */
  | { readonly tag: 'running' }
  | { readonly tag: 'muted'; readonly media: 'audio' | 'video'; readonly muted: boolean }
  | { readonly tag: 'close-socket' }
  /** The last effect. */
  | { readonly tag: 'ended'; readonly end: ClientEnd };

export interface ClientStep {
  readonly state: ClientState;
  readonly effects: readonly ClientEffect[];
}

export const newClient = (stream: ClientStream, settings: ClientSettings, nowMs: number): ClientState => ({
  tag: 'opening',
  stream,
  settings,
  deadlineMs: nowMs + settings.openDeadlineMs,
});

/** When the client needs its next `tick`; Infinity if it needs none. */
export const nextClientDeadlineMs = (state: ClientState): number => {
  switch (state.tag) {
    case 'ended':
      return Infinity;
    case 'opening':
      return state.deadlineMs;
    case 'connecting':
    case 'offering':
    case 'negotiating':
    case 'starting':
    case 'running':
    case 'stopping':
      return Math.min(state.deadlineMs, state.link.nextPingMs, state.link.lastHeardMs + state.settings.silenceMs);
    default:
      return state satisfies never;
  }
};

/**
 * A client that publishes one stream to another WCS server or plays one from it. Inputs carry the time of their
 * arrival; effects must be carried out in the given order. No input in any state throws.
 */
export const stepClient = (state: ClientState, input: ClientInput, nowMs: number): ClientStep => {
  if (state.tag === 'ended') return { state, effects: [] };
  switch (input.tag) {
    case 'opened':
      return state.tag === 'opening' ? opened(state, nowMs) : { state, effects: [] };
    case 'open-failed':
      return state.tag === 'opening' ? end({ tag: 'unreachable', detail: input.detail }) : { state, effects: [] };
    case 'closed':
      return end(endByClose(state, input.code));
    case 'stop':
      return stop(state, { tag: 'stopped' }, nowMs);
    case 'media-failed':
      return stop(state, { tag: 'media-failed', detail: input.detail }, nowMs);
    case 'offer':
      return offer(state, input, nowMs);
    case 'binary-frame':
      return hangUp({ tag: 'nonsense', fault: 'binary-frame' });
    case 'oversized-frame':
      return hangUp({ tag: 'nonsense', fault: 'frame-too-long' });
    case 'frame':
      return state.tag === 'opening' ? { state, effects: [] } : heard(state, input.text, nowMs);
    case 'tick':
      return tick(state, nowMs);
    default:
      return input satisfies never;
  }
};

const end = (reason: ClientEnd): ClientStep => ({
  state: { tag: 'ended', end: reason },
  effects: [{ tag: 'ended', end: reason }],
});

const hangUp = (reason: ClientEnd): ClientStep => ({
  state: { tag: 'ended', end: reason },
  effects: [{ tag: 'close-socket' }, { tag: 'ended', end: reason }],
});

const endByClose = (state: Exclude<ClientState, { tag: 'ended' }>, code: number): ClientEnd => {
  if (state.tag === 'stopping') return state.end;
  return state.tag === 'running' ? { tag: 'lost', code } : { tag: 'closed', code, during: state.tag };
};

const opened = ({ stream, settings }: Session, nowMs: number): ClientStep => ({
  state: {
    tag: 'connecting',
    stream,
    settings,
    deadlineMs: nowMs + settings.establishDeadlineMs,
    link: {
      nextPingMs: nowMs + settings.pingIntervalMs,
      lastHeardMs: nowMs,
      frames: { sinceMs: nowMs, count: 0 },
    },
  },
  effects: [{ tag: 'send', text: clientFrames.connection(stream.connection) }],
});

const offer = (
  state: Exclude<ClientState, { tag: 'ended' }>,
  { sdp, hasAudio, hasVideo }: Extract<ClientInput, { tag: 'offer' }>,
  nowMs: number,
): ClientStep => {
  if (state.tag !== 'offering') return { state, effects: [] };
  const { direction, mediaSessionId, name } = state.stream;
  const sent = { mediaSessionId, name, sdp, hasAudio, hasVideo };
  const text = direction === 'publish' ? clientFrames.publishStream(sent) : clientFrames.playStream(sent);
  const deadlineMs = nowMs + state.settings.answerDeadlineMs;
  return { state: { ...state, tag: 'negotiating', deadlineMs }, effects: [{ tag: 'send', text }] };
};

/** A stream that the server knows is ended with a message. Otherwise it is enough to close the socket. */
const stop = (state: Exclude<ClientState, { tag: 'ended' }>, reason: ClientEnd, nowMs: number): ClientStep => {
  switch (state.tag) {
    case 'stopping':
      return { state, effects: [] };
    case 'opening':
    case 'connecting':
    case 'offering':
      return hangUp(reason);
    case 'negotiating':
    case 'starting':
    case 'running': {
      const { direction, ...stream } = state.stream;
      const text = direction === 'publish' ? clientFrames.unPublishStream(stream) : clientFrames.stopStream(stream);
      const deadlineMs = nowMs + state.settings.stopDeadlineMs;
      return { state: { ...state, tag: 'stopping', end: reason, deadlineMs }, effects: [{ tag: 'send', text }] };
    }
    default:
      return state satisfies never;
  }
};

const tick = (state: Exclude<ClientState, { tag: 'ended' }>, nowMs: number): ClientStep => {
  if (nowMs >= state.deadlineMs)
    return hangUp(state.tag === 'stopping' ? state.end : { tag: 'timed-out', during: state.tag });
  if (state.tag === 'opening') return { state, effects: [] };
  const { link, settings } = state;
  if (nowMs >= link.lastHeardMs + settings.silenceMs) return hangUp({ tag: 'silent' });
  if (nowMs < link.nextPingMs) return { state, effects: [] };
  const pinged = { ...link, nextPingMs: nowMs + settings.pingIntervalMs };
  return { state: { ...state, link: pinged }, effects: [{ tag: 'send', text: clientFrames.ping() }] };
};

const heard = (state: LinkedState, text: string, nowMs: number): ClientStep => {
  const { frames } = state.link;
  const isSameSecond = nowMs - frames.sinceMs < 1_000;
  const counted = isSameSecond ? { ...frames, count: frames.count + 1 } : { sinceMs: nowMs, count: 1 };
  if (counted.count > state.settings.framesPerSecond) return hangUp({ tag: 'nonsense', fault: 'too-many-frames' });
  const decoded = decodeRemote(text);
  if (!decoded.ok) return hangUp({ tag: 'nonsense', fault: decoded.fault });
  const listening = { ...state, link: { ...state.link, lastHeardMs: nowMs, frames: counted } };
  return told(listening, decoded.message, nowMs);
};

const told = (state: LinkedState, message: RemoteMessage, nowMs: number): ClientStep => {
  const unmoved: ClientStep = { state, effects: [] };
  switch (message.message) {
    case 'ping':
      return { state, effects: [{ tag: 'send', text: clientFrames.pong() }] };
    case 'pong':
    case 'other':
      return unmoved;
    case 'getUserData':
      return state.tag === 'connecting' ? established(state, message.status, nowMs) : unmoved;
    case 'setRemoteSDP':
      return state.tag === 'negotiating' && message.mediaSessionId === state.stream.mediaSessionId
        ? answered(state, message.sdp, nowMs)
        : unmoved;
    case 'notifyStreamStatusEvent':
      return message.mediaSessionId === state.stream.mediaSessionId ? status(state, message) : unmoved;
    case 'fail':
      return failed(state, message);
    case 'notifyStreamEvent':
      return state.tag === 'running' && message.mediaSessionId === state.stream.mediaSessionId
        ? { state, effects: [mutedEffect(message.type)] }
        : unmoved;
    default:
      return message satisfies never;
  }
};

/** A status other than ESTABLISHED is a refusal, although the original's browser client ignores it. */
const established = (state: LinkedState, userStatus: string, nowMs: number): ClientStep => {
  if (userStatus !== '' && userStatus !== 'ESTABLISHED') return hangUp({ tag: 'refused', info: userStatus });
  const { stream, settings, link } = state;
  const deadlineMs = nowMs + settings.offerDeadlineMs;
  return { state: { tag: 'offering', stream, settings, link, deadlineMs }, effects: [{ tag: 'make-offer' }] };
};

const answered = (state: LinkedState, sdp: string, nowMs: number): ClientStep => {
  const { stream, settings, link } = state;
  const deadlineMs = nowMs + settings.startDeadlineMs;
  return { state: { tag: 'starting', stream, settings, link, deadlineMs }, effects: [{ tag: 'apply-answer', sdp }] };
};

const status = (
  state: LinkedState,
  message: Extract<RemoteMessage, { message: 'notifyStreamStatusEvent' }>,
): ClientStep => {
  switch (message.status) {
    case 'PUBLISHING':
    case 'PLAYING': {
      const wanted = state.stream.direction === 'publish' ? 'PUBLISHING' : 'PLAYING';
      if (state.tag !== 'starting' || message.status !== wanted) return { state, effects: [] };
      const { stream, settings, link } = state;
      const running: ClientState = { tag: 'running', stream, settings, link, deadlineMs: Infinity };
      return { state: running, effects: [{ tag: 'running' }] };
    }
    case 'UNPUBLISHED':
    case 'STOPPED':
    case 'FAILED':
      return over(state, message.status, message.info);
    default:
      return { state, effects: [] };
  }
};

const over = (state: LinkedState, streamStatus: 'UNPUBLISHED' | 'STOPPED' | 'FAILED', info: string): ClientStep => {
  switch (state.tag) {
    case 'stopping':
      return hangUp(state.end);
    case 'running':
      return hangUp({ tag: 'ended-by-remote', status: streamStatus, info });
    case 'negotiating':
    case 'starting':
      return hangUp({ tag: 'refused', info });
    case 'connecting':
    case 'offering':
      return { state, effects: [] };
    default:
      return state satisfies never;
  }
};

/** Before the session is established, any `fail` concerns it; later, only one for this stream counts. */
const failed = (state: LinkedState, { id, info }: Extract<RemoteMessage, { message: 'fail' }>): ClientStep => {
  if (state.tag === 'connecting') return hangUp({ tag: 'refused', info });
  return id === state.stream.mediaSessionId ? over(state, 'FAILED', info) : { state, effects: [] };
};

const mutedEffect = (
  type: Extract<RemoteMessage, { message: 'notifyStreamEvent' }>['type'],
): Extract<ClientEffect, { tag: 'muted' }> => ({
  tag: 'muted',
  media: type === 'audioMuted' || type === 'audioUnmuted' ? 'audio' : 'video',
  muted: type === 'audioMuted' || type === 'videoMuted',
});
