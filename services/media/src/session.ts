import type { MessageInitShape } from '@bufbuild/protobuf';
import { EndReason, type SessionStatsSchema, type StreamSignal } from '@weir/contracts';
import { awakeNowMs } from '@weir/platform';
import type { types as mediasoup } from 'mediasoup';
import type { SessionNotifier } from './notifier.js';
import type { SourceLink, WebRtcPeer } from './peer.js';
import type { ProducedTrack } from './produced-track.js';
import { EVERYTHING_CHECKED, RtpActivity, type RtpActivityRules } from './rtp-activity.js';
import type { Stream, StreamListener, StreamSource } from './stream.js';
import type { TalkBack } from './talk-back.js';
import type { LentTrack } from './track.js';
import type { StreamTranscoder } from './transcoder.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

export type SessionStatsInit = MessageInitShape<typeof SessionStatsSchema>;

export interface SessionIdentity {
  sessionId: string;
  ownerId: string;
  /** Milliseconds between reports to the owner; 0 for no reports. */
  statsIntervalMs: number;
  /** How long the session outlives its owner. */
  orphanMs?: number;
}

/** A session whose owner wants no reports is also measured, once a second, so that its silence is noticed. */
export const measureIntervalMs = ({ statsIntervalMs }: SessionIdentity): number => statsIntervalMs || 1_000;

/** A publisher or a player, which the media core keeps on behalf of the service instance that asked for it. */
export interface Session {
  readonly identity: SessionIdentity;
  readonly tag: 'publisher' | 'player';
  readonly connected: boolean;
  /** Whether nothing has come from it for so long that it must end. */
  readonly isSilent: boolean;
  /** Whether it ends when this worker dies. */
  standsOn(worker: MediaWorker): boolean;
  /** The number of RTP packets that have come from it. Absent when its name can't go to a successor. */
  packetsReceived?(): Promise<number>;
  /** Ends it and tells the owner. Idempotent. */
  end(reason: EndReason): void;
  stats(nowMs: number): Promise<SessionStatsInit>;
}

/** Bits per second between two readings of a byte counter. */
class Rate {
  #lastBytes = 0;
  #lastMs: number | undefined;

