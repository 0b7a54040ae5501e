import { create } from '@bufbuild/protobuf';
import { MediaKind, TrackInfoSchema, type TrackInfo } from '@weir/contracts';
import { codecNamed, type RtpPacket, type TrackDescription } from '@weir/frames';
import type { StreamCodec } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import type { MediaWorker, RouterLease } from './worker-pool.js';

export interface PacketListener {
  onRtp(packet: RtpPacket): void;
  /** Gets compound RTCP of the source. Only its sender reports matter. */
  onRtcp?(packet: Buffer): void;
}

/** A track that a WebRTC transport on one router can consume. */
export interface LentTrack {
  producerId: string;
  /** Called when the consumer exists and its transport is connected, so that packets arrive from now on. */
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
  /** Resolves when all packets of the past have been sent. */
  caughtUp: Promise<void>;
  close(): void;
}

export interface SendOptions {
  /** Whether to begin with the packets since the last key frame, if that isn't long ago. */
  fromKeyFrame: boolean;
  /** The packets of the past are sent after this. */
  after?: Promise<void>;
}

/** Transcodes all tracks of one stream to codecs that WebRTC can carry. */
export interface Transcoding {
  /** Lends the transcoded track on one router. The transcoding lasts as long as the track is lent. */
  lend(track: Track, to: RouterLease): Promise<LentTrack>;
}

/** The codecs that ffmpeg produces for WebRTC. */
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

/** For a producer of media that this platform itself numbers. */
export const producerOptionsOf = (
  codec: StreamCodec,
  { payloadType, ssrc, cname }: { readonly payloadType: number; readonly ssrc: number; readonly cname: string },
  rtcpFeedback: mediasoup.RtcpFeedback[] = [],
): mediasoup.ProducerOptions => ({
  kind: codec.kind,
  rtpParameters: {
    codecs: [
      {
        mimeType: codec.mimeType as mediasoup.RtpCodecParameters['mimeType'],
        clockRate: codec.clockRate,
        ...(codec.channels === undefined ? {} : { channels: codec.channels }),
        parameters: codec.parameters,
        payloadType,
        rtcpFeedback,
      },
    ],
    encodings: [{ ssrc }],
    rtcp: { cname },
  },
});

export const TRANSCODED_PAYLOAD_TYPES = { video: 96, audio: 97 } as const;

/** The codecs of routers for transcoded media. They are always both, because either may be needed first. */
export const TRANSCODED_ROUTER_CODECS = (['audio', 'video'] as const).map((kind) =>
  routerCodecOf(TRANSCODED[kind], TRANSCODED_PAYLOAD_TYPES[kind]),
);

/**
 * One medium of a stream. WebRTC players get it from a producer on their router. Taps and RTSP players get the source's
 * own RTP.
 */
export interface Track {
  readonly description: TrackDescription;
  /** The codec that WebRTC players get. It differs from the source's codec when that must be transcoded for them. */
  readonly webRtcCodec: StreamCodec;
  /** Whether WebRTC can't carry the source's codec or the way the source uses it, or no browser decodes it. */
  readonly needsTranscoding: boolean;
  /** Whether enough of the track has been seen to tell whether it needs transcoding. */
  readonly isKnown: boolean;
  /** The payload type of the packets that `listen` passes on. */
  readonly payloadType: number;
  /** The worker on which a WebRTC player costs least, if workers differ. */
  readonly homeWorker: MediaWorker | undefined;
  /** The number of copies for other routers. */
  readonly pipeCount: number;
  /** Passes each packet to the listener until the returned function is called. */
  listen(listener: PacketListener): Promise<() => void>;
  /** A source that can't make key frames on request ignores this. */
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
