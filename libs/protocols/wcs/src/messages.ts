import { z } from 'zod';

/** The client's name for a stream object; unique only among the live streams of one session. */
export type MediaSessionId = string & z.BRAND<'MediaSessionId'>;

/** Lengths in UTF-16 code units, because a frame is measured before it is parsed. */
export const LENGTHS = {
  frame: 256 * 1024,
  mediaSessionId: 128,
  streamName: 256,
  appKey: 256,
  sdp: 64 * 1024,
  custom: 16 * 1024,
  payload: 64 * 1024,
  operationId: 128,
  authToken: 8 * 1024,
  label: 512,
} as const;

const MAX_JSON_DEPTH = 32;

const isShallow = (value: unknown, depth: number): boolean => {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((inner) => isShallow(inner, depth - 1));
};

/** JSON of the application. Its depth is checked before its length, so that no serialiser reaches its own limit. */
const applicationJson = (maxLength: number) =>
  z
    .unknown()
    .refine((value) => isShallow(value, MAX_JSON_DEPTH) && (JSON.stringify(value) ?? '').length <= maxLength)
    .transform((value) => (value === null ? undefined : value))
    .optional();

/** An attribute without influence on decisions: an invalid value is dropped and never refused. */
const label = z.string().max(LENGTHS.label).catch('');
const flag = (otherwise: boolean) => z.boolean().catch(otherwise);
/** In kbit/s; 0 means unset. */
const kilobits = z.number().min(0).max(1_000_000).catch(0);
const count = (max: number) => z.number().int().min(0).max(max).catch(0);

// eslint-disable-next-line no-control-regex -- control characters are just what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f]|\p{Surrogate}/u;

const mediaSessionId = z.string().min(1).max(LENGTHS.mediaSessionId).brand<'MediaSessionId'>();
/** 1 to 256 characters in any script, without control characters and unpaired surrogates. */
export const streamName = z
  .string()
  .min(1)
  .max(LENGTHS.streamName)
  .refine((name) => !UNPRINTABLE.test(name));

const connectionBody = z.object({
  appKey: z
    .string()
    .max(LENGTHS.appKey)
    .nullish()
    .transform((appKey) => appKey || 'defaultApp'),
  authToken: z.string().max(LENGTHS.authToken).optional().catch(undefined),
  custom: applicationJson(LENGTHS.custom),
  mediaProviders: z.array(z.string().max(32)).max(16).catch([]),
  clientVersion: label,
  clientOSVersion: label,
  clientBrowserVersion: label,
  msePacketizationVersion: z.number().int().min(0).max(100).optional().catch(undefined),
  keepAlive: flag(false),
});

/** Old clients send only the name of the message. */
const connection = z.preprocess((body) => body ?? {}, connectionBody);

const offer = {
  mediaSessionId,
  name: streamName,
  hasVideo: flag(true),
  hasAudio: flag(true),
  record: flag(false),
  mediaProvider: z.string().max(64).catch('WebRTC'),
  sdp: z.string().min(1).max(LENGTHS.sdp),
  bitrate: kilobits,
  minBitrate: kilobits,
  maxBitrate: kilobits,
  transport: z.enum(['UDP', 'TCP']).catch('UDP'),
  custom: applicationJson(LENGTHS.custom),
};

const publishStream = z.object({
  ...offer,
  rtmpUrl: z.string().max(2048).optional().catch(undefined),
});

const playStream = z.object({
  ...offer,
  width: count(16_384),
  height: count(16_384),
  quality: count(100),
});

const stop = z.object({ mediaSessionId });

const availableStream = z.object({ mediaSessionId, name: streamName, custom: applicationJson(LENGTHS.custom) });

const snapshot = z.object({ mediaSessionId, name: streamName, custom: applicationJson(LENGTHS.custom) });

const sendStreamEvent = z.object({
  mediaSessionId,
  type: z.enum(['audioMuted', 'audioUnmuted', 'videoMuted', 'videoUnmuted', 'data']),
  payload: applicationJson(LENGTHS.payload),
});

