import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import {
  EndReason,
  ErrorCode,
  IceTransport,
  StreamInfoSchema,
  WeirError,
  type BitrateLimits,
  type PlayRequest,
  type PublishRequest,
  type StreamInfo,
  type StreamSignal,
} from '@weir/contracts';
import {
  codecName,
  dialectKey,
  negotiatePlay,
  negotiatePublish,
  NoCommonCodecsError,
  parseOffer,
  routerCodecs,
  SdpError,
  writeAnswer,
  type AnswerSection,
  type Offer,
  type PlaySection,
  type PublishSection,
  type ReceiveSection,
  type SendSection,
} from '@weir/media-core';
import type { Logger } from '@weir/platform';
import type { types as mediasoup } from 'mediasoup';
import { joinMetrics } from './metrics.js';
import type { SessionNotifier } from './notifier.js';
import { WebRtcPeer } from './peer.js';
import type { StreamRegistry } from './registry.js';
import { ProducedTrack } from './produced-track.js';
import {
  PlayerSession,
  PublisherSession,
  type Session,
  type SessionIdentity,
  type SessionStatsInit,
} from './session.js';
import { takeSnapshot } from './snapshot.js';
import { Stream, type StreamListener, type StreamSource } from './stream.js';
import type { LentTrack } from './track.js';
import type { MediaWorker, RouterLease, WorkerPool } from './worker-pool.js';

/** What `StreamChanged` and the liveness of other nodes are to the core. */
export interface Surroundings {
  streamStarted(info: StreamInfo): void;
  streamEnded(info: StreamInfo, reason: EndReason): void;
  viewersChanged(info: StreamInfo): void;
  /** Whether a media node is known to be gone, as opposed to not yet known. */
  isNodeGone(nodeId: string): boolean;
  /** From now on the owner's silence ends its sessions. */
  watchOwner(ownerId: string): void;
}

export interface MediaCoreOptions {
  nodeId: string;
  workers: WorkerPool;
  registry: StreamRegistry;
  notifier: SessionNotifier;
  surroundings: Surroundings;
  log: Logger;
  connectTimeoutMs: number;
  consentTimeoutMs: number;
  noMediaTimeoutMs: number;
  maxBitrateBps: number;
  maxSessions: number;
  ffmpegBin: string;
}

export interface Answer {
  answerSdp: string;
  codecs: { audio: string; video: string };
}

/** How long a name that is taken may take to come free before its new publisher is refused. */
const NAME_WAIT_MS = 800;
const NAME_RETRY_MS = 50;
const REGISTRY_REFRESH_MS = 3_000;
const TICK_MS = 500;
/** Two requests for a key frame within this time become one, so that a crowd of joiners costs one key frame. */
const KEY_FRAME_REQUEST_DELAY_MS = 250;
const MAX_NAME_LENGTH = 256;

/** The streams and sessions of one media node. */
export class MediaCore {
  private readonly streams = new Map<string, Stream>();
  /** Names that are claimed for sources which aren't there yet. */
  private readonly reserved = new Map<string, StreamInfo>();
  private readonly sessions = new Map<string, Session>();
  private readonly nextStatsMs = new Map<Session, number>();
  private readonly ticker: NodeJS.Timeout;
  private lastRefreshMs = 0;
  private lastMeasureMs = 0;
  private draining = false;

  constructor(private readonly options: MediaCoreOptions) {
    options.workers.onDied((worker) => this.onWorkerDied(worker));
    this.ticker = setInterval(() => this.tick(), TICK_MS);
  }

  get load(): { streams: number; publishers: number; players: number } {
    const sessions = [...this.sessions.values()];
    return {
      streams: this.streams.size,
      publishers: sessions.filter(({ kind }) => kind === 'publisher').length,
      players: sessions.filter(({ kind }) => kind === 'player').length,
    };
  }

  /** Pipes between routers at this moment: one per track and dialect or worker. */
  get pipeCount(): number {
    return [...this.streams.values()].reduce((count, stream) => count + stream.pipeCount, 0);
  }

  /** Streams that are being transcoded for WebRTC players. */
  get transcodeCount(): number {
    return [...this.streams.values()].filter(({ source }) => source.transcoding).length;
  }

