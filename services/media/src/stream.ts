import { setTimeout as sleep } from 'node:timers/promises';
import { ErrorCode, WeirError, type EndReason, type StreamInfo, type StreamSignal } from '@weir/contracts';
import { VideoMeter, type RtpPacket } from '@weir/frames';
import type { types as mediasoup } from 'mediasoup';
import type { TalkBack } from './talk-back.js';
import { trackInfo, type Track } from './track.js';

/** The source of a stream's media. The stream closes it when the stream ends. */
export interface StreamSource {
  readonly tracks: readonly Track[];
  /** The source's connection is broken at this moment, so that somebody else may take the name. */
  readonly broken: boolean;
  /** Whether ffmpeg transcodes for its WebRTC players now. */
  readonly transcoding: boolean;
  /** How its client is talked to, if that is possible. */
  readonly talkBack?: TalkBack | undefined;
  close(): void;
}

/** Learns what happens to a stream: a player, or the source's session. */
export interface StreamListener {
  onStreamEnded(reason: EndReason): void;
  onVideoSize(width: number, height: number): void;
  onSignal(signal: StreamSignal): void;
}

export interface StreamOptions {
  info: StreamInfo;
  source: StreamSource;
  /** The session of the source. */
  sourceListener?: StreamListener;
  nowMs(): number;
  /** Called when `info` has changed and the registry must know it. */
  onChanged(stream: Stream): void;
  /** Called when `info.viewers` has changed. */
  onViewersChanged(stream: Stream): void;
  onEnded(stream: Stream, reason: EndReason): void;
}

const KNOWN_CHECK_MS = 20;

/** A published stream on this node: its tracks and its listeners. */
export class Stream {
  readonly info: StreamInfo;
  readonly source: StreamSource;
  /** Measures the video track, if there is one. */
  readonly videoMeter: VideoMeter | undefined;
  readonly startedMs: number;
  readonly #viewers = new Set<StreamListener>();
  #stopWatching: (() => void) | undefined;
  /** Aborted when the stream ends. */
  readonly #ending = new AbortController();
  #endReason: EndReason | undefined;
  #fps = 0;

  constructor(private readonly options: StreamOptions) {
    this.info = options.info;
    this.source = options.source;
    this.startedMs = options.nowMs();
    this.info.tracks = this.source.tracks.map(({ description }) => trackInfo(description));
    const video = this.track('video');
    if (video !== undefined) this.videoMeter = new VideoMeter(video.description.codec);
  }

  track(kind: mediasoup.MediaKind): Track | undefined {
    return this.source.tracks.find(({ description }) => description.kind === kind);
  }

  /**
   * Does something with the stream's tracks. When the stream ends meanwhile and the work fails, this rejects with the
   * end of the stream instead of the failure of a closed track. `ending` is aborted when the stream ends.
   * @throws WeirError NOT_FOUND, with the reason `stream_ended`
   */
  async use<Result>(work: (ending: AbortSignal) => Promise<Result>): Promise<Result> {
    try {
      return await work(this.#ending.signal);
    } catch (error) {
      throw this.#ended ? this.#endError : error;
    }
  }

  /** Adds a viewer. When the stream has ended, the viewer learns that at once. */
  join(viewer: StreamListener): void {
    if (this.#endReason !== undefined) {
      viewer.onStreamEnded(this.#endReason);
      return;
    }
    this.#viewers.add(viewer);
    this.#countViewers();
  }

  leave(viewer: StreamListener): void {
    if (this.#viewers.delete(viewer) && !this.#ended) this.#countViewers();
  }

  /** Watches the video's packets: counts their frames, and tells all listeners when the size changes. */
  async watchVideo(): Promise<void> {
    const video = this.track('video');
    if (video === undefined || this.videoMeter === undefined) return;
    const stop = await video.listen({ onRtp: (packet) => this.#onVideoPacket(packet) });
    if (this.#ended) stop();
    else this.#stopWatching = stop;
  }

  /** Waits until the first pictures have shown whether the stream needs transcoding, at most for `timeoutMs`. */
  async known(timeoutMs: number): Promise<void> {
    const deadlineMs = this.options.nowMs() + timeoutMs;
    while (!this.#ended && !this.source.tracks.every(({ isKnown }) => isKnown) && this.options.nowMs() < deadlineMs)
      await sleep(KNOWN_CHECK_MS);
  }

  /** Frames a second in the last interval that was measured, of about a second. */
  get videoFps(): number {
    return this.#fps;
  }

  /** Measures the interval since the last call; called about once a second. */
  measure(nowMs: number): void {
    this.#fps = this.videoMeter?.sample(nowMs).fps ?? 0;
  }

  /** Called when the source's description of its media has changed. */
  describeAnew(): void {
    if (this.#ended) return;
    this.info.tracks = this.source.tracks.map(({ description }) => trackInfo(description));
    this.options.onChanged(this);
  }

  /** Called when the source's media begin to flow. */
  markReady(): void {
    if (this.info.ready || this.#ended) return;
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
    for (const listener of this.#listeners) listener.onSignal(signal);
  }

  /** The number of copies of its tracks for other routers. */
  get pipeCount(): number {
    return this.source.tracks.reduce((count, track) => count + track.pipeCount, 0);
  }

  /** Ends the stream and tells all listeners. Idempotent. */
  end(reason: EndReason): void {
    if (this.#ended) return;
    this.#endReason = reason;
    const listeners = this.#listeners;
    this.#viewers.clear();
    this.#stopWatching?.();
    this.options.onEnded(this, reason);
    for (const listener of listeners) listener.onStreamEnded(reason);
    this.#ending.abort(this.#endError);
    this.source.close();
  }

  get #ended(): boolean {
    return this.#endReason !== undefined;
  }

  get #endError(): WeirError {
    const { streamName } = this.info;
    return new WeirError(ErrorCode.NOT_FOUND, 'the stream has ended', { reason: STREAM_ENDED, streamName });
  }

  /** The listeners in the order in which they are told: first the source's session, then the viewers. */
  get #listeners(): StreamListener[] {
    const { sourceListener } = this.options;
    return sourceListener === undefined ? [...this.#viewers] : [sourceListener, ...this.#viewers];
  }

  #countViewers(): void {
    this.info.viewers = this.#viewers.size;
    this.options.onViewersChanged(this);
  }

  #onVideoPacket(packet: RtpPacket): void {
    const meter = this.videoMeter;
    if (meter?.feed(packet, this.options.nowMs()) !== true) return;
    this.info.width = meter.width;
    this.info.height = meter.height;
    this.options.onChanged(this);
    for (const listener of this.#listeners) listener.onVideoSize(meter.width, meter.height);
  }
}

/** The WeirError field `reason` for requests during which the stream ended. */
const STREAM_ENDED = 'stream_ended';