const sendData = z.object({
  operationId: z.string().min(1).max(LENGTHS.operationId),
  payload: applicationJson(LENGTHS.payload),
});

const sessionDebug = z.object({ command: z.enum(['start', 'stop']) });

const call = z.object({ callId: z.string().min(1).max(LENGTHS.mediaSessionId) });

/** Only the name of this message is used. */
const nameOnly = z.unknown().transform(() => ({}));

/** What kind of message it is, which decides who handles it. */
export type MessageClass =
  | 'connection'
  /** Answered in every state. */
  | 'ping'
  /** Needs no reaction. */
  | 'ignored'
  /** Asks for media over WebSocket, which ends the session. */
  | 'media-transport'
  | 'offer'
  | 'stop'
  | 'signal'
  /** Another service is asked, and there is one answer. */
  | 'query'
  | 'debug'
  /** Telephony, which is refused. */
  | 'call';

/** The form in which the client is told of a refusal. */
export type RefusalForm =
  | 'status'
  | 'availability'
  | 'snapshot-event'
  | 'data-status'
  | 'finish'
  /** No one waits for an answer, so the session's WARN event is fired. */
  | 'fail';

interface Row {
  readonly class: MessageClass;
  readonly refusal: RefusalForm;
  /** The side of a stream that the message concerns. */
  readonly side?: 'publish' | 'play';
}

const row = <Name extends string, Body extends object, Known extends Row>(
  name: Name,
  body: z.ZodType<Body>,
  known: Known,
) => ({ ...known, schema: body.transform((read) => ({ message: name, ...read })) });

/**
 * Every message that a client may send: the schema of its `data[0]` (unknown fields are dropped), its class and the
 * form of its refusal. Everything else about a message follows from its row.
 */
export const CLIENT_MESSAGES = {
  connection: row('connection', connection, { class: 'connection', refusal: 'fail' }),
  ping: row('ping', nameOnly, { class: 'ping', refusal: 'fail' }),
  pong: row('pong', nameOnly, { class: 'ignored', refusal: 'fail' }),
  publishStream: row('publishStream', publishStream, { class: 'offer', refusal: 'status', side: 'publish' }),
  unPublishStream: row('unPublishStream', stop, { class: 'stop', refusal: 'fail', side: 'publish' }),
  playStream: row('playStream', playStream, { class: 'offer', refusal: 'status', side: 'play' }),
  stopStream: row('stopStream', stop, { class: 'stop', refusal: 'fail', side: 'play' }),
  availableStream: row('availableStream', availableStream, { class: 'query', refusal: 'availability', side: 'play' }),
  snapshot: row('snapshot', snapshot, { class: 'query', refusal: 'snapshot-event', side: 'play' }),
  sendStreamEvent: row('sendStreamEvent', sendStreamEvent, { class: 'signal', refusal: 'fail', side: 'publish' }),
  sendData: row('sendData', sendData, { class: 'query', refusal: 'data-status' }),
  pushLogs: row('pushLogs', nameOnly, { class: 'ignored', refusal: 'fail' }),
  submitBugReport: row('submitBugReport', nameOnly, { class: 'ignored', refusal: 'fail' }),
  sessionDebug: row('sessionDebug', sessionDebug, { class: 'debug', refusal: 'fail' }),
  webRTCMetricsClientDescription: row('webRTCMetricsClientDescription', nameOnly, {
    class: 'ignored',
    refusal: 'fail',
  }),
  webRTCMetricsBatch: row('webRTCMetricsBatch', nameOnly, { class: 'ignored', refusal: 'fail' }),
  connectMediaTransport: row('connectMediaTransport', nameOnly, { class: 'media-transport', refusal: 'fail' }),
  call: row('call', call, { class: 'call', refusal: 'finish' }),
  answer: row('answer', call, { class: 'call', refusal: 'finish' }),
  hangup: row('hangup', nameOnly, { class: 'call', refusal: 'fail' }),
  hold: row('hold', nameOnly, { class: 'call', refusal: 'fail' }),
  unhold: row('unhold', nameOnly, { class: 'call', refusal: 'fail' }),
  sendDtmf: row('sendDtmf', nameOnly, { class: 'call', refusal: 'fail' }),
  transfer: row('transfer', nameOnly, { class: 'call', refusal: 'fail' }),
} as const;

