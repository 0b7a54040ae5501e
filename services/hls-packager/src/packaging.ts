import { ErrorCode, WeirError, type StreamInfo } from '@weir/contracts';
import { RtpPackager, type ResourceName, type SegmentOutput } from '@weir/hls';
import type { MediaClient, MediumKind } from '@weir/media-client';
import { awakeNowMs, type Logger } from '@weir/platform';
import { backOffMs } from '@weir/timing';
import { LiveMedia } from './live-media.js';
import type { HlsMetrics } from './metrics.js';
import { EpochTimeline } from './epoch-timeline.js';
import { firstMediaSequence } from './sequence-base.js';
import type { Source, SourceListener } from './source.js';
import type { StreamPlan } from './track-plan.js';
import { Viewers } from './viewers.js';

export interface PackagingSettings {
  partMs: number;
  segmentMs: number;
  maxSegmentMs: number;
  windowMs: number;
  maxBytes: number;
  keyFrameIntervalMs: number;
  idleMs: number;
  sourceGraceMs: number;
}

export interface PackagingPorts {
  tenant: string;
  streamName: string;
  media: Pick<MediaClient, 'find'>;
  openSource: (stream: StreamInfo, listener: SourceListener) => Promise<Source>;
  queryOf: (resource: ResourceName) => string;
  discontinuitiesBefore: number;
  /** Called for each discontinuity except the one with which the first segment begins. */
  countDiscontinuity: () => void;
  settings: PackagingSettings;
  metrics: HlsMetrics;
  log: Logger;
}

/** Why the packaging has ended. */
export type EndCause = 'deleted' | 'idle' | 'source-gone' | 'source-fails' | 'too-large' | 'no-memory';

interface Tapped {
  readonly tag: 'tapped';
  readonly source: Source;
  readonly packager: RtpPackager;
  readonly timeline: EpochTimeline;
  hasMedia: boolean;
}

/** The rest of a lost source: a part, usually a short one, and the end of its segment. */
interface Remainder {
  readonly outputs: readonly SegmentOutput[];
  readonly timeline: EpochTimeline;
  /** In the time of `awakeNowMs()`. */
  readonly dueMs: number;
}

type State =
  | Tapped
  /** There is no source now. It may come, or come back. */
  | { readonly tag: 'away'; nextAttemptMs: number; attempting: boolean; remainder?: Remainder }
  | { readonly tag: 'ended'; readonly cause: EndCause; readonly atMs: number };

/** After `SILENT_MS` of silence the source is looked up by `FindStreams`. After `DEAF_MS` it is tapped again. */
const SILENT_MS = 5_000;
const DEAF_MS = 15_000;
const RETRY_PACE = { firstMs: 500, maxMs: 4_000 };
/** The packaging ends after this many failed attempts in a row to tap a source. */
const MAX_VAIN_ATTEMPTS = 8;
const KEY_FRAME_RETRY_MS = 1_000;
/** Players wait for the first finished segment. With fewer parts in it they stall right after they have begun. */
const PARTS_IN_FIRST_SEGMENT = 3;

const nowMs = (): number => performance.timeOrigin + performance.now();

/** What operators see of a packaging. */
export const PACKAGING_STATES = ['waiting', 'flowing', 'away', 'ended'] as const;
export type PackagingState = (typeof PACKAGING_STATES)[number];

/** The packaging of one stream. Its source may come and go; the playlist goes on for the viewers. */
export class Packaging {
  readonly live: LiveMedia;
  readonly viewers = new Viewers();
  readonly startedAtMs = Date.now();
  #state: State = { tag: 'away', nextAttemptMs: 0, attempting: true };
  /** When the media stopped, in the time of `awakeNowMs()`; undefined while they flow. */
  #silentSinceMs: number | undefined;
  #vainAttempts = 0;
  #askedMs = awakeNowMs();
  #keyFrameMs = 0;
  #keyFrameAskedMs = 0;
  #checkedMs = 0;
  #framesLost = 0;
  #hasBegun = false;
  #partAtMs = 0;

