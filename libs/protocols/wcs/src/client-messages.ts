import { z } from 'zod';
import { LENGTHS } from './messages.js';

/** The parts of a server's messages that a client needs. Everything else is dropped. */
export type RemoteMessage =
  | { readonly message: 'getUserData'; readonly status: string }
  | { readonly message: 'ping' | 'pong' }
  | { readonly message: 'setRemoteSDP'; readonly mediaSessionId: string; readonly sdp: string }
  | {
      readonly message: 'notifyStreamStatusEvent';
      readonly mediaSessionId: string;
      readonly status: string;
      readonly info: string;
    }
  /** `id` is the stream's id, or null if the message concerns the whole session. */
  | { readonly message: 'fail'; readonly id: string | null; readonly info: string }
  | {
      readonly message: 'notifyStreamEvent';
      readonly mediaSessionId: string;
      readonly type: 'audioMuted' | 'audioUnmuted' | 'videoMuted' | 'videoUnmuted';
    }
  /** A message that needs no reaction. */
  | { readonly message: 'other'; readonly name: string };

/** Why a frame isn't a WCS server's. */
export type RemoteFault =
  'frame-too-long' | 'not-json' | 'not-a-frame' | 'invalid-message' | 'binary-frame' | 'too-many-frames';

export type RemoteDecoded =
  { readonly ok: true; readonly message: RemoteMessage } | { readonly ok: false; readonly fault: RemoteFault };

const MAX_INFO_LENGTH = 512;
const text = z.string().max(LENGTHS.label).catch('');
const info = z
  .string()
  .catch('')
  .transform((value) => value.slice(0, MAX_INFO_LENGTH));
const id = z.string().min(1).max(LENGTHS.mediaSessionId);

const frame = z.object({ message: z.string().max(LENGTHS.label), data: z.unknown() });
const userData = z.object({ status: text }).catch({ status: '' });
const remoteSdp = z.tuple([id, z.string().min(1).max(LENGTHS.sdp)]).rest(z.unknown());
const streamStatus = z.object({ mediaSessionId: id, status: z.string().max(64), info });
const fail = z.object({ id: id.nullish().catch(null), info });
const streamEvent = z.object({
  mediaSessionId: id,
  type: z.enum(['audioMuted', 'audioUnmuted', 'videoMuted', 'videoUnmuted']),
});

const refused = (fault: RemoteFault): RemoteDecoded => ({ ok: false, fault });

const taken = <Body>(
  parsed: { success: true; data: Body } | { success: false },
  message: (body: Body) => RemoteMessage,
): RemoteDecoded => (parsed.success ? { ok: true, message: message(parsed.data) } : refused('invalid-message'));

const parseJson = (json: string): { readonly value: unknown } | undefined => {
  try {
    return { value: JSON.parse(json) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};

/** Reads a frame of another WCS server: weir's or the original's. */
export const decodeRemote = (json: string): RemoteDecoded => {
  if (json.length > LENGTHS.frame) return refused('frame-too-long');
  const parsed = parseJson(json);
  if (parsed === undefined) return refused('not-json');
  const read = frame.safeParse(parsed.value);
  if (!read.success) return refused('not-a-frame');
  const { message: name, data } = read.data;
  const [first] = Array.isArray(data) ? (data as readonly unknown[]) : [data];
  switch (name) {
    case 'getUserData':
      return taken(userData.safeParse(first), ({ status }) => ({ message: name, status }));
    case 'ping':
    case 'pong':
      return { ok: true, message: { message: name } };
    case 'setRemoteSDP':
      return taken(remoteSdp.safeParse(data), ([mediaSessionId, sdp]) => ({ message: name, mediaSessionId, sdp }));
    case 'notifyStreamStatusEvent':
      return taken(streamStatus.safeParse(first), (body) => ({ message: name, ...body }));
    case 'fail':
      return taken(fail.safeParse(first), (body) => ({ message: name, id: body.id ?? null, info: body.info }));
    case 'notifyStreamEvent': {
      // Most types of this event only matter to players that people watch.
      const event = streamEvent.safeParse(first);
      return { ok: true, message: event.success ? { message: name, ...event.data } : { message: 'other', name } };
    }
    default:
      return { ok: true, message: { message: 'other', name: name.slice(0, 64) } };
  }
};

interface SentOffer {
  readonly mediaSessionId: string;
  readonly name: string;
  readonly hasAudio: boolean;
  readonly hasVideo: boolean;
  readonly sdp: string;
}

export interface SentConnection {
  readonly appKey: string;
  readonly clientVersion: string;
  /** The remote's application may require it. */
  readonly custom?: unknown;
}

const encoded = (message: string, body: unknown): string => JSON.stringify({ message, data: [body] });

export const clientFrames = {
  connection: ({ appKey, clientVersion, custom }: SentConnection): string =>
    encoded('connection', {
      appKey,
      mediaProviders: ['WebRTC'],
      keepAlive: false,
      clientVersion,
      clientOSVersion: 'weir',
      clientBrowserVersion: 'weir',
      msePacketizationVersion: 2,
      clientInfo: {},
      ...(custom === undefined ? {} : { custom }),
    }),
  publishStream: (offer: SentOffer): string =>
    encoded('publishStream', { ...streamOf(offer, true), ...offered(offer) }),
  playStream: (offer: SentOffer): string =>
    encoded('playStream', { ...streamOf(offer, false), ...offered(offer), width: 0, height: 0, quality: 0 }),
  unPublishStream: (stream: Pick<SentOffer, 'mediaSessionId' | 'name'>): string =>
    encoded('unPublishStream', { ...streamOf(stream, true), status: 'PUBLISHING' }),
  stopStream: (stream: Pick<SentOffer, 'mediaSessionId' | 'name'>): string =>
    encoded('stopStream', { ...streamOf(stream, false), status: 'PLAYING' }),
  ping: (): string => encoded('ping', null),
  pong: (): string => encoded('pong', null),
} as const;

function streamOf({ mediaSessionId, name, ...media }: Partial<SentOffer>, published: boolean) {
  const { hasAudio = true, hasVideo = true } = media;
  return { mediaSessionId, name, published, hasVideo, hasAudio, status: 'PENDING', record: false };
}

function offered({ sdp }: SentOffer) {
  return { mediaProvider: 'WebRTC', sdp, bitrate: 0, minBitrate: 0, maxBitrate: 0 };
}
