import { ended, infoOf, problem, refusal, type Cause } from './info.js';
import { CLIENT_MESSAGES, type MediaSessionId, type NameOfClass } from './messages.js';
import type {
  Decision,
  EstablishedState,
  FoundStream,
  Input,
  MediaEvent,
  MediaOffer,
  Offer,
  OfferMessage,
  StreamId,
  RefusedStream,
  Stream,
  StreamPhase,
  StreamRecording,
  StreamSignal,
} from './state.js';
import { eventMessage, failure, liveStatus, statusMessage, stillbornStatus, terminalStatusOf } from './status.js';
import type { Turn } from './turn.js';

const replace = (state: EstablishedState, stream: Stream): EstablishedState => ({
  ...state,
  streams: new Map(state.streams).set(stream.mediaSessionId, stream),
});

const remove = (state: EstablishedState, mediaSessionId: MediaSessionId): EstablishedState => {
  const streams = new Map(state.streams);
  streams.delete(mediaSessionId);
  return { ...state, streams };
};

const find = (state: EstablishedState, streamId: StreamId): Stream | undefined => {
  for (const stream of state.streams.values()) if (stream.streamId === streamId) return stream;
  return undefined;
};

export const nodeOf = ({ phase }: Stream): string | undefined => {
  switch (phase.tag) {
    case 'deciding':
    case 'finding':
      return undefined;
    case 'offering':
    case 'connecting':
    case 'starting-recording':
    case 'live':
      return phase.nodeId;
    default:
      return phase satisfies never;
  }
};

export const deadlineOf = ({ phase }: Stream): number => (phase.tag === 'live' ? Infinity : phase.deadlineMs);

const closeOnNode = (
  stream: Stream,
  reason: 'client' | 'disconnected' | 'terminated' | 'ice-timeout',
  turn: Turn,
): void => {
  const nodeId = nodeOf(stream);
  if (nodeId !== undefined) turn.do({ tag: 'close-session', streamId: stream.streamId, nodeId, reason });
};

const refusedStream = ({ mediaSessionId, name, direction }: Stream): RefusedStream => ({
  mediaSessionId,
  name,
  direction,
});

const end = (state: EstablishedState, stream: Stream, cause: Cause, turn: Turn): EstablishedState => {
  const status = terminalStatusOf(stream, cause);
  turn.send(statusMessage(status));
  tellEndOfRecording(stream, turn);
  turn.do({ tag: 'status-changed', status });
  if (status.status === 'FAILED') turn.refuse('stream', infoOf(cause, stream.direction), refusedStream(stream));
  return remove(state, stream.mediaSessionId);
};

/** The client is gone: nothing more is sent, and everything is released. */
export const releaseAll = (state: EstablishedState, turn: Turn): void => {
  for (const stream of state.streams.values()) {
    closeOnNode(stream, 'disconnected', turn);
    tellEndOfRecording(stream, turn);
    turn.do({ tag: 'status-changed', status: terminalStatusOf(stream, ended('disconnected')) });
  }
};

/** A recording ends with its stream. */
const tellEndOfRecording = (stream: Stream, turn: Turn): void => {
  const { recording } = stream;
  if (recording?.active === true)
    turn.do({ tag: 'recording-told', stream, recording: { ...recording, active: false } });
};

const problemOf = (state: EstablishedState, message: OfferMessage): Cause | undefined => {
  if (state.streams.has(message.mediaSessionId)) return problem('media-session-id-in-use');
  if (state.streams.size >= state.settings.maxStreams) return problem('too-many-streams');
  if (message.mediaProvider !== 'WebRTC') return { tag: 'media-provider', name: message.mediaProvider };
  if (message.message === 'publishStream' && message.rtmpUrl) return problem('rtmp-not-supported');
  return undefined;
};

export const streamIdOf = (state: EstablishedState): StreamId => `${state.key}.${state.nextNumber}` as StreamId;

