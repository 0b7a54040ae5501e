import type { ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Bus } from '@weir/bus';
import {
  EndReason,
  ErrorCode,
  Media,
  MediaEvents,
  MediaKind,
  MediaRtp,
  WeirError,
  type StreamInfoSchema,
  type TapRequest,
  type TrackInfoSchema,
} from '@weir/contracts';
import { parseFmtp } from '@weir/frames';
import { SignsOfLife, spawnTied } from '@weir/platform';
import { waitFor } from '@weir/testing';

type StreamInfoInit = MessageInitShape<typeof StreamInfoSchema>;
type TrackInit = MessageInitShape<typeof TrackInfoSchema>;

/** How a stream is encoded: ffmpeg's arguments for each medium. */
export interface Coding {
  readonly video?: readonly string[];
  readonly audio?: readonly string[];
}

const X264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p'];
export const H264 = [...X264, '-profile:v', 'baseline', '-g', '30'];
export const OPUS = ['-c:a', 'libopus', '-ar', '48000', '-ac', '2', '-b:a', '64k'];
export const AAC = ['-c:a', 'aac', '-ar', '48000', '-ac', '2', '-b:a', '64k', '-flags', '+global_header'];
export const H265 = ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none:keyint=30:bframes=0'];
export const VP8 = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-g', '30', '-b:v', '500k'];
export const JPEG = ['-c:v', 'mjpeg', '-huffman', 'default', '-pix_fmt', 'yuvj420p'];
export const G722 = ['-c:a', 'g722', '-ar', '16000', '-ac', '1'];
export const PCMU = ['-c:a', 'pcm_mulaw', '-ar', '8000', '-ac', '1'];

interface FakeStream {
  readonly coding: Coding;
  readonly size: string;
  readonly tracks: TrackInit[];
  readonly epoch: bigint;
}

interface FakeTap {
  readonly request: TapRequest;
  readonly sender: ChildProcess;
}

const keyOf = (tenant: string, streamName: string): string => `${tenant}/${streamName}`;
const RATE = 30;

/** A media node that keeps the contract. For each tap, an ffmpeg sends a test picture and a tone. */
export class FakeMedia {
  readonly taps = new Map<string, FakeTap>();
  readonly closed: string[] = [];
  keyFrameRequests = 0;
  tapsMade = 0;
  readonly #streams = new Map<string, FakeStream>();
  #epoch = 0n;
  readonly #signsOfLife: SignsOfLife;