  /** Receives a stream from a WebRTC client. Its name is claimed before any media is touched. */
  async publish(request: PublishRequest): Promise<Answer> {
    this.assertRoom();
    checkName(request.tenant, request.streamName);
    this.assertFreshId(request.sessionId);
    const offer = refusing(() => parseOffer(request.offerSdp));
    const { sections } = refusing(() => negotiatePublish(offer));
    const codecs = codecNames(sections);
    const info = create(StreamInfoSchema, {
      tenant: request.tenant,
      streamName: request.streamName,
      nodeId: this.options.nodeId,
      startedAtMs: BigInt(Date.now()),
      codecs,
      protocol: request.protocol,
      publisherSessionId: request.sessionId,
      labels: request.labels,
    });
    info.epoch = await this.claimName(info);
    this.options.surroundings.watchOwner(request.ownerId);
    try {
      return { answerSdp: await this.receive(request, offer, sections, info), codecs };
    } catch (error) {
      await this.options.registry.release(info.tenant, info.streamName, info.epoch);
      throw error;
    }
  }

  /**
   * Claims a name for a source that isn't there yet. Its session exists from now on; it opens the stream itself when
   * it knows its tracks.
   */
  async reserve(identity: SessionIdentity, info: StreamInfo, makeSession: () => Session): Promise<void> {
    this.assertRoom();
    checkName(info.tenant, info.streamName);
    this.assertFreshId(identity.sessionId);
    info.epoch = await this.claimName(info);
    this.options.surroundings.watchOwner(identity.ownerId);
    this.reserved.set(streamKey(info.tenant, info.streamName), info);
    this.sessions.set(identity.sessionId, makeSession());
  }

  /** The session of a source that never opened its stream, or whose stream has ended, is gone. */
  release(session: Session, info: StreamInfo): void {
    this.forget(session);
    if (!this.reserved.delete(streamKey(info.tenant, info.streamName))) return;
    this.releaseName(info);
  }

  /** A stream begins on this node. Its name has been claimed, its session is known. */
  openStream(info: StreamInfo, source: StreamSource, sourceListener: StreamListener): Stream {
    const stream = new Stream({
      info,
      source,
      sourceListener,
      nowMs: () => performance.now(),
      onChanged: (changed) => this.writeToRegistry(changed),
      onViewersChanged: (changed) => this.options.surroundings.viewersChanged(changed.info),
      onEnded: (ended, reason) => this.onStreamEnded(ended, reason),
    });
    const key = streamKey(info.tenant, info.streamName);
    this.reserved.delete(key);
    this.streams.set(key, stream);
    joinMetrics.published(info.codecs?.video ?? '');
    stream.watchVideo().catch((error: unknown) => {
      this.options.log.warn({ err: error, streamName: info.streamName }, 'video can not be watched');
    });
    this.options.surroundings.streamStarted(info);
    return stream;
  }

  /** Somebody receives a stream on an owner's behalf. */
  addViewer(session: Session & StreamListener, stream: Stream): void {
    this.assertFreshId(session.identity.sessionId);
    stream.join(session);
    this.sessions.set(session.identity.sessionId, session);
    this.options.surroundings.watchOwner(session.identity.ownerId);
  }

  forget(session: Session): void {
    this.sessions.delete(session.identity.sessionId);
    this.nextStatsMs.delete(session);
  }

  /** Sends a stream of this node to a WebRTC client. */
  async play(request: PlayRequest): Promise<Answer & { stream: StreamInfo }> {
    this.assertRoom();
    this.assertFreshId(request.sessionId);
    const stream = this.streamOf(request.tenant, request.streamName);
    const offer = refusing(() => parseOffer(request.offerSdp));
    const { sections } = refusing(() =>
      negotiatePlay(offer, { audio: stream.track('audio')?.webRtcCodec, video: stream.track('video')?.webRtcCodec }),
    );
    const answerSdp = await this.send(request, offer, sections, stream);
    this.options.surroundings.watchOwner(request.ownerId);
    return { answerSdp, codecs: codecNames(sections), stream: stream.info };
  }

  closeSession(sessionId: string, reason: EndReason): void {
    this.sessions.get(sessionId)?.end(reason);
  }