  constructor(private readonly ports: PackagingPorts) {
    const { maxSegmentMs, windowMs, maxBytes } = ports.settings;
    this.live = new LiveMedia({
      playlist: { targetDurationS: Math.ceil(maxSegmentMs / 1_000), windowMs, maxBytes },
      firstNumber: firstMediaSequence(Date.now()),
      discontinuitiesBefore: ports.discontinuitiesBefore,
      queryOf: ports.queryOf,
    });
  }

  get tenant(): string {
    return this.ports.tenant;
  }

  get streamName(): string {
    return this.ports.streamName;
  }

  get state(): PackagingState {
    switch (this.#state.tag) {
      case 'tapped':
        return this.#state.hasMedia ? 'flowing' : 'waiting';
      case 'away':
        return 'away';
      case 'ended':
        return 'ended';
      default:
        return this.#state satisfies never;
    }
  }

  get endedForMs(): number | undefined {
    return this.#state.tag === 'ended' ? awakeNowMs() - this.#state.atMs : undefined;
  }

  get endCause(): EndCause | undefined {
    return this.#state.tag === 'ended' ? this.#state.cause : undefined;
  }

  get transcodes(): boolean {
    return this.#state.tag === 'tapped' && this.#state.source.transcodes;
  }

  /** The stream's media that viewers don't get, each with its reason, for people to read. */
  get notCarried(): readonly string[] {
    return this.live.notCarried;
  }

  /** In the time of `awakeNowMs()`. */
  get lastAskedMs(): number {
    return this.live.waiting > 0 ? awakeNowMs() : this.#askedMs;
  }

  /** Called when a viewer fetches the playlist. */
  asked(): void {
    this.#askedMs = awakeNowMs();
  }

  /** Throws NOT_FOUND when there is no such stream, and the errors of `openSource`. */
  async open(): Promise<void> {
    const { tenant, streamName } = this.ports;
    const stream = await this.ports.media.find({ tenant, streamName });
    if (stream === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'There is no such stream');
    await this.#connect(stream);
  }

