import { infoOf, terminalStatus, type Cause, type Direction } from './info.js';
import type { Failure, ServerMessage, StreamEvent, StreamStatus, StreamStatusName } from './messages.js';
import type { Codecs, Stream, StreamRecording } from './state.js';

export const failure = (apiMethod: string, id: string | null, info: string): ServerMessage => {
  const data: Failure = { apiMethod, id, status: 'FAILED', info };
  return { message: 'fail', data: [data] };
};

export const statusMessage = (status: StreamStatus): ServerMessage => ({
  message: 'notifyStreamStatusEvent',
  data: [status],
});

export const eventMessage = (event: StreamEvent): ServerMessage => ({ message: 'notifyStreamEvent', data: [event] });

const codecsOf = (stream: Stream): Codecs | undefined => ('codecs' in stream.phase ? stream.phase.codecs : undefined);

const statusOf = (stream: Stream, status: StreamStatusName, info?: string): StreamStatus => {
  const codecs = codecsOf(stream);
  const { recording } = stream;
  return {
    mediaSessionId: stream.mediaSessionId,
    name: stream.name,
    published: stream.direction === 'publish',
    hasVideo: codecs === undefined ? stream.hasVideo : codecs.video !== '',
    hasAudio: codecs === undefined ? stream.hasAudio : codecs.audio !== '',
    status,
    audioCodec: codecs?.audio || null,
    videoCodec: codecs?.video || null,
    ...(info === undefined ? {} : { info }),
    record: recording?.active ?? false,
    ...(recording !== undefined && recording.fileName !== '' && { recordName: recording.fileName }),
    width: stream.width,
    height: stream.height,
    bitrate: stream.bitrate,
    minBitrate: stream.minBitrate,
    maxBitrate: stream.maxBitrate,
    quality: stream.quality,
    createDate: stream.createdMs,
    streamInfo: originOf(stream.mediaSessionId, stream.name, recording),
    mediaProvider: 'WebRTC',
    mediaType: stream.direction,
    audioState: { muted: stream.audioMuted },
    videoState: { muted: stream.videoMuted },
    ...(stream.notCarried.length > 0 && { notCarried: stream.notCarried }),
  };
};

const originOf = (
  mediaSessionId: string | null,
  name: string | null,
  recording?: StreamRecording,
): StreamStatus['streamInfo'] => ({
  nodeId: null,
  appKey: null,
  sessionId: null,
  mediaSessionId,
  name,
  samplingTime: null,
  recordTimestamp: recording?.startedMs ?? null,
  recordStarted: recording !== undefined && recording.active && recording.startedMs !== undefined,
});

export const liveStatus = (stream: Stream): StreamStatus =>
  statusOf(stream, stream.direction === 'publish' ? 'PUBLISHING' : 'PLAYING');

export const terminalStatusOf = (stream: Stream, cause: Cause): StreamStatus =>
  statusOf(stream, terminalStatus(cause, stream.direction), infoOf(cause, stream.direction));

/** The terminal status of a stream that never existed. */
export const stillbornStatus = (stillborn: {
  mediaSessionId: string | null;
  name?: string | undefined;
  direction: Direction;
  status?: StreamStatusName;
  info: string;
  nowMs: number;
}): StreamStatus => ({
  mediaSessionId: stillborn.mediaSessionId,
  name: stillborn.name ?? null,
  published: stillborn.direction === 'publish',
  hasVideo: false,
  hasAudio: false,
  status: stillborn.status ?? 'FAILED',
  audioCodec: null,
  videoCodec: null,
  info: stillborn.info,
  record: false,
  width: 0,
  height: 0,
  bitrate: 0,
  minBitrate: 0,
  maxBitrate: 0,
  quality: 0,
  createDate: stillborn.nowMs,
  streamInfo: originOf(stillborn.mediaSessionId, stillborn.name ?? null),
  mediaProvider: 'WebRTC',
  mediaType: stillborn.direction,
});
