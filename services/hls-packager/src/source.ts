import { randomUUID } from 'node:crypto';
import { ErrorCode, MediaKind, WeirError, type StreamInfo, type TappedTrack } from '@weir/contracts';
import { codecNamed, describeTooLarge, isTooLargeToDecode, type TrackDescription } from '@weir/frames';
import type { MediaClient, MediumKind, Tap } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import { EMPTY_PLAN, needsTranscoding, planStream, type StreamPlan } from './track-plan.js';
import { Transcoder } from './transcoder.js';

export interface SourcePorts {
  media: Pick<MediaClient, 'tap'>;
  log: Logger;
  rtpAddress: string;
  opus: 'keep' | 'aac';
  segmentMs: number;
  ffmpegBin: string;
  /** Reserves a place for a transcoder. Returns the function that gives it back; undefined when no place is left. */
  reserveTranscode: () => (() => void) | undefined;
}

export interface SourceListener {
  /** Gets the RTP and RTCP of a medium in the form that is packaged. */
  onPacket(kind: MediumKind, packet: Buffer): void;
  /** Called when the source can't go on. */
  onLost(): void;
}

/** Receives a stream's RTP from a media node, and transcodes it where HLS needs that. */
export class Source {
  readonly epoch: bigint;
  readonly #tap: Tap;
  #transcoder: Transcoder | undefined;
  #giveBack: (() => void) | undefined;
  #plan: StreamPlan | undefined;
  #closed = false;

  private constructor(
    private readonly ports: SourcePorts,
    private readonly stream: StreamInfo,
    private readonly listener: SourceListener,
  ) {
    this.epoch = stream.epoch;
    const { media, rtpAddress } = ports;
    this.#tap = media.tap(stream, { sessionId: `hls-${randomUUID()}`, rtpAddress, fromKeyFrame: true });
    void this.#tap.ended.then(({ tag }) => {
      if (tag === 'ended') this.#lost();
    });
  }

  /** Throws NOT_FOUND, NO_COMMON_CODECS, EXHAUSTED, and the errors of any remote call. */
  static async open(ports: SourcePorts, stream: StreamInfo, listener: SourceListener): Promise<Source> {
    const source = new Source(ports, stream, listener);
    try {
      await source.#begin();
      return source;
    } catch (error) {
      source.close();
      throw error;
    }
  }

  get nodeId(): string {
    return this.stream.nodeId;
  }

  /** How long no packet has come, in the time of `awakeNowMs()`. */
  get silentMs(): number {
    return this.#tap.silentMs;
  }

  get plan(): StreamPlan {
    return this.#plan ?? EMPTY_PLAN;
  }

  get transcodes(): boolean {
    return this.#transcoder !== undefined;
  }

  requestKeyFrame(): void {
    this.#tap.requestKeyFrame();
  }

  /** Begins to deliver packets, first those that have come before this call. */
  start(): void {
    this.#tap.listen((kind, packet) => {
      if (this.#transcoder !== undefined) this.#transcoder.push(kind, packet);
      else this.#deliver(kind, packet);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // The media client waits for the closing of its taps before it closes itself.
    void this.#tap.close();
    this.#transcoder?.close();
    this.#giveBack?.();
  }

  async #begin(): Promise<void> {
    const { opus } = this.ports;
    const { tracks } = await this.#tap.opened;
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
      throw new WeirError(ErrorCode.UNAVAILABLE, 'No more streams can be transcoded now; try again later');
    }
    const { segmentMs, ffmpegBin, log } = this.ports;
    this.#transcoder = await Transcoder.start({
      plan,
      segmentMs,
      ffmpegBin,
      log,
      onPacket: (kind, packet) => this.#deliver(kind, packet),
      onEnded: () => this.#lost(),
    });
  }

  #lost(): void {
    if (!this.#closed) this.listener.onLost();
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
