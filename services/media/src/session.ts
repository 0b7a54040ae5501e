import type { MessageInitShape } from '@bufbuild/protobuf';
import { EndReason, type SessionStatsSchema, type StreamSignal } from '@weir/contracts';
import { awakeNowMs } from '@weir/platform';
import type { types as mediasoup } from 'mediasoup';
import type { SessionNotifier } from './notifier.js';
import type { SourceLink, WebRtcPeer } from './peer.js';
import type { ProducedTrack } from './produced-track.js';
import { EVERYTHING_CHECKED, RtpActivity, type RtpActivityRules } from './rtp-activity.js';
import type { Stream, StreamListener, StreamSource } from './stream.js';
import type { LentTrack } from './track.js';
import type { StreamTranscoder } from './transcoder.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

export type SessionStatsInit = MessageInitShape<typeof SessionStatsSchema>;

export interface SessionIdentity {
  sessionId: string;
  ownerId: string;
  /** Milliseconds between reports to the owner; 0 for no reports. */
  statsIntervalMs: number;
}

/** A session whose owner wants no reports is also measured, once a second, so that its silence is noticed. */
export const measureIntervalMs = ({ statsIntervalMs }: SessionIdentity): number => statsIntervalMs || 1_000;

/** A publisher or a player, which the media core keeps on behalf of the service instance that asked for it. */
export interface Session {
  readonly identity: SessionIdentity;
  readonly kind: 'publisher' | 'player';
  readonly stream: Stream | undefined;
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
  private lastBytes = 0;
  private lastMs: number | undefined;

  next(bytes: number, nowMs: number): number {
    const elapsedMs = this.lastMs === undefined ? 0 : nowMs - this.lastMs;
    const bps = elapsedMs > 0 ? ((bytes - this.lastBytes) * 8_000) / elapsedMs : 0;
    this.lastBytes = bytes;
    this.lastMs = nowMs;
    return Math.max(0, Math.round(bps));
  }
}

export interface PublisherOptions {
  identity: SessionIdentity;
  notifier: SessionNotifier;
  home: RouterLease;
  tracks: readonly ProducedTrack[];
  streamName: string;
  transcoder: StreamTranscoder;
  noMediaTimeoutMs: number;
  /** Without these rules every track is checked. */
  rtpActivity?: RtpActivityRules | undefined;
}

/** The session of a publisher. It is also the source of its stream. */
export class PublisherSession implements Session, StreamSource, StreamListener {
  readonly kind = 'publisher';
  readonly identity: SessionIdentity;
  readonly tracks: readonly ProducedTrack[];
  stream: Stream | undefined;
  peer: SourceLink | undefined;
  private readonly videoRate = new Rate();
  private readonly audioRate = new Rate();
  private readonly activity: RtpActivity;
  private closed = false;

  constructor(private readonly options: PublisherOptions) {
    const { identity, tracks, streamName, noMediaTimeoutMs, rtpActivity = EVERYTHING_CHECKED } = options;
    this.identity = identity;
    this.tracks = tracks;
    this.activity = new RtpActivity(
      {
        rules: rtpActivity,
        streamName,
        kinds: tracks.map(({ description }) => description.kind),
        noMediaTimeoutMs,
        maxStepMs: 2 * measureIntervalMs(identity),
      },
      awakeNowMs(),
    );
    for (const track of tracks) track.onSenderReport(() => this.activity.reported());
  }

  get broken(): boolean {
    return this.peer?.broken ?? false;
  }

  get connected(): boolean {
    return this.peer?.connected ?? false;
  }

  get transcoding(): boolean {
    return this.options.transcoder.active;
  }

  onPeerConnected(): void {
    this.activity.begin(awakeNowMs());
    this.stream?.markReady();
    this.options.notifier.connected(this.identity);
  }

  end(reason: EndReason): void {
    this.stream?.end(reason);
    this.close();
  }

  onStreamEnded(reason: EndReason): void {
    this.options.notifier.ended(this.identity, reason);
  }

  onVideoSize(width: number, height: number): void {
    this.options.notifier.videoSize(this.identity, width, height);
  }

  onSignal(): void {
    // Signals come from the publisher itself.
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.peer?.close();
    this.options.transcoder.stop();
    for (const track of this.tracks) track.close();
    this.options.home.release();
  }

