import { create } from '@bufbuild/protobuf';
import { MediaKind, TrackInfoSchema, type TrackInfo } from '@weir/contracts';
import type { StreamCodec } from '@weir/media-core';
import type { types as mediasoup } from 'mediasoup';
import type { MediaWorker, RouterLease } from './worker-pool.js';

/** One medium as its source sends it: what SDP would say of it. */
export interface TrackDescription {
  kind: mediasoup.MediaKind;
  /** As in SDP's rtpmap: opus, PCMU, PCMA, MPEG4-GENERIC, H264, H265, VP8, VP9, AV1. */
  codec: string;
  clockRate: number;
  /** 0 for video. */
  channels: number;
  /** SDP's fmtp parameters. */
  parameters: Readonly<Record<string, string>>;
}

export interface PacketListener {
  onRtp(packet: Buffer): void;
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

/**
 * One medium of a stream. Whoever wants it gets it in the form he can use: WebRTC players through a producer on their
 * router, taps and RTSP players as the source's own RTP.
 */
export interface Track {
  readonly description: TrackDescription;
  /** What WebRTC players get; it differs from the source's codec where that has to be transcoded for them. */
  readonly webRtcCodec: StreamCodec;
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

export const trackInfo = ({ kind, codec, clockRate, channels, parameters }: TrackDescription): TrackInfo =>
  create(TrackInfoSchema, {
    kind: kind === 'video' ? MediaKind.VIDEO : MediaKind.AUDIO,
    codec,
    clockRate,
    channels,
    parameters: { ...parameters },
  });
