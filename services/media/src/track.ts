import { create } from '@bufbuild/protobuf';
import { MediaKind, TrackInfoSchema, type TrackInfo } from '@weir/contracts';
import { codecNamed, type RtpPacket, type TrackDescription } from '@weir/frames';
import type { StreamCodec } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import type { MediaWorker, RouterLease } from './worker-pool.js';

export interface PacketListener {
  onRtp(packet: RtpPacket): void;
  /** Compound RTCP of the source; what matters in it are sender reports. */
  onRtcp?(packet: Buffer): void;
}

/** A track as it can be consumed by a WebRTC transport on some router. */
export interface LentTrack {
  producerId: string;
  /** The consumer is made and its transport is up: what is sent from now on arrives. */
  start(): void;
  release(): void;
}

export interface UdpAddress {
  ip: string;
  port: number;
}

/** A track that is being sent to a UDP address. */
export interface SentTrack {
  payloadType: number;
  ssrc: number;
  /** Of the past nothing more is to come. */
  caughtUp: Promise<void>;
  close(): void;
}

export interface SendOptions {
  /** Begins with what has come since the last key frame, where that isn't long ago. */
  fromKeyFrame: boolean;
  /** What must have been sent before. */
  after?: Promise<void>;
}

/** Transcodes tracks into what WebRTC can carry; one for all tracks of a stream. */
export interface Transcoding {
  /** The transcoded track on some router, as long as somebody needs it. */
  lend(track: Track, to: RouterLease): Promise<LentTrack>;
}

/** What ffmpeg makes for WebRTC. */
export const TRANSCODED = {
  video: {
    kind: 'video',
    mimeType: 'video/H264',
    clockRate: 90_000,
    parameters: { 'packetization-mode': 1, 'level-asymmetry-allowed': 1, 'profile-level-id': '42e01f' },
  },
  audio: {
    kind: 'audio',
    mimeType: 'audio/opus',
    clockRate: 48_000,
    channels: 2,
    parameters: { useinbandfec: 1 },
  },
} as const satisfies Record<mediasoup.MediaKind, StreamCodec>;

export const routerCodecOf = (codec: StreamCodec, payloadType: number) => ({
  ...codec,
  mimeType: codec.mimeType as mediasoup.RtpCodecCapability['mimeType'],
  preferredPayloadType: payloadType,
  rtcpFeedback: [],
});

export const TRANSCODED_PAYLOAD_TYPES = { video: 96, audio: 97 } as const;

/** The codecs of routers for transcoded media: both, because either may be asked for first. */
export const TRANSCODED_ROUTER_CODECS = (['audio', 'video'] as const).map((kind) =>
  routerCodecOf(TRANSCODED[kind], TRANSCODED_PAYLOAD_TYPES[kind]),
);

/**
 * One medium of a stream. Whoever wants it gets it in the form he can use: WebRTC players through a producer on their
 * router, taps and RTSP players as the source's own RTP.
 */
export interface Track {
  readonly description: TrackDescription;
  /** What WebRTC players get; it differs from the source's codec where that has to be transcoded for them. */
  readonly webRtcCodec: StreamCodec;
  /** WebRTC can't carry the source's codec or the way the source uses it, or no browser decodes it. */
  readonly needsTranscoding: boolean;
  /** Enough of the track has been seen to tell whether it needs transcoding. */
  readonly isKnown: boolean;
  /** Of the packets that `listen` hands on. */
  readonly payloadType: number;
  /** The worker on which a WebRTC player costs least, if it makes a difference. */
  readonly homeWorker: MediaWorker | undefined;
  /** How many copies for other routers there are. */
  readonly pipeCount: number;
  /** Hands on each packet until the returned function is called. */
  listen(listener: PacketListener): Promise<() => void>;
  /** A source that can't make key frames on request ignores it. */
  requestKeyFrame(): void;
  lend(to: RouterLease): Promise<LentTrack>;
  sendTo(address: UdpAddress, options: SendOptions): Promise<SentTrack>;
  close(): void;
}

export const descriptionOf = ({ kind, mimeType, clockRate, channels, parameters }: StreamCodec): TrackDescription => ({
  kind,
  codec: codecNamed(mimeType.split('/')[1] ?? ''),
  clockRate,
  channels: kind === 'audio' ? (channels ?? 1) : 0,
  parameters: Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)])),
});

export const trackInfo = ({ kind, codec, clockRate, channels, parameters }: TrackDescription): TrackInfo =>
  create(TrackInfoSchema, {
    kind: kind === 'video' ? MediaKind.VIDEO : MediaKind.AUDIO,
    codec,
    clockRate,
    channels,
    parameters: { ...parameters },
  });