  standsOn(worker: MediaWorker): boolean {
    return this.options.home.worker === worker;
  }

  /** Whether a connected publisher has sent nothing for too long. */
  get isSilent(): boolean {
    return this.connected && this.activity.isSilent;
  }

  async stats(nowMs: number): Promise<SessionStatsInit> {
    const [video, audio] = await Promise.all([this.received('video'), this.received('audio')]);
    this.activity.measured(
      new Map([
        ['video', video?.packetCount ?? 0],
        ['audio', audio?.packetCount ?? 0],
      ]),
      awakeNowMs(),
    );
    const meter = this.stream?.videoMeter;
    return {
      sessionId: this.identity.sessionId,
      videoBps: BigInt(this.videoRate.next(video?.byteCount ?? 0, nowMs)),
      audioBps: BigInt(this.audioRate.next(audio?.byteCount ?? 0, nowMs)),
      videoFps: this.stream?.videoFps ?? 0,
      nackCount: BigInt(video?.nackCount ?? 0),
      pliCount: BigInt(video?.pliCount ?? 0),
      lostPackets: BigInt(Math.max(0, video?.packetsLost ?? 0)),
      audioLostPackets: BigInt(Math.max(0, audio?.packetsLost ?? 0)),
      width: meter?.width ?? 0,
      height: meter?.height ?? 0,
      videoKeyFrames: BigInt(meter?.keyFrames ?? 0),
    };
  }

  async packetsReceived(): Promise<number> {
    const received = await Promise.all([this.received('video'), this.received('audio')]);
    return received.reduce((sum, stat) => sum + (stat?.packetCount ?? 0), 0);
  }

  private async received(kind: mediasoup.MediaKind): Promise<mediasoup.ProducerStat | undefined> {
    const producer = this.tracks.find(({ description }) => description.kind === kind)?.producer;
    if (producer === undefined || producer.closed) return undefined;
    return (await producer.getStats())[0];
  }
}

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
  readonly kind = 'player';
  readonly identity: SessionIdentity;
  readonly stream: Stream;
  peer: WebRtcPeer | undefined;
  private readonly videoRate = new Rate();
  private readonly audioRate = new Rate();
  private lossyReports = 0;
  private reportsUntilWarning = 0;
  private closed = false;

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

  onPeerConnected(): void {
    const { notifier, lent } = this.options;
    for (const track of lent) track.start();
    notifier.connected(this.identity);
    const { width, height } = this.stream.info;
    if (width > 0) notifier.videoSize(this.identity, width, height);
  }

  end(reason: EndReason): void {
    if (this.closed) return;
    this.closed = true;
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
    const [video, audio] = await Promise.all([this.sent('video'), this.sent('audio')]);
    const { videoMeter, videoFps } = this.stream;
    const videoBps = this.videoRate.next(video?.byteCount ?? 0, nowMs);
    this.judgeLoss((video?.fractionLost ?? 0) / 256, videoBps);
    return {
      sessionId: this.identity.sessionId,
      videoBps: BigInt(videoBps),
      audioBps: BigInt(this.audioRate.next(audio?.byteCount ?? 0, nowMs)),
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

  private judgeLoss(lossShare: number, videoBps: number): void {
    this.lossyReports = lossShare > LOSS_SHARE_TOO_HIGH ? this.lossyReports + 1 : 0;
    this.reportsUntilWarning = Math.max(0, this.reportsUntilWarning - 1);
    if (this.lossyReports < LOSSY_REPORTS || this.reportsUntilWarning > 0) return;
    this.reportsUntilWarning = REPORTS_BETWEEN_WARNINGS;
    this.options.notifier.notEnoughBandwidth(this.identity, videoBps, Math.round(videoBps * (1 - lossShare)));
  }

  private async sent(kind: mediasoup.MediaKind): Promise<mediasoup.ConsumerStat | undefined> {
    const consumer = this.options.consumers.find((candidate) => candidate.kind === kind);
    if (consumer === undefined || consumer.closed) return undefined;
    const stats = await consumer.getStats();
    return stats.find(({ type }) => type === 'outbound-rtp');
  }
}