  next(bytes: number, nowMs: number): number {
    const elapsedMs = this.#lastMs === undefined ? 0 : nowMs - this.#lastMs;
    const bps = elapsedMs > 0 ? ((bytes - this.#lastBytes) * 8_000) / elapsedMs : 0;
    this.#lastBytes = bytes;
    this.#lastMs = nowMs;
    return Math.max(0, Math.round(bps));
  }
}

export interface PublisherOptions {
  identity: SessionIdentity;
  notifier: SessionNotifier;
  home: RouterLease;
  /** The name of its first stream. */
  streamName: string;
  noMediaTimeoutMs: number;
  /** Without these rules every track is checked. */
  rtpActivity?: RtpActivityRules | undefined;
  onClosed(): void;
}

/** The media of one of a publisher's streams. */
export interface PublishedMedia {
  readonly tracks: readonly ProducedTrack[];
  readonly transcoder: StreamTranscoder;
}

/** The source of one of a publisher's streams. */
export class PublishedSource implements StreamSource, StreamListener {
  readonly tracks: readonly ProducedTrack[];
  /** Set as soon as the stream has begun. */
  stream: Stream | undefined;

  constructor(
    private readonly session: PublisherSession,
    private readonly media: PublishedMedia,
  ) {
    this.tracks = media.tracks;
  }

  get broken(): boolean {
    return this.session.broken;
  }

  get transcoding(): boolean {
    return this.media.transcoder.active;
  }

  get talkBack(): TalkBack | undefined {
    return this.session.talkBack;
  }

  onStreamEnded(reason: EndReason): void {
    this.session.onStreamEnded(this, reason);
  }

  onVideoSize(width: number, height: number): void {
    this.session.onVideoSize(this, width, height);
  }

  onSignal(): void {
    // Signals come from the publisher itself.
  }

  close(): void {
    this.media.transcoder.stop();
    for (const track of this.tracks) track.close();
    this.session.onSourceClosed(this);
  }
}

/**
 * The session of a publisher: one client with one stream or several. When the session ends, so do its streams. When one
 * of the streams is ended from outside, so are the session and the other streams.
 */
export class PublisherSession implements Session {
  readonly tag = 'publisher';
  readonly identity: SessionIdentity;
  link: SourceLink | undefined;
  /** Set if those who watch may talk to its client. */
  talkBack: TalkBack | undefined;
  readonly #sources = new Set<PublishedSource>();
  /** Sources that the publisher itself has stopped sending. */
  readonly #withdrawn = new WeakSet<PublishedSource>();
  readonly #videoRate = new Rate();
  readonly #audioRate = new Rate();
  #activity: RtpActivity;
  #over = false;
  #closed = false;

  constructor(private readonly options: PublisherOptions) {
    this.identity = options.identity;
    this.#activity = this.#newActivity();
  }

  get broken(): boolean {
    return this.link?.broken ?? false;
  }

  get connected(): boolean {
    return this.link?.connected ?? false;
  }

  /** Whether it has ended, so that nothing more can be published. */
  get isOver(): boolean {
    return this.#over;
  }

  /** Begins one of its streams. The session closes the media from now on. */
  publish(media: PublishedMedia, open: (source: PublishedSource) => Stream): PublishedSource {
    const source = new PublishedSource(this, media);
    this.#sources.add(source);
    source.stream = open(source);
    this.#activity = this.#newActivity();
    for (const track of media.tracks) track.onSenderReport(() => this.#activity.reported());
    if (this.connected) source.stream.markReady();
    return source;
  }

  /** Ends one of its streams because its client no longer sends it. */
  withdraw(source: PublishedSource): void {
    this.#withdrawn.add(source);
    source.stream?.end(EndReason.CLIENT);
    this.#activity = this.#newActivity();
  }

  onConnected(): void {
    this.#activity.begin(awakeNowMs());
    for (const { stream } of this.#sources) stream?.markReady();
    this.options.notifier.connected(this.identity);
  }

  end(reason: EndReason): void {
    if (!this.#over) this.#first?.stream?.end(reason); // this ends the session too
    this.#finish(reason);
  }

  onStreamEnded(source: PublishedSource, reason: EndReason): void {
    if (!this.#withdrawn.has(source)) this.#finish(reason);
  }

  onVideoSize(source: PublishedSource, width: number, height: number): void {
    if (source === this.#first) this.options.notifier.videoSize(this.identity, width, height);
  }

  onSourceClosed(source: PublishedSource): void {
    this.#sources.delete(source);
    this.#closeWhenOver();
  }

  standsOn(worker: MediaWorker): boolean {
    return this.options.home.worker === worker;
  }

  /** Whether a connected publisher has sent nothing for too long. */
  get isSilent(): boolean {
    return this.connected && this.#activity.isSilent;
  }

  /** Counts all its streams; the picture is that of the first. */
  async stats(nowMs: number): Promise<SessionStatsInit> {
    const [video, audio] = await Promise.all([this.#received('video'), this.#received('audio')]);
    this.#activity.measured(
      new Map([
        ['video', video.packetCount],
        ['audio', audio.packetCount],
      ]),
      awakeNowMs(),
    );
    const stream = this.#first?.stream;
    return {
      sessionId: this.identity.sessionId,
      videoBps: BigInt(this.#videoRate.next(video.byteCount, nowMs)),
      audioBps: BigInt(this.#audioRate.next(audio.byteCount, nowMs)),
      videoFps: stream?.videoFps ?? 0,
      nackCount: BigInt(video.nackCount),
      pliCount: BigInt(video.pliCount),
      lostPackets: BigInt(Math.max(0, video.packetsLost)),
      audioLostPackets: BigInt(Math.max(0, audio.packetsLost)),
      packets: BigInt(video.packetCount + audio.packetCount),
      width: stream?.videoMeter?.width ?? 0,
      height: stream?.videoMeter?.height ?? 0,
      videoKeyFrames: BigInt(stream?.videoMeter?.keyFrames ?? 0),
    };
  }

  async packetsReceived(): Promise<number> {
    const received = await Promise.all([this.#received('video'), this.#received('audio')]);
    return received.reduce((sum, { packetCount }) => sum + packetCount, 0);
  }

  get #first(): PublishedSource | undefined {
    const [first] = this.#sources;
    return first;
  }

  get #tracks(): ProducedTrack[] {
    return [...this.#sources].flatMap(({ tracks }) => tracks);
  }

  #newActivity(): RtpActivity {
    const { identity, streamName, noMediaTimeoutMs, rtpActivity = EVERYTHING_CHECKED } = this.options;
    return new RtpActivity(
      {
        rules: rtpActivity,
        streamName,
        kinds: this.#tracks.map(({ description }) => description.kind),
        noMediaTimeoutMs,
        maxStepMs: 2 * measureIntervalMs(identity),
      },
      awakeNowMs(),
    );
  }

  async #received(kind: mediasoup.MediaKind): Promise<ReceivedCounts> {
    const producers = this.#tracks
      .filter(({ description }) => description.kind === kind)
      .flatMap(({ producer }) => (producer === undefined || producer.closed ? [] : [producer]));
    const stats = await Promise.all(producers.map(async (producer) => (await producer.getStats())[0]));
    const sum = (name: keyof ReceivedCounts) => stats.reduce((total, stat) => total + (stat?.[name] ?? 0), 0);
    return {
      packetCount: sum('packetCount'),
      byteCount: sum('byteCount'),
      nackCount: sum('nackCount'),
      pliCount: sum('pliCount'),
      packetsLost: sum('packetsLost'),
    };
  }

  #finish(reason: EndReason): void {
    if (this.#over) return;
    this.#over = true;
    this.options.onClosed();
    this.options.notifier.ended(this.identity, reason);
    for (const { stream } of [...this.#sources]) stream?.end(reason);
    this.#closeWhenOver();
  }

  /** The transports are closed after the last stream, whose players have then been told. */
  #closeWhenOver(): void {
    if (!this.#over || this.#closed || this.#sources.size > 0) return;
    this.#closed = true;
    this.talkBack?.close();
    this.link?.close();
    this.options.home.release();
  }
}

type ReceivedCounts = Record<'packetCount' | 'byteCount' | 'nackCount' | 'pliCount' | 'packetsLost', number>;

export interface PlayerOptions {
  identity: SessionIdentity;
  notifier: SessionNotifier;
  stream: Stream;
  lease: RouterLease;
  lent: readonly LentTrack[];
  consumers: readonly mediasoup.Consumer[];
  onClosed(): void;
}

/** When more than this share of packets is lost in three reports in a row, the path carries too little. */
const LOSS_SHARE_TOO_HIGH = 0.1;
const LOSSY_REPORTS = 3;
/** A player gets at most one warning in ten reports. */
const REPORTS_BETWEEN_WARNINGS = 10;

/** A session that receives a stream. */
export class PlayerSession implements Session, StreamListener {
  readonly tag = 'player';
  readonly identity: SessionIdentity;
  readonly stream: Stream;
  peer: WebRtcPeer | undefined;
  readonly #videoRate = new Rate();
  readonly #audioRate = new Rate();
  #lossyReports = 0;
  #reportsUntilWarning = 0;
  #closed = false;

  constructor(private readonly options: PlayerOptions) {
    this.identity = options.identity;
    this.stream = options.stream;
  }

  get connected(): boolean {
    return this.peer?.connected ?? false;
  }

  /** False, because `peer` notices when the path to a player is lost. */
  readonly isSilent = false;

  standsOn(worker: MediaWorker): boolean {
    return this.options.lease.worker === worker;
  }

  onConnected(): void {
    const { notifier, lent } = this.options;
    for (const track of lent) track.start();
    notifier.connected(this.identity);
    const { width, height } = this.stream.info;
    if (width > 0) notifier.videoSize(this.identity, width, height);
  }

  end(reason: EndReason): void {
    if (this.#closed) return;
    this.#closed = true;
    this.stream.leave(this);
    this.peer?.close();
    for (const track of this.options.lent) track.release();
    this.options.lease.release();
    this.options.notifier.ended(this.identity, reason);
    this.options.onClosed();
  }

  onStreamEnded(reason: EndReason): void {
    this.end(reason === EndReason.NODE_LOST || reason === EndReason.NODE_SHUTDOWN ? reason : EndReason.STREAM_ENDED);
  }

  onVideoSize(width: number, height: number): void {
    if (this.peer?.connected === true) this.options.notifier.videoSize(this.identity, width, height);
  }

  onSignal(signal: StreamSignal): void {
    this.options.notifier.signal(this.identity, signal);
  }

  async stats(nowMs: number): Promise<SessionStatsInit> {
    const [video, audio] = await Promise.all([this.#sent('video'), this.#sent('audio')]);
    const { videoMeter, videoFps } = this.stream;
    const videoBps = this.#videoRate.next(video?.byteCount ?? 0, nowMs);
    this.#judgeLoss((video?.fractionLost ?? 0) / 256, videoBps);
    return {
      sessionId: this.identity.sessionId,
      videoBps: BigInt(videoBps),
      audioBps: BigInt(this.#audioRate.next(audio?.byteCount ?? 0, nowMs)),
      videoFps: video === undefined ? 0 : videoFps,
      nackCount: BigInt(video?.nackCount ?? 0),
      pliCount: BigInt(video?.pliCount ?? 0),
      lostPackets: BigInt(Math.max(0, video?.packetsLost ?? 0)),
      audioLostPackets: BigInt(Math.max(0, audio?.packetsLost ?? 0)),
      width: videoMeter?.width ?? 0,
      height: videoMeter?.height ?? 0,
      videoKeyFrames: BigInt(videoMeter?.keyFrames ?? 0),
    };
  }

  #judgeLoss(lossShare: number, videoBps: number): void {
    this.#lossyReports = lossShare > LOSS_SHARE_TOO_HIGH ? this.#lossyReports + 1 : 0;
    this.#reportsUntilWarning = Math.max(0, this.#reportsUntilWarning - 1);
    if (this.#lossyReports < LOSSY_REPORTS || this.#reportsUntilWarning > 0) return;
    this.#reportsUntilWarning = REPORTS_BETWEEN_WARNINGS;
    this.options.notifier.notEnoughBandwidth(this.identity, videoBps, Math.round(videoBps * (1 - lossShare)));
  }

  async #sent(kind: mediasoup.MediaKind): Promise<mediasoup.ConsumerStat | undefined> {
    const consumer = this.options.consumers.find((candidate) => candidate.kind === kind);
    if (consumer === undefined || consumer.closed) return undefined;
    const stats = await consumer.getStats();
    return stats.find(({ type }) => type === 'outbound-rtp');
  }
}