export const request = (state: EstablishedState, message: OfferMessage, turn: Turn): EstablishedState => {
  const direction = CLIENT_MESSAGES[message.message].side;
  const cause = problemOf(state, message);
  if (cause !== undefined) {
    const info = infoOf(cause, direction);
    const { mediaSessionId, name } = message;
    turn.send(statusMessage(stillbornStatus({ mediaSessionId, name, direction, info, nowMs: turn.nowMs })));
    turn.refuse('stream', cause.tag === 'media-provider' ? 'Media provider is not supported' : info, {
      mediaSessionId,
      name,
      direction,
    });
    return state;
  }
  const streamId = streamIdOf(state);
  turn.do({ tag: 'authorise', ref: streamId, message });
  const stream: Stream = {
    mediaSessionId: message.mediaSessionId,
    streamId,
    direction,
    name: message.name,
    streamName: message.name,
    hasVideo: message.hasVideo,
    hasAudio: message.hasAudio,
    bitrate: message.bitrate,
    minBitrate: message.minBitrate,
    maxBitrate: message.maxBitrate,
    quality: message.message === 'playStream' ? message.quality : 0,
    // 0 until the stream's own size is known. The size that a player asks for is ignored, because weir doesn't scale.
    width: 0,
    height: 0,
    createdMs: turn.nowMs,
    audioMuted: false,
    videoMuted: false,
    notCarried: [],
    recordWanted: message.message === 'publishStream' && message.record,
    recording: undefined,
    phase: {
      tag: 'deciding',
      offer: { sdp: message.sdp, tcpOnly: message.transport === 'TCP' },
      deadlineMs: turn.nowMs + state.settings.decisionDeadlineMs,
    },
  };
  return replace({ ...state, nextNumber: state.nextNumber + 1 }, stream);
};

const mediaOffer = (stream: Stream, offer: Offer): MediaOffer => ({
  offerSdp: offer.sdp,
  tcpOnly: offer.tcpOnly,
  minBps: stream.minBitrate * 1000,
  maxBps: (stream.maxBitrate || stream.bitrate) * 1000,
});

export const decided = (
  state: EstablishedState,
  streamId: StreamId,
  decision: Decision,
  turn: Turn,
): EstablishedState => {
  const stream = find(state, streamId);
  if (stream?.phase.tag !== 'deciding') return state;
  if (!decision.allowed) return deny(state, stream, decision.by, decision.cause, turn);
  const { offer } = stream.phase;
  const deadlineMs = turn.nowMs + state.settings.mediaDeadlineMs;
  const streamName = decision.streamName ?? stream.streamName;
  if (stream.direction === 'play') {
    turn.do({ tag: 'find', ref: streamId, streamName });
    return replace(state, { ...stream, streamName, phase: { tag: 'finding', offer, deadlineMs } });
  }
  turn.do({ tag: 'publish', streamId, streamName, ...mediaOffer(stream, offer) });
  return replace(state, {
    ...stream,
    streamName,
    phase: { tag: 'offering', nodeId: undefined, connected: false, deadlineMs },
  });
};

const deny = (
  state: EstablishedState,
  stream: Stream,
  by: 'access' | 'hook',
  cause: Cause,
  turn: Turn,
): EstablishedState => {
  if (by === 'access') return end(state, stream, cause, turn);
  // `fail` ends the stream as a status does, and also tells the application.
  const info = infoOf(cause, stream.direction);
  turn.send(failure('StreamStatusEvent', stream.mediaSessionId, info));
  turn.refuse('stream', 'hook', refusedStream(stream));
  turn.do({ tag: 'status-changed', status: terminalStatusOf(stream, cause) });
  return remove(state, stream.mediaSessionId);
};

export const found = (
  state: EstablishedState,
  streamId: StreamId,
  where: FoundStream | undefined,
  turn: Turn,
): EstablishedState => {
  const stream = find(state, streamId);
  if (stream?.phase.tag !== 'finding') return state;
  if (where === undefined) return end(state, stream, refusal('not-found'), turn);
  const { offer, deadlineMs } = stream.phase;
  const { streamName } = stream;
  turn.do({ tag: 'play', streamId, nodeId: where.nodeId, streamName, ...mediaOffer(stream, offer) });
  return replace(state, { ...stream, phase: { tag: 'offering', nodeId: where.nodeId, connected: false, deadlineMs } });
};