  private constructor(
    readonly bus: Bus,
    private readonly folder: string,
  ) {
    const { method } = Media;
    bus.serve(method.findStreams, ({ tenant, streamName }) => ({ streams: this.#info(tenant, streamName) }));
    bus.serve(method.closeSession, ({ sessionId }) => {
      this.closed.push(sessionId);
      this.#endTap(sessionId);
      return {};
    });
    bus.serve(method.getSessionStats, ({ sessionIds }) => ({
      stats: sessionIds.filter((id) => this.taps.has(id)).map((sessionId) => ({ sessionId })),
    }));
    bus.serve(MediaRtp.method.tap, (request) => this.#tap(request));
    bus.serve(MediaRtp.method.requestKeyFrame, () => {
      this.keyFrameRequests += 1;
      return {};
    });
    this.#signsOfLife = new SignsOfLife(bus, 500);
    this.#signsOfLife.begin();
  }

  static async start(natsUrl: string, nodeId = 'media-fake'): Promise<FakeMedia> {
    const bus = await Bus.connect({ url: natsUrl, service: 'media', instanceId: nodeId });
    return new FakeMedia(bus, await mkdtemp(join(tmpdir(), 'weir-fake-media-')));
  }

  /** Publishes a stream, which can be found and tapped from now on. */
  async publish(streamName: string, coding: Coding, { tenant = 'demo', size = '320x240' } = {}): Promise<void> {
    const tracks = await this.#describe(coding, size);
    this.#epoch += 1n;
    this.#streams.set(keyOf(tenant, streamName), { coding, size, tracks, epoch: this.#epoch });
    const [stream] = this.#info(tenant, streamName);
    this.bus.publish(MediaEvents.method.streamChanged, { stream, change: { case: 'started', value: {} } });
  }

  /** The publisher leaves. */
  unpublish(streamName: string, tenant = 'demo'): void {
    const [stream] = this.#info(tenant, streamName);
    this.#streams.delete(keyOf(tenant, streamName));
    for (const [sessionId, { request }] of this.taps) {
      if (keyOf(request.tenant, request.streamName) !== keyOf(tenant, streamName)) continue;
      this.loseTap(sessionId, EndReason.STREAM_ENDED);
    }
    const reason = EndReason.CLIENT;
    this.bus.publish(MediaEvents.method.streamChanged, { stream, change: { case: 'ended', value: { reason } } });
  }

  loseTap(sessionId: string, reason = EndReason.NODE_LOST): void {
    const ownerId = this.taps.get(sessionId)?.request.ownerId;
    if (ownerId === undefined) throw new Error(`there is no tap ${sessionId}`);
    this.#endTap(sessionId);
    const change = { case: 'ended' as const, value: { reason } };
    this.bus.publish(MediaEvents.method.sessionChanged, { ownerId, sessionId, change });
  }

  /** Behaves like a killed node: it sends no event, no packet and no sign of life. */
  die(): void {
    this.#signsOfLife.fallSilent();
    this.#streams.clear();
    for (const sessionId of [...this.taps.keys()]) this.#endTap(sessionId);
  }

  live(): void {
    this.#signsOfLife.begin();
  }

  tapsOf(streamName: string): FakeTap[] {
    return [...this.taps.values()].filter(({ request }) => request.streamName === streamName);
  }

  async stop(): Promise<void> {
    this.die();
    await this.bus.drain({ graceMs: 200 });
    await rm(this.folder, { recursive: true, force: true });
  }

  #info(tenant: string, streamName: string): StreamInfoInit[] {
    return [...this.#streams]
      .filter(([key]) => (streamName === '' ? key.startsWith(`${tenant}/`) : key === keyOf(tenant, streamName)))
      .map(([key, { epoch, tracks }]) => ({
        tenant,
        streamName: key.slice(tenant.length + 1),
        nodeId: this.bus.instanceId,
        epoch,
        tracks,
        ready: true,
      }));
  }

  #tap(request: TapRequest) {
    const { tenant, streamName, sessionId } = request;
    const stream = this.#streams.get(keyOf(tenant, streamName));
    if (stream === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream');
    this.tapsMade += 1;
    const destinations = stream.tracks.map(({ kind }) => {
      const address = kind === MediaKind.VIDEO ? request.video : request.audio;
      return `rtp://${address?.ip}:${address?.port}?pkt_size=1200&rtcpport=${address?.port}`;
    });
    const sender = this.#send(stream, destinations, undefined);
    this.taps.set(sessionId, { request, sender });
    const [info] = this.#info(tenant, streamName);
    return { tracks: stream.tracks.map((track) => ({ track })), stream: info };
  }

  #endTap(sessionId: string): void {
    this.taps.get(sessionId)?.sender.kill('SIGKILL');
    this.taps.delete(sessionId);
  }

  #send({ coding, size }: Pick<FakeStream, 'coding' | 'size'>, destinations: string[], sdpFile: string | undefined) {
    const { video, audio } = coding;
    const kinds = [...(video ? (['v'] as const) : []), ...(audio ? (['a'] as const) : [])];
    const inputs = kinds.flatMap((kind) => [
      ...['-re', '-f', 'lavfi', '-i'],
      kind === 'v' ? `testsrc2=s=${size}:r=${RATE}` : 'sine=f=440:r=48000',
    ]);
    const outputs = kinds.flatMap((kind, index) => [
      ...['-map', `${index}:${kind}`, ...((kind === 'v' ? video : audio) ?? []), '-f', 'rtp'],
      destinations[index] ?? '',
    ]);
    const sdp = sdpFile === undefined ? [] : ['-sdp_file', sdpFile];
    return spawnTied('ffmpeg', ['-v', 'fatal', '-nostdin', ...inputs, ...sdp, ...outputs], { stdio: 'ignore' });
  }

  /** The tracks of such a stream, from the SDP that ffmpeg writes for it. */
  async #describe(coding: Coding, size: string): Promise<TrackInit[]> {
    const file = join(this.folder, `${Math.random()}.sdp`);
    const sink = createSocket('udp4');
    await new Promise<void>((resolve) => sink.bind(0, '127.0.0.1', resolve));
    const { port } = sink.address();
    const destinations = [0, 1].map(() => `rtp://127.0.0.1:${port}?rtcpport=${port}`);
    const sender = this.#send({ coding, size }, destinations, file);
    try {
      const text = await waitFor(
        () => {
          const read = readFileSync(file, 'utf8');
          return read.split(/^m=/m).length - 1 === Object.keys(coding).length && read;
        },
        { what: 'a session description' },
      );
      return text.split(/^m=/m).slice(1).map(trackOf);
    } finally {
      sender.kill('SIGKILL');
      sink.close();
    }
  }
}

/** Payload types that need no rtpmap line (RFC 3551). */
const STATIC_TYPES: Readonly<Record<string, string>> = { '0': 'PCMU', '9': 'G722', '26': 'JPEG' };

function trackOf(media: string): TrackInit {
  const [, payloadType = ''] = /^\w+ \d+ RTP\/AVP (\d+)/.exec(media) ?? [];
  const [, codec = STATIC_TYPES[payloadType] ?? '', clockRate, channels] =
    /a=rtpmap:\d+ ([^/\s]+)\/(\d+)(?:\/(\d+))?/.exec(media) ?? [];
  const isVideo = media.startsWith('video');
  return {
    kind: isVideo ? MediaKind.VIDEO : MediaKind.AUDIO,
    codec,
    clockRate: Number(clockRate ?? (isVideo ? 90_000 : 8_000)),
    channels: isVideo ? 0 : Number(channels ?? 1),
    parameters: parseFmtp(/a=fmtp:\d+ (.*)/.exec(media)?.[1]?.trim() ?? ''),
  };
}