  closeSessionsOf(ownerId: string): void {
    const orphans = [...this.sessions.values()].filter(({ identity }) => identity.ownerId === ownerId);
    if (orphans.length > 0) this.options.log.warn({ ownerId, sessions: orphans.length }, 'owner of sessions is gone');
    for (const session of orphans) session.end(EndReason.OWNER_LOST);
  }

  async findStreams(tenant: string, streamName: string): Promise<StreamInfo[]> {
    if (streamName !== '') {
      const own = this.streams.get(streamKey(tenant, streamName));
      if (own !== undefined) return [own.info];
      const found = await this.options.registry.find(tenant, streamName);
      return found !== undefined && this.mayLive(found) ? [found] : [];
    }
    const own = [...this.streams.values()].map(({ info }) => info).filter((info) => info.tenant === tenant);
    const others = (await this.options.registry.list(tenant)).filter(
      (info) => info.nodeId !== this.options.nodeId && this.mayLive(info),
    );
    return [...own, ...others];
  }

  /** @param sessionId the publisher's; empty when the platform itself speaks */
  signal(tenant: string, streamName: string, sessionId: string, signal: StreamSignal): void {
    const stream = this.streamOf(tenant, streamName);
    if (sessionId !== '' && sessionId !== stream.info.publisherSessionId)
      throw new WeirError(ErrorCode.FORBIDDEN, 'only the publisher of a stream speaks for it', { streamName });
    stream.signal(signal);
  }

  async snapshot(tenant: string, streamName: string): Promise<Uint8Array> {
    return takeSnapshot(this.streamOf(tenant, streamName), this.options.ffmpegBin);
  }

  async sessionStats(sessionIds: readonly string[]): Promise<SessionStatsInit[]> {
    const sessions = sessionIds.map((id) => this.sessions.get(id)).filter((session) => session !== undefined);
    return Promise.all(sessions.map((session) => session.stats(performance.now())));
  }

  /** Takes nothing new and ends what there is. */
  async drain(): Promise<void> {
    this.draining = true;
    for (const stream of [...this.streams.values()]) stream.end(EndReason.NODE_SHUTDOWN);
    for (const session of [...this.sessions.values()]) session.end(EndReason.NODE_SHUTDOWN);
    // The registry forgets the names before the process does.
    await sleep(100);
  }

  close(): void {
    clearInterval(this.ticker);
    this.options.workers.close();
  }

  private assertFreshId(sessionId: string): void {
    if (this.sessions.has(sessionId)) throw new WeirError(ErrorCode.INVALID, 'the session id is in use', { sessionId });
  }

  assertRoom(): void {
    if (this.draining) throw new WeirError(ErrorCode.UNAVAILABLE, 'the media node is shutting down');
    const { maxSessions } = this.options;
    if (this.sessions.size >= maxSessions)
      throw new WeirError(ErrorCode.EXHAUSTED, 'the media node is full', { maxSessions: String(maxSessions) });
  }

  /** A stream of this node, or undefined. */
  findLocal(tenant: string, streamName: string): Stream | undefined {
    return this.streams.get(streamKey(tenant, streamName));
  }