  /**
   * Called when the source is gone; it may come back. The rest of its media is shown no sooner than a full part would
   * be: when a short last part comes while hls.js still appends the part before, hls.js skips it and never plays to the
   * end.
   */
  lost(): void {
    const state = this.#state;
    if (state.tag !== 'tapped') return;
    const atMs = awakeNowMs();
    const { packager, timeline } = state;
    const dueMs = this.#partAtMs + this.ports.settings.partMs;
    const remainder: Remainder = { outputs: packager.interrupt(nowMs()), timeline, dueMs };
    this.#vainAttempts = state.hasMedia ? 0 : this.#vainAttempts + 1;
    this.#silentSinceMs ??= atMs;
    this.#state = { tag: 'away', nextAttemptMs: atMs + this.#retryMs(), attempting: false, remainder };
    state.source.close();
    this.ports.log.info(this.#fields(), 'a source is away');
    this.#endIfHopeless(atMs);
  }

  /** Called when the stream's name is published, or published again. */
  streamStarted(stream: StreamInfo): void {
    if (this.#state.tag === 'tapped' && stream.epoch > this.#state.source.epoch) this.lost();
    if (this.#state.tag === 'away' && !this.#state.attempting) void this.#attempt(stream);
  }

  streamEnded({ epoch }: StreamInfo): void {
    if (this.#state.tag === 'tapped' && epoch === this.#state.source.epoch) this.lost();
  }

  /** Does the work that is due. It must be called several times a second. */
  tick(): void {
    const atMs = awakeNowMs();
    const state = this.#state;
    if (state.tag === 'ended') return;
    if (atMs - this.lastAskedMs > this.ports.settings.idleMs) return this.end('idle');
    if (this.live.bytes > 2 * this.ports.settings.maxBytes) return this.end('too-large');
    if (state.tag === 'away') {
      if (state.remainder !== undefined && atMs >= state.remainder.dueMs) this.#takeRemainder();
      this.#endIfHopeless(atMs);
      if (!state.attempting && atMs >= state.nextAttemptMs && this.#state === state) void this.#attempt();
      return;
    }
    this.#take(state.packager.advance(nowMs()), state.timeline);
    this.#wantKeyFrame(state, atMs);
    this.#checkSilence(state.source, atMs);
  }

  end(cause: EndCause): void {
    const state = this.#state;
    if (state.tag === 'ended') return;
    this.#takeRemainder();
    this.#state = { tag: 'ended', cause, atMs: awakeNowMs() };
    if (state.tag === 'tapped') {
      this.#take(state.packager.end(nowMs()), state.timeline);
      state.source.close();
    } else this.#take([{ tag: 'stream-end' }]);
    this.ports.log.info({ ...this.#fields(), cause }, 'a stream is no longer packaged');
  }

  /** Releases everything without telling viewers that the stream is over, so that they ask again. */
  abandon(): void {
    if (this.#state.tag === 'tapped') this.#state.source.close();
    if (this.#state.tag !== 'ended') this.#state = { tag: 'ended', cause: 'idle', atMs: awakeNowMs() };
    this.live.forget();
  }

  async #attempt(known?: StreamInfo): Promise<void> {
    const state = this.#state;
    if (state.tag !== 'away') return;
    state.attempting = true;
    try {
      const stream = known ?? (await this.ports.media.find(this.#fields()));
      if (stream !== undefined && this.#state === state) await this.#connect(stream);
    } catch (error) {
      this.#vainAttempts += 1;
      this.ports.log.warn({ ...this.#fields(), err: error }, 'a source could not be tapped');
    }
    if (this.#state !== state) return;
    state.attempting = false;
    state.nextAttemptMs = awakeNowMs() + this.#retryMs();
  }

  /** Taps the source. The state is `away` before and `tapped` after it. */
  async #connect(stream: StreamInfo): Promise<void> {
    const awaiting = this.#state;
    const { settings, openSource } = this.ports;
    let isLost = false;
    const source: Source = await openSource(stream, {
      onPacket: (kind, packet) => this.#push(source, kind, packet),
      onLost: () => {
        isLost = true;
        if (this.#state.tag === 'tapped' && this.#state.source === source) this.lost();
      },
    });
    // The packaging may have ended, or another call may have tapped a source meanwhile.
    if (this.#state !== awaiting || isLost) {
      source.close();
      if (isLost) throw new WeirError(ErrorCode.UNAVAILABLE, 'The stream ended at once; ask again when it runs');
      return;
    }
    this.#takeRemainder();
    const { video, audio, notCarried } = source.plan;
    this.live.notCarried = notCarried;
    const packager = new RtpPackager({
      ...(video && { video: video.packaged }),
      ...(audio && { audio: audio.packaged }),
      partMs: settings.partMs,
      segmentMs: settings.segmentMs,
      maxSegmentMs: settings.maxSegmentMs,
      ...(!this.live.hasSegment && { firstSegmentMs: PARTS_IN_FIRST_SEGMENT * settings.partMs }),
      ...this.live.next,
    });
    this.#state = { tag: 'tapped', source, packager, timeline: timelineOf(source.plan), hasMedia: false };
    this.#framesLost = 0;
    this.#keyFrameMs = awakeNowMs();
    // The tap itself has asked for a key frame, but a transcoder missed it.
    this.#keyFrameAskedMs = source.transcodes ? this.#keyFrameMs - 0.7 * KEY_FRAME_RETRY_MS : this.#keyFrameMs;
    source.start();
    this.ports.log.info(
      { ...this.#fields(), nodeId: source.nodeId, transcodes: source.transcodes },
      'a source is tapped',
    );
  }

  #push(source: Source, kind: MediumKind, packet: Buffer): void {
    const state = this.#state;
    if (state.tag !== 'tapped' || state.source !== source) return;
    this.#take(state.packager.push(kind, packet, nowMs()), state.timeline);
  }

  #takeRemainder(): void {
    const state = this.#state;
    if (state.tag !== 'away' || state.remainder === undefined) return;
    const { outputs, timeline } = state.remainder;
    delete state.remainder;
    this.#take(outputs, timeline);
  }

  #take(outputs: readonly SegmentOutput[], timeline?: EpochTimeline): void {
    if (outputs.length === 0) return;
    const atMs = nowMs();
    for (const output of outputs) {
      if (output.tag === 'part') timeline?.place(output.data, output.programDateTimeMs);
    }
    for (const { part, endsAtMs } of this.live.add(outputs)) {
      this.#vainAttempts = 0;
      if (this.#state.tag === 'tapped') {
        this.#silentSinceMs = undefined;
        this.#state.hasMedia = true;
      }
      if (part.isDiscontinuity && part.index === 0 && this.#hasBegun) this.ports.countDiscontinuity();
      this.#hasBegun = true;
      this.#partAtMs = awakeNowMs();
      if (part.isIndependent) this.#keyFrameMs = awakeNowMs();
      this.ports.metrics.partMade(atMs - endsAtMs, part.data.length);
    }
  }

  /** WebRTC sources make key frames only on request, and without key frames no viewer can begin. */
  #wantKeyFrame({ source, packager, hasMedia }: Tapped, atMs: number): void {
    const { video } = source.plan;
    if (video === undefined || atMs - this.#keyFrameAskedMs < KEY_FRAME_RETRY_MS) return;
    const lost = packager.framesLost - this.#framesLost;
    if (lost > 0) this.ports.metrics.framesLost(lost);
    this.#framesLost = packager.framesLost;
    const { keyFrameIntervalMs } = this.ports.settings;
    const isOld = keyFrameIntervalMs > 0 && atMs - this.#keyFrameMs >= keyFrameIntervalMs;
    if (hasMedia && (video.tag === 'transcode' || !(isOld || lost > 0))) return;
    this.#keyFrameAskedMs = atMs;
    source.requestKeyFrame();
  }

  /** Looks a silent source up, because the event of its end may have been lost with a connection. */
  #checkSilence(source: Source, atMs: number): void {
    const { silentMs } = source;
    if (silentMs < SILENT_MS || atMs - this.#checkedMs < SILENT_MS) return;
    this.#checkedMs = atMs;
    if (silentMs > DEAF_MS) return this.lost();
    this.ports.media.find(this.#fields()).then(
      (stream) => {
        const isTapped = this.#state.tag === 'tapped' && this.#state.source === source;
        if (isTapped && stream?.epoch !== source.epoch) this.lost();
      },
      (error: unknown) =>
        this.ports.log.warn({ ...this.#fields(), err: error }, 'a silent stream could not be looked up'),
    );
  }

  #endIfHopeless(atMs: number): void {
    if (this.#vainAttempts >= MAX_VAIN_ATTEMPTS) return this.end('source-fails');
    const { sourceGraceMs } = this.ports.settings;
    if (this.#silentSinceMs !== undefined && atMs - this.#silentSinceMs >= sourceGraceMs) this.end('source-gone');
  }

  #retryMs(): number {
    return backOffMs(RETRY_PACE, this.#vainAttempts);
  }

  #fields(): { tenant: string; streamName: string } {
    return { tenant: this.tenant, streamName: this.streamName };
  }
}

/** Uses the packager's track ids. */
function timelineOf({ video, audio }: StreamPlan): EpochTimeline {
  const timescales = new Map<number, number>();
  if (video !== undefined) timescales.set(1, video.packaged.clockRate);
  if (audio !== undefined) timescales.set(2, audio.packaged.codec === 'opus' ? 48_000 : audio.packaged.clockRate);
  return new EpochTimeline(timescales);
}
