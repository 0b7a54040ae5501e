import { randomUUID } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import type { ChildProcess } from 'node:child_process';
import { Bus } from '@weir/bus';
import {
  EndReason,
  ErrorCode,
  InstanceProbe,
  Media,
  MediaEvents,
  MediaKind,
  MediaRtp,
  WeirError,
  type TapRequest,
} from '@weir/contracts';
import { isRtcp } from '@weir/frames';
import { SignsOfLife, spawnTied } from '@weir/platform';
import { waitFor } from '@weir/testing';

const AUDIO = {
  track: { kind: MediaKind.AUDIO, codec: 'opus', clockRate: 48_000, channels: 2, parameters: {} },
  payloadType: 101,
  ssrc: 1_111,
};
const VIDEO = {
  VP8: {
    track: { kind: MediaKind.VIDEO, codec: 'VP8', clockRate: 90_000, channels: 0, parameters: {} },
    encoder: ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '300k'],
  },
  H264: {
    track: {
      ...{ kind: MediaKind.VIDEO, codec: 'H264', clockRate: 90_000, channels: 0 },
      parameters: { 'packetization-mode': '1', 'profile-level-id': '42e01f' },
    },
    encoder: ['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'ultrafast', '-tune', 'zerolatency'],
  },
} as const;

export type VideoCodec = keyof typeof VIDEO;
type Kind = 'audio' | 'video';

/** A media node that keeps the contract. One ffmpeg sends the picture and the tone of all its streams. */
export class MediaNode {
  readonly taps = new Map<string, TapRequest>();
  /** The names of the streams of all taps so far. */
  readonly tapped: string[] = [];
  /** Whether nothing arrives from its streams' sources. */
  isSilent = false;
  readonly #streams = new Set<string>();
  /** The streams' names, by the sessions that publish them. */
  readonly #publishers = new Map<string, string>();
  #packets = 0;
  /** This many of the next video packets don't arrive. */
  #losing = 0;
  #isOver = false;
  readonly #signsOfLife: SignsOfLife;

  private constructor(
    private readonly bus: Bus,
    private readonly codec: VideoCodec,
    private readonly sockets: Readonly<Record<Kind, Socket>>,
    private readonly sender: ChildProcess,
  ) {
    this.#signsOfLife = new SignsOfLife(bus, 500);
  }

  static async start(natsUrl: string, codec: VideoCodec = 'VP8'): Promise<MediaNode> {
    const bus = await Bus.connect({ url: natsUrl, service: 'media', instanceId: `media-${randomUUID().slice(0, 8)}` });
    const sockets = { audio: await bound(), video: await bound() };
    const to = (socket: Socket) => ['-f', 'rtp', `rtp://127.0.0.1:${socket.address().port}?pkt_size=1200`];
    const sender = spawnTied(
      'ffmpeg',
      [
        ...['-v', 'fatal', '-nostdin', '-re', '-f', 'lavfi', '-i', 'testsrc2=s=320x240:r=30'],
        ...['-re', '-f', 'lavfi', '-i', 'sine=f=440:r=48000', '-map', '1:a', '-c:a', 'libopus', '-ac', '2'],
        ...['-ssrc', '1111', '-payload_type', '101', ...to(sockets.audio)],
        ...['-map', '0:v', ...VIDEO[codec].encoder, '-g', '15', '-ssrc', '2222', '-payload_type', '105'],
        ...to(sockets.video),
      ],
      { stdio: 'ignore' },
    );
    const node = new MediaNode(bus, codec, sockets, sender);
    node.#serve();
    await waitFor(() => node.#packets > 50, { what: 'packets from ffmpeg', timeoutMs: 25_000 });
    return node;
  }

  publish(streamName: string): void {
    this.#streams.add(streamName);
    this.bus.publish(MediaEvents.method.streamChanged, {
      ...{ stream: this.#info(streamName), change: { case: 'started', value: {} } },
    });
  }

  endStream(streamName: string, reason = EndReason.STREAM_ENDED): void {
    this.#streams.delete(streamName);
    for (const [sessionId, tap] of this.taps) {
      if (tap.streamName !== streamName) continue;
      this.taps.delete(sessionId);
      const change = { case: 'ended' as const, value: { reason } };
      this.bus.publish(MediaEvents.method.sessionChanged, { ownerId: tap.ownerId, sessionId, change });
    }
  }

  loseVideo(packets: number): void {
    this.#losing = packets;
  }

  async stop(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#signsOfLife.fallSilent();
    this.sender.kill('SIGKILL');
    this.sockets.audio.close();
    this.sockets.video.close();
    await this.bus.drain({ graceMs: 200 });
  }

  #serve(): void {
    const { bus } = this;
    this.#signsOfLife.begin();
    for (const kind of ['audio', 'video'] as const)
      this.sockets[kind].on('message', (packet) => this.#forward(kind, packet));
    bus.serve(Media.method.findStreams, ({ streamName }) => ({
      streams: [...this.#streams]
        .filter((name) => streamName === '' || name === streamName)
        .map((name) => this.#info(name)),
    }));
    bus.serve(InstanceProbe.method.answer, () => ({}));
    bus.serve(Media.method.publish, ({ sessionId, streamName, offerSdp }) => {
      this.#publishers.set(sessionId, streamName);
      this.publish(streamName);
      return {
        ...{ nodeId: bus.instanceId, answerSdp: `answer to ${offerSdp}` },
        codecs: { audio: 'opus', video: this.codec },
      };
    });
    bus.serve(Media.method.closeSession, ({ sessionId }) => {
      this.taps.delete(sessionId);
      const published = this.#publishers.get(sessionId);
      this.#publishers.delete(sessionId);
      if (published !== undefined) this.endStream(published);
      return {};
    });
    bus.serve(Media.method.getSessionStats, ({ sessionIds }) => ({
      stats: sessionIds
        .filter((id) => this.taps.has(id) || this.#publishers.has(id))
        .map((sessionId) => ({ sessionId })),
    }));
    bus.serve(MediaRtp.method.requestKeyFrame, () => ({}));
    bus.serve(MediaRtp.method.tap, (request) => {
      if (!this.#streams.has(request.streamName)) throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream');
      this.taps.set(request.sessionId, request);
      this.tapped.push(request.streamName);
      const video = { track: VIDEO[this.codec].track, payloadType: 105, ssrc: 2_222 };
      // The further videos of a session have no sound of their own.
      const isFurther = /\/\d$/.test(request.streamName);
      return { tracks: isFurther ? [video] : [AUDIO, video], stream: this.#info(request.streamName) };
    });
  }

  #info(streamName: string) {
    return { tenant: 'house', streamName, nodeId: this.bus.instanceId, epoch: 1n, ready: true };
  }

  #forward(kind: Kind, packet: Buffer): void {
    if (!isRtcp(packet)) this.#packets += 1;
    if (this.isSilent) return;
    if (kind === 'video' && this.#losing > 0) {
      this.#losing -= 1;
      return;
    }
    for (const tap of this.taps.values()) {
      const to = tap[kind];
      if (to !== undefined) this.sockets[kind].send(packet, to.port, to.ip);
    }
  }
}

const bound = (): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
    socket.bind(0, '127.0.0.1', () => resolve(socket));
  });
