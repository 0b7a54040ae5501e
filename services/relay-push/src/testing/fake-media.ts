import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import { Bus, type Registration } from '@weir/bus';
import {
  EndReason,
  ErrorCode,
  Media,
  MediaEvents,
  MediaKind,
  MediaRtp,
  WeirError,
  type IngestRequest,
} from '@weir/contracts';
import { isRtcp, RtpPacket } from '@weir/frames';
import { SignsOfLife } from '@weir/platform';

export type Kind = 'audio' | 'video';

const TRACKS = {
  audio: {
    payloadType: 101,
    ssrc: 1_111,
    track: { kind: MediaKind.AUDIO, codec: 'opus', clockRate: 48_000, channels: 2, parameters: { useinbandfec: '1' } },
  },
  video: {
    payloadType: 105,
    ssrc: 2_222,
    track: {
      kind: MediaKind.VIDEO,
      codec: 'H264',
      clockRate: 90_000,
      channels: 0,
      parameters: { 'packetization-mode': '1', 'profile-level-id': '42e01f' },
    },
  },
} as const;

interface Tap {
  readonly streamName: string;
  readonly ownerId: string;
  readonly to: Readonly<Record<Kind, { ip: string; port: number } | undefined>>;
}

/** A codec as the media core describes it, with the clock rate of its RTP. */
type Described = Readonly<Record<Kind, readonly [codec: string, clockRate: number]>>;

interface Feed {
  readonly request: IngestRequest;
  readonly sockets: readonly Socket[];
  readonly received: Buffer[][];
  from: ({ port: number; address: string } | undefined)[];
}

const described = (kind: Kind, source: Described | undefined) => {
  if (source === undefined) return TRACKS[kind];
  const [codec, clockRate] = source[kind];
  return { ...TRACKS[kind], track: { kind: TRACKS[kind].track.kind, codec, clockRate, channels: 0, parameters: {} } };
};

const openSocket = (): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
    socket.bind(0, '127.0.0.1', () => resolve(socket));
  });

/**
 * A stand-in for a media node, on a real bus. One ffmpeg sends the RTP of its streams; it records the packets that are
 * fed to it.
 */
export class FakeMedia {
  readonly taps = new Map<string, Tap>();
  readonly feeds = new Map<string, Feed>();
  /** The payloads that were sent to taps, as hex, by sequence number. */
  readonly sent: Record<Kind, Map<number, string>> = { audio: new Map(), video: new Map() };
  keyFrameRequests = 0;
  readonly signals: string[] = [];
  /** The codecs that the source claims to have, whatever its packets hold; undefined: the real ones. */
  source: Described | undefined;
  /** Whether the source's codecs don't fit WebRTC, so that a tap gets transcoded H.264 and Opus. */
  transcodes = false;
  /** The error with which a tap is refused because nothing of the source can be transcoded for WebRTC. */
  tapRefusal: WeirError | undefined;
  /** Media of the source that no tap gets. */
  notCarried: string[] = [];
  readonly #streams = new Set<string>();
  readonly #registrations: Registration[] = [];
  #ffmpeg: ChildProcess | undefined;
  #sources: Socket[] = [];
  readonly #signsOfLife: SignsOfLife;

  private constructor(private readonly bus: Bus) {
    this.#signsOfLife = new SignsOfLife(bus);
  }

  static async start(natsUrl: string): Promise<FakeMedia> {
    const instanceId = `media-${randomUUID().slice(0, 8)}`;
    const media = new FakeMedia(await Bus.connect({ url: natsUrl, service: 'media', instanceId }));
    await media.#begin();
    return media;
  }

  get nodeId(): string {
    return this.bus.instanceId;
  }

  publish(streamName: string): void {
    this.#streams.add(streamName);
  }

  endStream(streamName: string, reason: EndReason): void {
    this.#streams.delete(streamName);
    for (const [sessionId, tap] of this.taps) {
      if (tap.streamName !== streamName) continue;
      this.taps.delete(sessionId);
      this.#tellEnd(sessionId, tap.ownerId, reason);
    }
  }

  endFeed(streamName: string, reason: EndReason): void {
    const feed = this.feeds.get(streamName);
    if (feed === undefined) return;
    this.#closeFeed(streamName);
    this.#tellEnd(feed.request.sessionId, feed.request.ownerId, reason);
  }

  /** Sends RTCP from the media core to the client that feeds a stream. */
  sendToFeeder(streamName: string, index: number, packet: Buffer): void {
    const feed = this.feeds.get(streamName);
    const from = feed?.from[index];
    if (from !== undefined) feed?.sockets[index]?.send(packet, from.port, from.address);
  }