type Answer = Extract<Input, { tag: 'answered' }>;

export const answered = (state: EstablishedState, answer: Answer, turn: Turn): EstablishedState => {
  const stream = find(state, answer.streamId);
  if (stream?.phase.tag !== 'offering') {
    // The stream was stopped or given up while the media core was working on it.
    if (stream === undefined) abandon(answer, 'client', turn);
    return state;
  }
  const { mediaSessionId } = stream;
  if (stream.direction === 'play' && answer.codecs.audio !== '')
    turn.send({ message: 'notifyAudioCodec', data: [mediaSessionId, { name: answer.codecs.audio }] });
  turn.send({ message: 'setRemoteSDP', data: [mediaSessionId, answer.sdp, true] });
  const phase: StreamPhase = {
    tag: 'connecting',
    nodeId: answer.nodeId,
    codecs: answer.codecs,
    deadlineMs: stream.phase.deadlineMs,
  };
  const { notCarried } = answer;
  const connecting: Stream = { ...stream, ...stateOfOrigin(stream, answer.stream), notCarried, phase };
  return stream.phase.connected ? connected(state, connecting, turn) : replace(state, connecting);
};

const stateOfOrigin = (stream: Stream, origin: Answer['stream']): Partial<Stream> => {
  if (stream.direction === 'publish' || origin === undefined) return {};
  const { audioMuted, videoMuted, width, height } = origin;
  return { audioMuted, videoMuted, ...(width > 0 && height > 0 ? { width, height } : {}) };
};

export const abandon = (answer: Answer, reason: 'client' | 'disconnected', turn: Turn): void => {
  turn.do({ tag: 'close-session', streamId: answer.streamId, nodeId: answer.nodeId, reason });
};

export const refused = (state: EstablishedState, streamId: StreamId, cause: Cause, turn: Turn): EstablishedState => {
  const stream = find(state, streamId);
  if (stream?.phase.tag !== 'finding' && stream?.phase.tag !== 'offering') return state;
  // The call may have been carried out although its reply was lost.
  if (cause.tag === 'refused' && cause.code === 'deadline') closeOnNode(stream, 'client', turn);
  return end(state, stream, cause, turn);
};

export const stop = (
  state: EstablishedState,
  method: NameOfClass<'stop'>,
  mediaSessionId: MediaSessionId,
  turn: Turn,
): EstablishedState => {
  const stream = state.streams.get(mediaSessionId);
  if (stream === undefined) {
    const direction = CLIENT_MESSAGES[method].side;
    const status = direction === 'publish' ? 'UNPUBLISHED' : 'STOPPED';
    const info = infoOf(refusal('not-found'), direction);
    turn.send(statusMessage(stillbornStatus({ mediaSessionId, direction, status, info, nowMs: turn.nowMs })));
    return state;
  }
  turn.do({
    tag: 'stopping',
    method: stream.direction === 'publish' ? 'unPublishStream' : 'stopStream',
    stream,
  });
  closeOnNode(stream, 'client', turn);
  return end(state, stream, ended('client'), turn);
};

export const terminate = (state: EstablishedState, streamId: StreamId, cause: Cause, turn: Turn): EstablishedState => {
  const stream = find(state, streamId);
  if (stream === undefined) return state;
  closeOnNode(stream, 'terminated', turn);
  return end(state, stream, cause, turn);
};

export const expire = (state: EstablishedState, turn: Turn): EstablishedState =>
  [...state.streams.values()]
    .filter((stream) => deadlineOf(stream) <= turn.nowMs)
    .reduce((left, stream) => {
      if (stream.phase.tag === 'starting-recording') return live(left, stream, stream.phase, turn);
      closeOnNode(stream, 'ice-timeout', turn);
      return end(left, stream, stream.phase.tag === 'connecting' ? ended('ice-timeout') : refusal('deadline'), turn);
    }, state);

/**
 * Passes a publisher's signal on to its players. Mutes that arrive before the stream is live are kept and sent when it
 * is.
 */
