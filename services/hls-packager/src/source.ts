import type { Socket } from 'node:dgram';
import { randomUUID } from 'node:crypto';
import { ErrorCode, MediaKind, WeirError, type StreamInfo, type TappedTrack } from '@weir/contracts';
import { codecNamed, describeTooLarge, isTooLargeToDecode, type TrackDescription } from '@weir/frames';
import { awakeNowMs, type Logger } from '@weir/platform';
import type { MediaClient } from './media-client.js';
import { EMPTY_PLAN, needsTranscoding, planStream, type StreamPlan } from './track-plan.js';
import { Transcoder, type MediumKind } from './transcoder.js';
import { bindUdp } from './udp-sockets.js';

export interface SourcePorts {
  media: MediaClient;
  log: Logger;
  rtpAddress: string;
  opus: 'keep' | 'aac';
  segmentMs: number;
  ffmpegBin: string;
  /** Reserves a place for a transcoder and returns what gives it back; undefined when there is none left. */
  reserveTranscode: () => (() => void) | undefined;
}

export interface SourceListener {
  /** RTP or RTCP of a medium, as it shall be packaged. */
  onPacket(kind: MediumKind, packet: Buffer): void;
  /** The source can't go on. */
  onLost(): void;
}

/** Packets that come before it is known what they are. */
const MAX_EARLY_PACKETS = 2_000;

type Sockets = Readonly<Record<MediumKind, Socket>>;

/** A stream's RTP on its way from a media node to this instance. */
export class Source {
  readonly sessionId: string;
  readonly nodeId: string;
  readonly epoch: bigint;
  /** When the last packet came, by `awakeNowMs()`. */
  lastPacketMs = awakeNowMs();
  #transcoder: Transcoder | undefined;
  #giveBack: (() => void) | undefined;
  #plan: StreamPlan | undefined;
  #early: [MediumKind, Buffer][] = [];
  #started = false;
  #closed = false;

  private constructor(
    private readonly ports: SourcePorts,
    private readonly stream: StreamInfo,
    private readonly listener: SourceListener,
    private readonly sockets: Sockets,
  ) {
    this.sessionId = `hls-${randomUUID()}`;
    this.nodeId = stream.nodeId;
    this.epoch = stream.epoch;
    for (const kind of ['video', 'audio'] as const) {
      sockets[kind].on('message', (packet) => this.#receive(kind, packet));
      sockets[kind].on('error', (error) => ports.log.warn({ err: error }, 'an RTP socket failed'));
    }
  }

  /** Throws NOT_FOUND, NO_COMMON_CODECS, EXHAUSTED, and whatever a call may. */
  static async open(ports: SourcePorts, stream: StreamInfo, listener: SourceListener): Promise<Source> {
    const video = await bindUdp(ports.rtpAddress);
    const audio = await bindUdp(ports.rtpAddress).catch((error: unknown) => {
      video.close();
      throw error;
    });
    const source = new Source(ports, stream, listener, { video, audio });
    try {
      await source.#tap();
      return source;
    } catch (error) {
      source.close();
      throw error;
    }
  }

  get plan(): StreamPlan {
    return this.#plan ?? EMPTY_PLAN;
  }

  get transcodes(): boolean {
    return this.#transcoder !== undefined;
  }

  requestKeyFrame(): void {
    this.ports.media.requestKeyFrame(this.stream);
  }

  /** Hands out what came before somebody was there to take it. */
  start(): void {
    const early = this.#early;
    this.#early = [];
    this.#started = true;
    for (const [kind, packet] of early) this.#handOn(kind, packet);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#early = [];
    this.ports.media.closeSession(this.nodeId, this.sessionId);
    this.#transcoder?.close();
    this.#giveBack?.();
    this.sockets.video.close();
    this.sockets.audio.close();
  }

  async #tap(): Promise<void> {
    const { media, opus, rtpAddress: ip } = this.ports;
    const { tracks } = await media.tap(this.stream, this.sessionId, {
      video: { ip, port: this.sockets.video.address().port },
      audio: { ip, port: this.sockets.audio.address().port },
    });
    const plan = planStream(tracks.flatMap(descriptionOf), opus);
    const notCarried = [...this.stream.notCarried, ...plan.notCarried];
    if (plan.video === undefined && plan.audio === undefined) {
      const message = ['The stream has nothing that can be packaged', ...notCarried].join('; ');
      throw new WeirError(ErrorCode.NO_COMMON_CODECS, message);
    }
    if (plan.video?.tag === 'transcode' && isTooLargeToDecode(this.stream))
      throw new WeirError(ErrorCode.NO_COMMON_CODECS, describeTooLarge(this.stream, 'transcoding'));
    if (notCarried.length > 0)
      this.ports.log.warn({ streamName: this.stream.streamName, notCarried }, 'not all of a stream can be packaged');
    this.#plan = { ...plan, notCarried };
    if (needsTranscoding(plan)) await this.#startTranscoder(plan);
  }

  async #startTranscoder(plan: StreamPlan): Promise<void> {
    this.#giveBack = this.ports.reserveTranscode();
    if (this.#giveBack === undefined) {
      throw new WeirError(ErrorCode.UNAVAILABLE, 'No more streams can be transcoded just now');
    }
    const { segmentMs, ffmpegBin, log } = this.ports;
    this.#transcoder = await Transcoder.start({
      plan,
      segmentMs,
      ffmpegBin,
      log,
      onPacket: (kind, packet) => this.#deliver(kind, packet),
      onEnded: () => {
        if (!this.#closed) this.listener.onLost();
      },
    });
  }

  #receive(kind: MediumKind, packet: Buffer): void {
    if (this.#closed) return;
    this.lastPacketMs = awakeNowMs();
    if (this.#started) this.#handOn(kind, packet);
    else if (this.#early.length < MAX_EARLY_PACKETS) this.#early.push([kind, packet]);
  }

  #handOn(kind: MediumKind, packet: Buffer): void {
    if (this.#transcoder !== undefined) this.#transcoder.push(kind, packet);
    else this.#deliver(kind, packet);
  }

  #deliver(kind: MediumKind, packet: Buffer): void {
    if (!this.#closed) this.listener.onPacket(kind, packet);
  }
}

function descriptionOf({ track }: TappedTrack): TrackDescription[] {
  if (track === undefined || track.kind === MediaKind.UNSPECIFIED) return [];
  const { clockRate, channels } = track;
  const codec = codecNamed(track.codec);
  const parameters = Object.fromEntries(
    Object.entries(track.parameters).map(([name, value]) => [name.toLowerCase(), value]),
  );
  return [{ kind: track.kind === MediaKind.VIDEO ? 'video' : 'audio', codec, clockRate, channels, parameters }];
}