  async stop(): Promise<void> {
    this.#signsOfLife.fallSilent();
    this.#ffmpeg?.kill('SIGKILL');
    for (const socket of this.#sources) socket.close();
    for (const name of [...this.feeds.keys()]) this.#closeFeed(name);
    await Promise.all(this.#registrations.map((registration) => registration.close()));
    await this.bus.drain();
  }

  async #begin(): Promise<void> {
    this.#serve();
    this.#signsOfLife.begin();
    this.#sources = [await openSocket(), await openSocket()];
    for (const [index, kind] of (['audio', 'video'] as const).entries())
      this.#sources[index]?.on('message', (packet) => this.#forward(kind, packet));
    const [audio = 0, video = 0] = this.#sources.map((socket) => (socket.address() as AddressInfo).port);
    const rtp = (port: number) => ['-f', 'rtp', `rtp://127.0.0.1:${port}?pkt_size=1200`];
    this.#ffmpeg = spawn(
      'ffmpeg',
      [
        ...['-loglevel', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=30'],
        ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'],
        ...['-map', '1:a', '-c:a', 'libopus', '-ac', '2', '-ssrc', '1111', '-payload_type', '101', ...rtp(audio)],
        ...['-map', '0:v', '-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'ultrafast', '-tune', 'zerolatency'],
        ...['-g', '30', '-b:v', '500k', '-ssrc', '2222', '-payload_type', '105', ...rtp(video)],
      ],
      { stdio: 'ignore' },
    );
  }

  #forward(kind: Kind, packet: Buffer): void {
    const rtp = isRtcp(packet) ? undefined : RtpPacket.parse(packet);
    if (rtp !== undefined) this.sent[kind].set(rtp.sequenceNumber, Buffer.from(rtp.payload).toString('hex'));
    for (const tap of this.taps.values()) {
      const to = tap.to[kind];
      if (to !== undefined) this.#sources[kind === 'audio' ? 0 : 1]?.send(packet, to.port, to.ip);
    }
  }

  #serve(): void {
    const { bus } = this;
    this.#registrations.push(
      bus.serve(Media.method.findStreams, ({ tenant, streamName }) => ({
        streams: [...this.#streams, ...this.feeds.keys()]
          .filter((name) => streamName === '' || name === streamName)
          .map((name) => ({ tenant, streamName: name, nodeId: this.nodeId, ready: true })),
      })),
      bus.serve(MediaRtp.method.tap, ({ sessionId, streamName, ownerId, audio, video, forWebrtc }) => {
        if (!this.#streams.has(streamName)) throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream');
        if (this.tapRefusal !== undefined) throw this.tapRefusal;
        this.taps.set(sessionId, { streamName, ownerId, to: { audio, video } });
        const source = this.transcodes && forWebrtc ? undefined : this.source;
        const stream = { streamName, nodeId: this.nodeId, ready: true, notCarried: this.notCarried };
        return { tracks: [described('audio', source), described('video', source)], stream };
      }),
      bus.serve(MediaRtp.method.requestKeyFrame, () => {
        this.keyFrameRequests += 1;
        return {};
      }),
      bus.serve(MediaRtp.method.ingest, (request) => this.#ingest(request)),
      bus.serve(Media.method.signal, ({ signal }) => {
        this.signals.push(`${signal?.kind.case} ${String(signal?.kind.value)}`);
        return {};
      }),
      bus.serve(Media.method.getSessionStats, ({ sessionIds }) => {
        const fed = [...this.feeds.values()].map(({ request }) => request.sessionId);
        const known = new Set([...this.taps.keys(), ...fed]);
        return { stats: sessionIds.filter((id) => known.has(id)).map((sessionId) => ({ sessionId })) };
      }),
      bus.serve(Media.method.closeSession, ({ sessionId }) => {
        this.taps.delete(sessionId);
        for (const [name, feed] of this.feeds) if (feed.request.sessionId === sessionId) this.#closeFeed(name);
        return {};
      }),
    );
  }

  async #ingest(request: IngestRequest) {
    const { streamName, source } = request;
    if (this.#streams.has(streamName) || this.feeds.has(streamName))
      throw new WeirError(ErrorCode.ALREADY_EXISTS, 'the name is taken');
    if (source.case !== 'rtpFeed') throw new WeirError(ErrorCode.INVALID, 'not a feed');
    const sockets = await Promise.all(source.value.tracks.map(openSocket));
    const feed: Feed = { request, sockets, received: sockets.map(() => []), from: sockets.map(() => undefined) };
    for (const [index, socket] of sockets.entries())
      socket.on('message', (packet, { port, address }) => {
        feed.received[index]?.push(packet);
        feed.from[index] = { port, address };
      });
    this.feeds.set(streamName, feed);
    return {
      nodeId: this.nodeId,
      rtpAddresses: sockets.map((socket) => ({ ip: '127.0.0.1', port: (socket.address() as AddressInfo).port })),
    };
  }

  #closeFeed(streamName: string): void {
    for (const socket of this.feeds.get(streamName)?.sockets ?? []) socket.close();
    this.feeds.delete(streamName);
  }

  #tellEnd(sessionId: string, ownerId: string, reason: EndReason): void {
    this.bus.publish(MediaEvents.method.sessionChanged, {
      ownerId,
      sessionId,
      change: { case: 'ended', value: { reason } },
    });
  }
}