export const signal = (
  state: EstablishedState,
  mediaSessionId: MediaSessionId,
  spoken: StreamSignal,
  turn: Turn,
): EstablishedState => {
  const stream = state.streams.get(mediaSessionId);
  if (stream?.direction !== 'publish') {
    const info = infoOf(stream === undefined ? refusal('not-found') : refusal('forbidden'), 'publish');
    turn.send(failure('sendStreamEvent', mediaSessionId, info));
    return state;
  }
  if (stream.phase.tag === 'live') {
    const { streamId, streamName } = stream;
    turn.do({ tag: 'signal', streamId, nodeId: stream.phase.nodeId, streamName, signal: spoken });
  } else if (spoken.tag === 'data') {
    turn.send(failure('sendStreamEvent', mediaSessionId, infoOf(problem('publisher-not-ready'), 'publish')));
  }
  return replace(state, heard(stream, spoken));
};

const heard = (stream: Stream, spoken: StreamSignal): Stream => {
  switch (spoken.tag) {
    case 'audio-muted':
      return { ...stream, audioMuted: spoken.muted };
    case 'video-muted':
      return { ...stream, videoMuted: spoken.muted };
    case 'data':
      return stream;
    default:
      return spoken satisfies never;
  }
};

export const media = (state: EstablishedState, streamId: StreamId, event: MediaEvent, turn: Turn): EstablishedState => {
  const stream = find(state, streamId);
  if (stream === undefined) return state;
  switch (event.tag) {
    case 'connected':
      return connected(state, stream, turn);
    case 'ended':
      return end(state, stream, ended(event.reason), turn);
    case 'video-size':
      return resized(state, stream, event.width, event.height, turn);
    case 'stats':
      rate(stream, event, turn);
      return state;
    case 'signal':
      return told(state, stream, event.signal, turn);
    case 'not-enough-bandwidth':
      starved(state, stream, `${event.neededBps}/${event.availableBps}`, turn);
      return state;
    default:
      return event satisfies never;
  }
};

const connected = (state: EstablishedState, stream: Stream, turn: Turn): EstablishedState => {
  if (stream.phase.tag === 'offering')
    return replace(state, { ...stream, phase: { ...stream.phase, connected: true } });
  if (stream.phase.tag !== 'connecting') return state;
  turn.do({ tag: 'joined', direction: stream.direction, elapsedMs: turn.nowMs - stream.createdMs });
  if (!stream.recordWanted) return live(state, stream, stream.phase, turn);
  const { streamId, streamName, mediaSessionId } = stream;
  turn.do({ tag: 'record', streamId, streamName, mediaSessionId });
  const deadlineMs = turn.nowMs + state.settings.recordDeadlineMs;
  return replace(state, { ...stream, phase: { ...stream.phase, tag: 'starting-recording', deadlineMs } });
};

const live = (
  state: EstablishedState,
  stream: Stream,
  { nodeId, codecs }: Extract<StreamPhase, { tag: 'connecting' | 'starting-recording' }>,
  turn: Turn,
): EstablishedState => {
  const flowing: Stream = { ...stream, phase: { tag: 'live', nodeId, codecs } };
  const status = liveStatus(flowing);
  turn.send(statusMessage(status));
  turn.do({ tag: 'status-changed', status });
  if (flowing.direction === 'publish') sayMutes(flowing, nodeId, turn);
  else tellSize(flowing, turn);
  return replace(state, flowing);
};

export const recordingChanged = (
  state: EstablishedState,
  streamId: StreamId,
  recording: StreamRecording,
  turn: Turn,
): EstablishedState => {
  const stream = find(state, streamId);
  if (stream === undefined) return state;
  const isEndOfEarlier = !recording.active && stream.recording !== undefined && stream.recording.id !== recording.id;
  if (isEndOfEarlier) return state;
  const isNews = recording.active !== stream.recording?.active || recording.id !== stream.recording.id;
  if (isNews) turn.do({ tag: 'recording-told', stream, recording });
  const recorded = { ...stream, recording };
  return stream.phase.tag === 'starting-recording'
    ? live(state, recorded, stream.phase, turn)
    : replace(state, recorded);
};