  streamOf(tenant: string, streamName: string): Stream {
    const stream = this.streams.get(streamKey(tenant, streamName));
    if (stream === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream', { tenant, streamName });
    return stream;
  }

  /** A record of a node that is known to be gone is no stream. */
  private mayLive(info: StreamInfo): boolean {
    return info.nodeId !== this.options.nodeId && !this.options.surroundings.isNodeGone(info.nodeId);
  }

  /**
   * Claims the stream's name. A holder that can't be heard any more, or whose node is gone, loses it; any other has a
   * moment to give it up by itself, because a client that reconnects may be faster than the end of its old session.
   */
  private async claimName(info: StreamInfo): Promise<bigint> {
    const deadlineMs = performance.now() + NAME_WAIT_MS;
    let replacing: bigint | undefined;
    for (;;) {
      const claim = await this.options.registry.claim(info, replacing);
      if (claim.tag === 'claimed') return claim.epoch;
      replacing = undefined;
      const own = this.streams.get(streamKey(info.tenant, info.streamName));
      if (own?.source.broken === true) own.end(EndReason.REPLACED);
      else if (claim.by.nodeId !== this.options.nodeId && this.options.surroundings.isNodeGone(claim.by.nodeId))
        replacing = claim.by.epoch;
      if (performance.now() > deadlineMs)
        throw new WeirError(ErrorCode.ALREADY_EXISTS, 'the stream name is in use', { streamName: info.streamName });
      if (replacing === undefined) await sleep(NAME_RETRY_MS);
    }
  }

  private async receive(
    request: PublishRequest,
    offer: Offer,
    sections: readonly PublishSection[],
    info: StreamInfo,
  ): Promise<string> {
    const worker = this.pickWorker();
    const home = await this.leaseRouter(worker, sections);
    const transports: mediasoup.WebRtcTransport[] = [];
    try {
      const answered = await this.openTransports(home, offer, sections, request.iceTransport, transports);
      const maxBps = Number(request.bitrate?.maxBps ?? 0n) || this.options.maxBitrateBps;
      await Promise.all(transports.map((transport) => transport.setMaxIncomingBitrate(maxBps)));
      const tracks = await Promise.all(
        sections.filter((section) => section.tag === 'receive').map((section) => produce(section, answered, home)),
      );
      const answerSdp = writeAnswer({
        offer,
        transports: answered,
        sections,
        bitrate: bitrateOf(request.bitrate),
        originId: Date.now(),
      });
      this.openPublisher(request, info, home, transports, tracks);
      return answerSdp;
    } catch (error) {
      for (const transport of transports) transport.close();
      home.release();
      throw error;
    }
  }

  private openPublisher(
    request: PublishRequest,
    info: StreamInfo,
    home: RouterLease,
    transports: mediasoup.WebRtcTransport[],
    tracks: readonly ProducedTrack[],
  ): void {
    const session = new PublisherSession({
      identity: request,
      notifier: this.options.notifier,
      home,
      tracks,
      noMediaTimeoutMs: this.options.noMediaTimeoutMs,
      nowMs: performance.now(),
    });
    session.peer = new WebRtcPeer(
      transports,
      { connectMs: this.options.connectTimeoutMs },
      () => session.onPeerConnected(performance.now()),
      (reason) => session.end(reason),
    );
    this.sessions.set(request.sessionId, session);
    session.stream = this.openStream(info, session, session);
  }

  private async send(
    request: PlayRequest,
    offer: Offer,
    sections: readonly PlaySection[],
    stream: Stream,
  ): Promise<string> {
    const lease = await this.leaseRouter(this.pickWorker(homeWorkerOf(stream)), sections);
    const transports: mediasoup.WebRtcTransport[] = [];
    const lent: LentTrack[] = [];
    try {
      const answered = await this.openTransports(lease, offer, sections, request.iceTransport, transports);
      const consumers: mediasoup.Consumer[] = [];
      const answerSections: AnswerSection[] = [];
      for (const section of sections) {
        if (section.tag !== 'send') {
          answerSections.push(section);
          continue;
        }
        const track = stream.track(section.kind);
        const transport = answered[section.transportIndex];
        if (track === undefined || transport === undefined) throw new Error('a negotiated section has no track');
        const lentTrack = await track.lend(lease);
        lent.push(lentTrack);
        const consumer = await consume(transport, lentTrack.producerId, section);
        consumers.push(consumer);
        answerSections.push({ ...section, sent: sentRtp(consumer, request.sessionId, section) });
      }
      const answerSdp = writeAnswer({
        offer,
        transports: answered,
        sections: answerSections,
        originId: Date.now(),
      });
      // The stream may have ended while the transports were made.
      this.streamOf(request.tenant, request.streamName);
      this.openPlayer(request, stream, lease, transports, lent, consumers);
      return answerSdp;
    } catch (error) {
      for (const transport of transports) transport.close();
      for (const track of lent) track.release();
      lease.release();
      throw error;
    }
  }

  private openPlayer(
    request: PlayRequest,
    stream: Stream,
    lease: RouterLease,
    transports: mediasoup.WebRtcTransport[],
    lent: readonly LentTrack[],
    consumers: readonly mediasoup.Consumer[],
  ): void {
    const session: PlayerSession = new PlayerSession({
      identity: request,
      notifier: this.options.notifier,
      stream,
      lease,
      lent,
      consumers,
      onClosed: () => this.forget(session),
    });
    session.peer = new WebRtcPeer(
      transports,
      { connectMs: this.options.connectTimeoutMs },
      () => session.onPeerConnected(),
      (reason) => session.end(reason),
    );
    stream.join(session);
    this.sessions.set(request.sessionId, session);
    joinMetrics.played(stream.info.codecs?.video ?? '');
  }

  pickWorker(preferred?: MediaWorker): MediaWorker {
    const worker = this.options.workers.pick(preferred);
    if (worker === undefined) throw new WeirError(ErrorCode.UNAVAILABLE, 'no media worker lives at this moment');
    return worker;
  }

  private leaseRouter(worker: MediaWorker, sections: readonly (PublishSection | PlaySection)[]): Promise<RouterLease> {
    const codecs = routerCodecs(sections) as mediasoup.RouterRtpCodecCapability[];
    return worker.leaseRouter(dialectKey(routerCodecs(sections)), codecs);
  }

  /** One transport for each of the offer's, connected; pushed to `opened` as they are made, for the caller's clean-up. */
  private async openTransports(
    { router, worker }: RouterLease,
    offer: Offer,
    sections: readonly (PublishSection | PlaySection)[],
    iceTransport: IceTransport,
    opened: mediasoup.WebRtcTransport[],
  ): Promise<(mediasoup.WebRtcTransport | undefined)[]> {
    const tcpOnly = iceTransport === IceTransport.TCP;
    return Promise.all(
      offer.transports.map(async ({ dtlsParameters, mediaIndexes }) => {
        if (mediaIndexes.every((index) => sections[index]?.tag === 'rejected')) return undefined;
        const transport = await router.createWebRtcTransport({
          webRtcServer: worker.webRtcServer,
          enableUdp: !tcpOnly,
          enableTcp: true,
          preferUdp: true,
          iceConsentTimeout: Math.ceil(this.options.consentTimeoutMs / 1_000),
          initialAvailableOutgoingBitrate: 2_000_000,
        });
        opened.push(transport);
        worker.transportCount += 1;
        transport.observer.once('close', () => {
          worker.transportCount -= 1;
        });
        await transport.connect({ dtlsParameters: dtlsParameters as mediasoup.DtlsParameters });
        return transport;
      }),
    );
  }

  private onStreamEnded(stream: Stream, reason: EndReason): void {
    const { tenant, streamName, publisherSessionId } = stream.info;
    this.streams.delete(streamKey(tenant, streamName));
    const session = this.sessions.get(publisherSessionId);
    if (session !== undefined) this.forget(session);
    this.releaseName(stream.info);
    this.options.surroundings.streamEnded(stream.info, reason);
  }

  private releaseName({ tenant, streamName, epoch }: StreamInfo): void {
    this.options.registry.release(tenant, streamName, epoch).catch((error: unknown) => {
      this.options.log.warn({ err: error, streamName }, 'stream name not released, its record will expire');
    });
  }

  private onWorkerDied(worker: MediaWorker): void {
    for (const stream of [...this.streams.values()])
      if (stream.source.standsOn(worker)) stream.end(EndReason.NODE_LOST);
    for (const session of [...this.sessions.values()])
      if (session instanceof PlayerSession && session.worker === worker) session.end(EndReason.NODE_LOST);
  }

  private writeToRegistry(stream: Stream): void {
    this.options.registry.write(stream.info).then(
      (held) => {
        if (!held) stream.end(EndReason.REPLACED);
      },
      (error: unknown) => {
        this.options.log.warn({ err: error, streamName: stream.info.streamName }, 'stream record not written');
      },
    );
  }

  private tick(): void {
    const nowMs = performance.now();
    if (nowMs - this.lastRefreshMs >= REGISTRY_REFRESH_MS) {
      this.lastRefreshMs = nowMs;
      for (const stream of this.streams.values()) this.writeToRegistry(stream);
      for (const info of this.reserved.values())
        this.options.registry.write(info).catch((error: unknown) => {
          this.options.log.warn({ err: error, streamName: info.streamName }, 'stream record not written');
        });
    }
    if (nowMs - this.lastMeasureMs >= 1_000) {
      this.lastMeasureMs = nowMs;
      for (const stream of this.streams.values()) stream.measure(nowMs);
    }
    for (const session of [...this.sessions.values()]) {
      if (session instanceof PublisherSession && session.isSilent(nowMs)) {
        session.end(EndReason.NO_MEDIA);
        continue;
      }
      this.reportWhenDue(session, nowMs);
    }
  }

  /** Every session is measured once a second, whether or not its owner wants to know: silence must be noticed. */
  private reportWhenDue(session: Session, nowMs: number): void {
    const { statsIntervalMs } = session.identity;
    if (statsIntervalMs === 0 && session.kind === 'player') return;
    const dueMs = this.nextStatsMs.get(session) ?? 0;
    if (nowMs < dueMs - TICK_MS / 2) return;
    this.nextStatsMs.set(session, nowMs + (statsIntervalMs || 1_000));
    session.stats(nowMs).then(
      (stats) => {
        if (statsIntervalMs > 0 && this.sessions.has(session.identity.sessionId) && session.connected)
          this.options.notifier.stats(session.identity, stats);
      },
      (error: unknown) => {
        // The session was closed while the worker was asked.
        this.options.log.debug({ err: error }, 'session has no statistics');
      },
    );
  }
}

const streamKey = (tenant: string, streamName: string) => `${tenant}\n${streamName}`;

function checkName(tenant: string, streamName: string): void {
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(tenant))
    throw new WeirError(ErrorCode.INVALID, 'a tenant is 1 to 63 characters of a-z, 0-9, _ and -', { tenant });
  if (streamName === '' || streamName.length > MAX_NAME_LENGTH)
    throw new WeirError(ErrorCode.INVALID, `a stream name has 1 to ${MAX_NAME_LENGTH} characters`);
}