type Rows = typeof CLIENT_MESSAGES;
export type ClientMessageName = keyof Rows;

export type ClientMessage = {
  [Name in ClientMessageName]: Readonly<z.output<Rows[Name]['schema']>>;
}[ClientMessageName];

export type ClientMessageOf<Name extends ClientMessageName> = Extract<ClientMessage, { message: Name }>;

export type NameOfClass<Class extends MessageClass> = {
  [Name in ClientMessageName]: Rows[Name]['class'] extends Class ? Name : never;
}[ClientMessageName];

export type MessageOfClass<Class extends MessageClass> = ClientMessageOf<NameOfClass<Class>>;

/** A message with its class, so that a switch over the class narrows the message. */
export type Classified<Of extends MessageClass = MessageClass> = {
  [Class in Of]: { readonly class: Class; readonly message: MessageOfClass<Class> };
}[Of];

export const classified = (message: ClientMessage): Classified =>
  ({ class: CLIENT_MESSAGES[message.message].class, message }) as Classified;

export const namesOfClass = <Class extends MessageClass>(...classes: readonly Class[]): readonly NameOfClass<Class>[] =>
  Object.entries(CLIENT_MESSAGES).flatMap(([name, known]) =>
    classes.some((each) => each === known.class) ? [name as NameOfClass<Class>] : [],
  );

/** The side of a stream that a message concerns; undefined if none. */
export const sideOf = (name: ClientMessageName): 'publish' | 'play' | undefined => {
  const known: Row = CLIENT_MESSAGES[name];
  return known.side;
};

export type ConnectionMessage = ClientMessageOf<'connection'>;

export type StreamStatusName = 'PUBLISHING' | 'PLAYING' | 'UNPUBLISHED' | 'STOPPED' | 'FAILED';

/** The original server's complete object; unknown fields are null, as in the original. */
export interface StreamStatus {
  readonly mediaSessionId: string | null;
  readonly name: string | null;
  readonly published: boolean;
  readonly hasVideo: boolean;
  readonly hasAudio: boolean;
  readonly status: StreamStatusName;
  readonly audioCodec: string | null;
  readonly videoCodec: string | null;
  readonly info?: string;
  /** Whether the stream is being recorded. */
  readonly record: boolean;
  /** The name of its file. Absent if it wasn't recorded, or the file hasn't begun. */
  readonly recordName?: string;
  readonly width: number;
  readonly height: number;
  /** In kbit/s. */
  readonly bitrate: number;
  readonly minBitrate: number;
  readonly maxBitrate: number;
  readonly quality: number;
  /** Milliseconds since 1970. */
  readonly createDate: number;
  readonly streamInfo: StreamOrigin;
  readonly mediaProvider: string;
  readonly mediaType: 'publish' | 'play';
  readonly audioState?: { readonly muted: boolean };
  readonly videoState?: { readonly muted: boolean };
  /** weir's own field: media that receivers of the stream don't get, each with the reason. */
  readonly notCarried?: readonly string[];
}

export interface StreamOrigin {
  readonly nodeId: null;
  readonly appKey: null;
  readonly sessionId: null;
  readonly mediaSessionId: string | null;
  readonly name: string | null;
  readonly samplingTime: null;
  /** When its recording began, in milliseconds since 1970. */
  readonly recordTimestamp: number | null;
  readonly recordStarted: boolean;
}

export interface UserData {
  readonly useWsTunnel: false;
  readonly useWsTunnelPacketization2: false;
  readonly useBase64BinaryEncoding: false;
  readonly appKey: string;
  readonly mediaProviders: readonly string[];
  readonly authToken: string;
  readonly status: 'ESTABLISHED';
  readonly clientVersion: string;
  readonly clientOSVersion: string;
  readonly clientBrowserVersion: string;
  readonly msePacketizationVersion?: number;
  readonly forceLogger: false;
  readonly keepAlive: boolean;
}