/** The stream goes on without a recording. */
export const recordingRefused = (state: EstablishedState, streamId: StreamId, turn: Turn): EstablishedState => {
  const stream = find(state, streamId);
  return stream?.phase.tag === 'starting-recording' ? live(state, stream, stream.phase, turn) : state;
};

const sayMutes = ({ streamId, streamName, audioMuted, videoMuted }: Stream, nodeId: string, turn: Turn): void => {
  const say = (spoken: StreamSignal) => turn.do({ tag: 'signal', streamId, nodeId, streamName, signal: spoken });
  if (audioMuted) say({ tag: 'audio-muted', muted: true });
  if (videoMuted) say({ tag: 'video-muted', muted: true });
};

/** Sends both forms: old clients know the first, and SDK 2.0 fires a callback for each. */
const tellSize = ({ mediaSessionId, width, height }: Stream, turn: Turn): void => {
  if (width === 0 || height === 0) return;
  const size = { streamerVideoWidth: width, streamerVideoHeight: height };
  turn.send({ message: 'notifyVideoFormat', data: [{ mediaSessionId, status: 'RESIZE', ...size }] });
  turn.send(eventMessage({ mediaSessionId, type: 'resize', payload: size }));
};

const resized = (
  state: EstablishedState,
  stream: Stream,
  width: number,
  height: number,
  turn: Turn,
): EstablishedState => {
  if (stream.width === width && stream.height === height) return state;
  const sized = { ...stream, width, height };
  if (sized.direction === 'play' && sized.phase.tag === 'live') tellSize(sized, turn);
  return replace(state, sized);
};

/** Sent only after PUBLISHING or PLAYING; before that, it would make the SDK throw. */
const rate = (stream: Stream, stats: Extract<MediaEvent, { tag: 'stats' }>, turn: Turn): void => {
  if (stream.phase.tag !== 'live' || stream.phase.codecs.video === '') return;
  turn.send({
    message: stream.direction === 'publish' ? 'inboundVideoRate' : 'outboundVideoRate',
    data: [
      {
        mediaSessionId: stream.mediaSessionId,
        videoRate: stats.videoBps,
        fps: Math.round(stats.videoFps),
        nack: stats.nackCount,
        pli: stats.pliCount,
        lostPackets: stats.lostPackets,
        width: stats.width,
        height: stats.height,
      },
    ],
  });
};

const told = (state: EstablishedState, stream: Stream, spoken: StreamSignal, turn: Turn): EstablishedState => {
  if (stream.direction !== 'play') return state;
  const { mediaSessionId } = stream;
  if (stream.phase.tag === 'live') {
    switch (spoken.tag) {
      case 'audio-muted':
        turn.send(eventMessage({ mediaSessionId, type: spoken.muted ? 'audioMuted' : 'audioUnmuted' }));
        break;
      case 'video-muted':
        turn.send(eventMessage({ mediaSessionId, type: spoken.muted ? 'videoMuted' : 'videoUnmuted' }));
        break;
      case 'data':
        turn.send(eventMessage({ mediaSessionId, type: 'data', payload: parsed(spoken.json) }));
        break;
      default:
        spoken satisfies never;
    }
  }
  return replace(state, heard(stream, spoken));
};

/** Text that isn't JSON comes from a publisher of another protocol, and is passed on as text. */
const parsed = (json: string): unknown => {
  try {
    return JSON.parse(json);
  } catch (error) {
    if (error instanceof SyntaxError) return json;
    throw error;
  }
};

const starved = (state: EstablishedState, stream: Stream, info: string, turn: Turn): void => {
  if (stream.direction !== 'play' || stream.phase.tag !== 'live') return;
  const { mediaSessionId } = stream;
  turn.send(
    state.legacy
      ? { message: 'notifyStreamStatusEvent', data: [{ mediaSessionId, status: 'NOT_ENOUGH_BANDWIDTH', info }] }
      : eventMessage({ mediaSessionId, type: 'notEnoughBandwidth', payload: { info } }),
  );
};
