import type { StreamInfo, EndReason, StreamSignal } from '@weir/contracts';
import { VideoMeter, type StreamCodec } from '@weir/media-core';
import type { types as mediasoup } from 'mediasoup';
import type { RouterLease } from './worker-pool.js';

/** One medium of a stream, where its source delivers it. */
export interface Track {
  codec: StreamCodec;
  producer: mediasoup.Producer;
}

/** Where a stream's media come from. The stream closes it when it ends. */
export interface StreamSource {
  readonly tracks: readonly Track[];
  /** The router that the tracks' producers stand on. */
  readonly home: RouterLease;
  /** The source can't be heard at this moment; somebody else may take the name. */
  readonly broken: boolean;
  close(): void;
}

/** Whoever is told of a stream's fate: its players, and its source's session. */
export interface StreamListener {
  onStreamEnded(reason: EndReason): void;
  onVideoSize(width: number, height: number): void;
  onSignal(signal: StreamSignal): void;
}

/** A track as it can be consumed on some router. */
export interface LentTrack {
  producerId: string;
  release(): void;
}

interface Pipe {
  lent: Promise<{ producerId: string; close(): void }>;
  users: number;
}

export interface StreamOptions {
  info: StreamInfo;
  source: StreamSource;
  nowMs(): number;
  /** `info` has changed in a way that the registry should know. */
  onChanged(stream: Stream): void;
  onEnded(stream: Stream, reason: EndReason): void;
}

/**
 * A published stream on this node. Its tracks stand on the source's router; for players whose router is another one,
 * because of their payload types or their worker, each track is piped there once.
 */
export class Stream {
  readonly info: StreamInfo;
  readonly source: StreamSource;
  /** Of the video track, if there is one. */
  readonly videoMeter: VideoMeter | undefined;
  readonly startedMs: number;
  private readonly pipes = new Map<string, Pipe>();
  private readonly listeners = new Set<StreamListener>();
  private watch: mediasoup.DirectTransport | undefined;
  private videoPacketListeners = new Set<(packet: Buffer) => void>();
  private videoConsumer: mediasoup.Consumer | undefined;
  private ended = false;
  private fps = 0;

  constructor(private readonly options: StreamOptions) {
    this.info = options.info;
    this.source = options.source;
    this.startedMs = options.nowMs();
    const video = this.track('video');
    if (video !== undefined) this.videoMeter = new VideoMeter(codecNameOf(video.codec));
  }

  track(kind: mediasoup.MediaKind): Track | undefined {
    return this.source.tracks.find(({ codec }) => codec.kind === kind);
  }

  get listenerCount(): number {
    return this.listeners.size;
  }

  addListener(listener: StreamListener): void {
    this.listeners.add(listener);
  }

  removeListener(listener: StreamListener): void {
    this.listeners.delete(listener);
  }

  /**
   * Looks at the video's packets: their frames are counted, and a change of their size is told to everybody. The
   * packets come through a direct transport, some 200 a second for 2 Mbit/s.
   */
  async watchVideo(): Promise<void> {
    const video = this.track('video');
    if (video === undefined) return;
    const { router } = this.source.home;
    this.watch = await router.createDirectTransport();
    this.videoConsumer = await this.watch.consume({
      producerId: video.producer.id,
      rtpCapabilities: router.rtpCapabilities,
    });
    this.videoConsumer.on('rtp', (packet) => this.onVideoPacket(packet));
  }

  /** Frames a second, over the time since the last whole second that was measured. */
  get videoFps(): number {
    return this.fps;
  }

  /** Takes the measure of the last interval; called about once a second. */
  measure(nowMs: number): void {
    this.fps = this.videoMeter?.sample(nowMs).fps ?? 0;
  }

  /** Hands on each video packet until the returned function is called. */
  onVideoPackets(listener: (packet: Buffer) => void): () => void {
    this.videoPacketListeners.add(listener);
    return () => this.videoPacketListeners.delete(listener);
  }

  async requestKeyFrame(): Promise<void> {
    await this.videoConsumer?.requestKeyFrame();
  }

  /** The source's media flow. */
  markReady(): void {
    if (this.info.ready || this.ended) return;
    this.info.ready = true;
    this.options.onChanged(this);
  }

  signal(signal: StreamSignal): void {
    const { kind } = signal;
    switch (kind.case) {
      case 'audioMuted':
        this.info.audioMuted = kind.value;
        this.options.onChanged(this);
        break;
      case 'videoMuted':
        this.info.videoMuted = kind.value;
        this.options.onChanged(this);
        break;
      case 'dataJson':
      case undefined:
        break;
      default:
        kind satisfies never;
    }
    for (const listener of this.listeners) listener.onSignal(signal);
  }

  /** The track on the given router, piped there if it isn't at home on it. */
  async lend(track: Track, to: RouterLease): Promise<LentTrack> {
    const home = this.source.home.router;
    if (to.router.id === home.id) return { producerId: track.producer.id, release: () => undefined };
    const key = `${to.router.id}/${track.producer.id}`;
    let pipe = this.pipes.get(key);
    if (pipe === undefined) {
      pipe = { lent: pipeTrack(home, track, to), users: 0 };
      this.pipes.set(key, pipe);
    }
    const used = pipe;
    used.users += 1;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      used.users -= 1;
      if (used.users > 0) return;
      if (this.pipes.get(key) === used) this.pipes.delete(key);
      used.lent.then(
        (lent) => lent.close(),
        () => undefined, // whoever asked for the track has met the error
      );
    };
    try {
      return { producerId: (await used.lent).producerId, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  get pipeCount(): number {
    return this.pipes.size;
  }

  /** Ends the stream for everybody. Idempotent. */
  end(reason: EndReason): void {
    if (this.ended) return;
    this.ended = true;
    const listeners = [...this.listeners];
    this.listeners.clear();
    this.watch?.close();
    this.options.onEnded(this, reason);
    for (const listener of listeners) listener.onStreamEnded(reason);
    this.source.close();
  }

  private onVideoPacket(packet: Buffer): void {
    for (const listener of this.videoPacketListeners) listener(packet);
    const meter = this.videoMeter;
    if (meter?.feed(packet, this.options.nowMs()) !== true) return;
    this.info.width = meter.width;
    this.info.height = meter.height;
    this.options.onChanged(this);
    for (const listener of this.listeners) listener.onVideoSize(meter.width, meter.height);
  }
}

async function pipeTrack(home: mediasoup.Router, track: Track, to: RouterLease) {
  const { pipeConsumer, pipeProducer } = await home.pipeToRouter({
    producerId: track.producer.id,
    router: to.router,
    // Two routers of one worker can't hold the same producer id.
    keepId: false,
  });
  if (pipeProducer === undefined) throw new Error('mediasoup made no pipe producer');
  return {
    producerId: pipeProducer.id,
    close: () => {
      pipeConsumer?.close();
      pipeProducer.close();
    },
  };
}

const VIDEO_CODECS = ['H264', 'VP8', 'VP9', 'AV1'] as const;

function codecNameOf(codec: StreamCodec): (typeof VIDEO_CODECS)[number] {
  const subtype = codec.mimeType.split('/')[1]?.toUpperCase();
  const name = VIDEO_CODECS.find((candidate) => candidate === subtype);
  if (name === undefined) throw new Error(`no video codec: ${codec.mimeType}`);
  return name;
}