export type StreamEvent =
  | {
      readonly mediaSessionId: string;
      readonly type: 'resize';
      readonly payload: { readonly streamerVideoWidth: number; readonly streamerVideoHeight: number };
    }
  | {
      readonly mediaSessionId: string;
      readonly type: 'notEnoughBandwidth';
      /** "needed/available" in bit/s; the SDK splits it at the slash. */
      readonly payload: { readonly info: string };
    }
  | {
      readonly mediaSessionId: string;
      readonly type: 'audioMuted' | 'audioUnmuted' | 'videoMuted' | 'videoUnmuted';
    }
  | { readonly mediaSessionId: string; readonly type: 'data'; readonly payload: unknown }
  | {
      readonly mediaSessionId: string;
      readonly type: 'snapshotCompleted';
      /** Base64 of a PNG. */
      readonly payload: { readonly snapshot: string };
    }
  | {
      readonly mediaSessionId: string;
      readonly type: 'snapshotFailed';
      readonly payload: { readonly info: string };
    };

/** Clients before 2.0 understand this instead of some `notifyStreamEvent`. */
export interface LegacyStreamStatus {
  readonly mediaSessionId: string;
  readonly status: 'SNAPSHOT_COMPLETE' | 'NOT_ENOUGH_BANDWIDTH';
  readonly info: string;
}

export interface VideoFormat {
  readonly mediaSessionId: string;
  readonly status: 'RESIZE';
  readonly streamerVideoWidth: number;
  readonly streamerVideoHeight: number;
}

export interface VideoRate {
  readonly mediaSessionId: string;
  /** In bit/s, over the last interval. */
  readonly videoRate: number;
  readonly fps: number;
  readonly nack: number;
  readonly pli: number;
  readonly lostPackets: number;
  readonly width: number;
  readonly height: number;
}

/**
 * With `apiMethod` "StreamStatusEvent" it ends the stream `id`; with any other it only fires the session's WARN event.
 */
export interface Failure {
  readonly apiMethod: string;
  readonly id: string | null;
  readonly status: 'FAILED';
  readonly info: string;
}

export type ServerMessage =
  | { readonly message: 'getUserData'; readonly data: readonly [UserData] }
  | { readonly message: 'getVersion'; readonly data: readonly [string] }
  | { readonly message: 'ping' | 'pong'; readonly data: readonly [] }
  | {
      readonly message: 'setRemoteSDP';
      readonly data: readonly [mediaSessionId: string, sdp: string, isAnswer: boolean];
    }
  | { readonly message: 'notifyStreamStatusEvent'; readonly data: readonly [StreamStatus | LegacyStreamStatus] }
  | { readonly message: 'notifyVideoFormat'; readonly data: readonly [VideoFormat] }
  | {
      readonly message: 'notifyAudioCodec';
      readonly data: readonly [mediaSessionId: string, codec: { readonly name: string }];
    }
  | { readonly message: 'notifyStreamEvent'; readonly data: readonly [StreamEvent] }
  | {
      readonly message: 'availableStream';
      readonly data: readonly [
        /** A string, because the SDK rejects a boolean `true`. */
        { readonly id: string; readonly status: 'true' | 'false'; readonly info?: string },
      ];
    }
  | {
      readonly message: 'DataStatusEvent';
      readonly data: readonly [
        { readonly operationId: string; readonly status: 'ACCEPTED' | 'FAILED'; readonly info?: string },
      ];
    }
  | { readonly message: 'inboundVideoRate' | 'outboundVideoRate'; readonly data: readonly [VideoRate] }
  | { readonly message: 'notifySessionDebugEvent'; readonly data: readonly [{ readonly status: string }] }
  | {
      readonly message: 'finish';
      readonly data: readonly [{ readonly callId: string; readonly status: 'FAILED'; readonly info: string }];
    }
  | { readonly message: 'fail'; readonly data: readonly [Failure] };