const homeWorkerOf = (stream: Stream): MediaWorker | undefined =>
  (stream.track('video') ?? stream.track('audio'))?.homeWorker;

/** Turns what is wrong with an offer into an error of the contract. */
function refusing<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof NoCommonCodecsError)
      throw new WeirError(ErrorCode.NO_COMMON_CODECS, error.message, {}, { cause: error });
    if (error instanceof SdpError)
      throw new WeirError(ErrorCode.INVALID, error.message, { sdp: error.code }, { cause: error });
    throw error;
  }
}

function codecNames(sections: readonly (PublishSection | PlaySection)[]): { audio: string; video: string } {
  const used = sections.filter((section) => section.tag === 'receive' || section.tag === 'send');
  const name = (kind: 'audio' | 'video') => {
    const section = used.find((candidate) => candidate.kind === kind);
    return section === undefined ? '' : codecName(section);
  };
  return { audio: name('audio'), video: name('video') };
}

async function produce(
  section: ReceiveSection,
  transports: readonly (mediasoup.WebRtcTransport | undefined)[],
  home: RouterLease,
): Promise<ProducedTrack> {
  const transport = transports[section.transportIndex];
  if (transport === undefined) throw new Error('a negotiated section has no transport');
  const producer = await transport.produce({
    kind: section.kind,
    rtpParameters: section.rtpParameters as mediasoup.RtpParameters,
    keyFrameRequestDelay: KEY_FRAME_REQUEST_DELAY_MS,
  });
  return new ProducedTrack(section.streamCodec, producer, home);
}

const consume = (
  transport: mediasoup.WebRtcTransport,
  producerId: string,
  section: SendSection,
): Promise<mediasoup.Consumer> =>
  transport.consume({
    producerId,
    rtpCapabilities: section.rtpCapabilities as mediasoup.RtpCapabilities,
    // mediasoup's word for keeping packets to send them again; the player asks for them by NACK.
    enableRtx: section.kind === 'video',
  });

function sentRtp(consumer: mediasoup.Consumer, sessionId: string, section: SendSection) {
  const ssrc = consumer.rtpParameters.encodings?.[0]?.ssrc;
  if (ssrc === undefined) throw new Error('mediasoup gave a consumer no SSRC');
  const streamId = sessionId.replace(/[^A-Za-z0-9-]/g, '');
  return { ssrc, cname: streamId, streamId, trackId: `${streamId}-${section.kind}` };
}

const bitrateOf = (limits: BitrateLimits | undefined): { minBps?: number; maxBps?: number } => ({
  minBps: Number(limits?.minBps ?? 0n),
  maxBps: Number(limits?.maxBps ?? 0n),
});
