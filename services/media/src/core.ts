import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { mayClaimReserved, type NameReservation, type ReservedNames } from '@weir/access';
import {
  EndReason,
  ErrorCode,
  NameClaimSchema,
  WeirError,
  type NameClaim,
  type StreamInfo,
  type StreamSignal,
} from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { joinMetrics } from './metrics.js';
import type { SessionNotifier } from './notifier.js';
import type { StreamRegistry } from './registry.js';
import { measureIntervalMs, type Session, type SessionStatsInit } from './session.js';
import { takeSnapshot } from './snapshot.js';
import { Stream, type StreamListener, type StreamSource } from './stream.js';
import { Transcoders } from './transcoder.js';
import type { MediaWorker, WorkerPool } from './worker-pool.js';

/** Tells the platform about changes of streams, and tells the core whether other nodes are alive. */
export interface Surroundings {
  streamStarted(info: StreamInfo): void;
  streamEnded(info: StreamInfo, reason: EndReason): void;
  viewersChanged(info: StreamInfo): void;
  /** Whether a media node is known to be gone. False also for a node that isn't known yet. */
  isNodeGone(nodeId: string): boolean;
  /** From now on the owner's sessions end when the owner falls silent. */
  watchOwner(ownerId: string): void;
  /** Asks the node of a stream to give the stream's name to a successor. Never rejects. */
  yieldName(holder: StreamInfo, claim: NameClaim): Promise<void>;
}

export interface MediaCoreOptions {
  nodeId: string;
  workers: WorkerPool;
  registry: StreamRegistry;
  reservedNames: Pick<ReservedNames, 'find' | 'refresh' | 'known'>;
  notifier: SessionNotifier;
  surroundings: Surroundings;
  log: Logger;
  maxSessions: number;
  ffmpegBin: string;
  maxTranscodes: number;
}

interface Follower {
  readonly tenant: string;
  readonly streamNames: readonly string[];
  began(): void;
}

/** A new publisher waits this long for a name that is taken. Then it is refused. */
const NAME_WAIT_MS = 800;
const NAME_RETRY_MS = 50;
/** While a successor waits for the name, a publisher that sends nothing for this long counts as gone. */
const SUCCESSION_SILENCE_MS = 300;
const REGISTRY_REFRESH_MS = 3_000;
const TICK_MS = 500;
const MAX_NAME_LENGTH = 256;

/** The streams and sessions of one media node. */
export class MediaCore {
  readonly #streams = new Map<string, Stream>();
  /** Names that are claimed for sources that aren't there yet. */
  readonly #reserved = new Map<string, StreamInfo>();
  /** The rights by which each name of this node was claimed. */
  readonly #claims = new Map<string, NameClaim>();
  readonly #sessions = new Map<string, Session>();
  readonly #followers = new Set<Follower>();
  readonly #nextStatsMs = new Map<Session, number>();
  /** When sessions end whose owner is gone. */
  readonly #orphans = new Map<Session, number>();
  readonly #ticker: NodeJS.Timeout;
  #lastRefreshMs = 0;
  #lastMeasureMs = 0;
  #draining = false;

  readonly transcoders: Transcoders;

  constructor(private readonly options: MediaCoreOptions) {
    this.transcoders = new Transcoders(options);
    options.workers.onDied((worker) => this.#onWorkerDied(worker));
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
  }

  get load(): { streams: number; publishers: number; players: number } {
    const sessions = [...this.#sessions.values()];
    return {
      streams: this.#streams.size,
      publishers: sessions.filter(({ tag }) => tag === 'publisher').length,
      players: sessions.filter(({ tag }) => tag === 'player').length,
    };
  }

  /** The number of pipes between routers now: one per track and dialect or worker. */
  get pipeCount(): number {
    return [...this.#streams.values()].reduce((count, stream) => count + stream.pipeCount, 0);
  }

  /** The number of streams that are being transcoded for WebRTC players. */
  get transcodeCount(): number {
    return [...this.#streams.values()].filter(({ source }) => source.transcoding).length;
  }

  /** Claims a name for a stream that is about to begin. The claim lasts until `openStream` or `unclaim`. */
  async claim(info: StreamInfo, claim: NameClaim = NO_CLAIM): Promise<void> {
    this.assertRoom();
    checkName(info.tenant, info.streamName);
    const reservation = await this.assertMayClaim(info, claim);
    if (claim.owner === reservation?.owner) info.nameOwner = claim.owner;
    info.epoch = await this.#claimName(info, claim);
    const key = streamKey(info.tenant, info.streamName);
    this.#reserved.set(key, info);
    this.#claims.set(key, claim);
  }

  /** @throws WeirError FORBIDDEN when the name is reserved for somebody else, UNAVAILABLE when that is unknown */
  async assertMayClaim(
    { tenant, streamName }: Pick<StreamInfo, 'tenant' | 'streamName'>,
    claim: NameClaim,
  ): Promise<NameReservation | undefined> {
    const reservation = await this.options.reservedNames.find(tenant, streamName);
    if (reservation !== undefined && !mayClaimReserved(reservation, claim))
      throw new WeirError(ErrorCode.FORBIDDEN, 'the stream name belongs to somebody else; choose another one', {
        streamName,
      });
    return reservation;
  }

  /** Ends a stream when its publisher has fallen silent and the claimer has proved that it is the same client. */
  async yieldName(tenant: string, streamName: string, { claimer }: NameClaim): Promise<boolean> {
    const key = streamKey(tenant, streamName);
    const stream = this.#streams.get(key);
    const session = this.#sessions.get(stream?.info.publisherSessionId ?? '');
    const isSuccessor = claimer !== '' && this.#claims.get(key)?.claimer === claimer;
    if (stream === undefined || session?.packetsReceived === undefined || !isSuccessor) return false;
    const packetsBefore = await session.packetsReceived();
    await sleep(SUCCESSION_SILENCE_MS);
    if (this.#streams.get(key) === stream) {
      if ((await session.packetsReceived()) !== packetsBefore) return false;
      stream.end(EndReason.REPLACED);
    }
    return true;
  }

  /** Gives up the name of a stream that hasn't begun. */
  unclaim(info: StreamInfo): void {
    if (this.#reserved.delete(streamKey(info.tenant, info.streamName))) this.#releaseName(info);
  }

  /** From now on the session belongs to its owner and ends when the owner is gone. */
  addSession(session: Session): void {
    const { sessionId, ownerId } = session.identity;
    this.assertFreshId(sessionId);
    this.#sessions.set(sessionId, session);
    this.options.surroundings.watchOwner(ownerId);
  }

  /** Begins a stream on this node. The caller has claimed its name and added its session. */
  openStream(info: StreamInfo, source: StreamSource, sourceListener: StreamListener): Stream {
    const stream = new Stream({
      info,
      source,
      sourceListener,
      nowMs: () => performance.now(),
      onChanged: (changed) => this.#writeToRegistry(changed),
      onViewersChanged: (changed) => this.options.surroundings.viewersChanged(changed.info),
      onEnded: (ended, reason) => this.#onStreamEnded(ended, reason),
    });
    const key = streamKey(info.tenant, info.streamName);
    this.#reserved.delete(key);
    this.#streams.set(key, stream);
    joinMetrics.published(info.codecs?.video ?? '');
    stream.watchVideo().catch((error: unknown) => {
      this.options.log.warn({ err: error, streamName: info.streamName }, "video can't be watched");
    });
    this.options.surroundings.streamStarted(info);
    for (const { tenant, streamNames, began } of this.#followers)
      if (tenant === info.tenant && streamNames.includes(info.streamName)) began();
    return stream;
  }

  /** Calls `began` when a stream of these names begins on this node, until the returned function is called. */
  follow(tenant: string, streamNames: readonly string[], began: () => void): () => void {
    const follower = { tenant, streamNames, began };
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Called when a session has ended. */
  forget(session: Session): void {
    this.#sessions.delete(session.identity.sessionId);
    this.#nextStatsMs.delete(session);
    this.#orphans.delete(session);
  }

  closeSession(sessionId: string, reason: EndReason): void {
    this.#sessions.get(sessionId)?.end(reason);
  }

  /** A session that may outlive its owner waits for another one. */
  closeSessionsOf(ownerId: string): void {
    const orphans = [...this.#sessions.values()].filter(({ identity }) => identity.ownerId === ownerId);
    if (orphans.length > 0) this.options.log.warn({ ownerId, sessions: orphans.length }, 'owner of sessions is gone');
    for (const session of orphans) {
      const { orphanMs = 0 } = session.identity;
      if (orphanMs === 0) session.end(EndReason.OWNER_LOST);
      else if (!this.#orphans.has(session)) this.#orphans.set(session, performance.now() + orphanMs);
    }
  }

  /** @returns whether its media are connected @throws WeirError NOT_FOUND */
  adoptSession(sessionId: string, ownerId: string): boolean {
    const session = this.#sessions.get(sessionId);
    if (session === undefined)
      throw new WeirError(ErrorCode.NOT_FOUND, 'no such session on this media node', { sessionId });
    session.identity.ownerId = ownerId;
    this.#orphans.delete(session);
    this.options.surroundings.watchOwner(ownerId);
    return session.connected;
  }

  async findStreams(tenant: string, streamName: string): Promise<StreamInfo[]> {
    if (streamName !== '') {
      const own = this.#streams.get(streamKey(tenant, streamName));
      if (own !== undefined) return [own.info];
      const found = await this.options.registry.find(tenant, streamName);
      return found !== undefined && this.#mayLive(found) ? [found] : [];
    }
    const own = [...this.#streams.values()].map(({ info }) => info).filter((info) => info.tenant === tenant);
    const others = (await this.options.registry.list(tenant)).filter(
      (info) => info.nodeId !== this.options.nodeId && this.#mayLive(info),
    );
    return [...own, ...others];
  }

  /** @param sessionId the publisher's session; empty when the platform itself sends the signal */
  signal(tenant: string, streamName: string, sessionId: string, signal: StreamSignal): void {
    const stream = this.streamOf(tenant, streamName);
    if (sessionId !== '' && sessionId !== stream.info.publisherSessionId)
      throw new WeirError(ErrorCode.FORBIDDEN, 'only the publisher of a stream speaks for it', { streamName });
    stream.signal(signal);
  }

  async snapshot(tenant: string, streamName: string): Promise<Uint8Array> {
    const stream = this.streamOf(tenant, streamName);
    return stream.use((ending) => takeSnapshot(stream, this.options.ffmpegBin, ending));
  }

  async sessionStats(sessionIds: readonly string[]): Promise<SessionStatsInit[]> {
    const sessions = sessionIds.map((id) => this.#sessions.get(id)).filter((session) => session !== undefined);
    return Promise.all(sessions.map((session) => session.stats(performance.now())));
  }

  /** Refuses new streams and sessions, and ends the existing ones. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const stream of [...this.#streams.values()]) stream.end(EndReason.NODE_SHUTDOWN);
    for (const session of [...this.#sessions.values()]) session.end(EndReason.NODE_SHUTDOWN);
    // The names are released in the registry before the process ends.
    await sleep(100);
  }

  close(): void {
    clearInterval(this.#ticker);
    this.options.workers.close();
  }

  /** @throws WeirError INVALID */
  assertFreshId(sessionId: string): void {
    if (this.#sessions.has(sessionId))
      throw new WeirError(ErrorCode.INVALID, 'the session id is in use', { sessionId });
  }

  /** @throws WeirError UNAVAILABLE, EXHAUSTED */
  assertRoom(): void {
    if (this.#draining) throw new WeirError(ErrorCode.UNAVAILABLE, 'the media node is shutting down');
    const { maxSessions } = this.options;
    if (this.#sessions.size >= maxSessions)
      throw new WeirError(ErrorCode.EXHAUSTED, 'the media node is full', { maxSessions: String(maxSessions) });
  }

  findLocal(tenant: string, streamName: string): Stream | undefined {
    return this.#streams.get(streamKey(tenant, streamName));
  }

  /** @throws WeirError NOT_FOUND */
  streamOf(tenant: string, streamName: string): Stream {
    const stream = this.#streams.get(streamKey(tenant, streamName));
    if (stream === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream', { tenant, streamName });
    return stream;
  }

  /** False for the record of a node that is known to be gone. */
  #mayLive(info: StreamInfo): boolean {
    return info.nodeId !== this.options.nodeId && !this.options.surroundings.isNodeGone(info.nodeId);
  }

  /**
   * Claims the stream's name. A holder loses the name when its connection is broken or its node is gone. Any other
   * holder has a moment to give the name up, because a client may reconnect before its old session has ended. A claimer
   * takes over when it proves that it is the same client as a silent holder, or when the name is reserved for it.
   */
  async #claimName(info: StreamInfo, claim: NameClaim): Promise<bigint> {
    const deadlineMs = performance.now() + NAME_WAIT_MS;
    let insteadOf: bigint | undefined;
    let hasAsked = claim.claimer === '';
    for (;;) {
      const outcome = await this.options.registry.claim(info, insteadOf);
      if (outcome.tag === 'mine') return outcome.epoch;
      const { by: holder } = outcome;
      const isHere = holder.nodeId === this.options.nodeId;
      insteadOf = undefined;
      const own = this.#streams.get(streamKey(info.tenant, info.streamName));
      if (own?.source.broken === true) own.end(EndReason.REPLACED);
      else if (!isHere && this.options.surroundings.isNodeGone(holder.nodeId)) insteadOf = holder.epoch;
      else if (info.nameOwner !== '' && holder.nameOwner !== info.nameOwner) {
        // The name is reserved for the claimer. The holder got it before this node knew of the reservation.
        if (isHere) this.#sessions.get(holder.publisherSessionId)?.end(EndReason.REPLACED);
        else insteadOf = holder.epoch;
      } else if (!hasAsked) {
        hasAsked = true;
        if (isHere) await this.yieldName(info.tenant, info.streamName, claim);
        else await this.options.surroundings.yieldName(holder, claim);
      }
      if (performance.now() > deadlineMs)
        throw new WeirError(ErrorCode.ALREADY_EXISTS, 'the stream name is in use', { streamName: info.streamName });
      if (insteadOf === undefined) await sleep(NAME_RETRY_MS);
    }
  }

  /** @throws WeirError UNAVAILABLE while no worker lives */
  pickWorker(preferred?: MediaWorker): MediaWorker {
    const worker = this.options.workers.pick(preferred);
    if (worker === undefined) throw new WeirError(ErrorCode.UNAVAILABLE, 'no media worker lives at this moment');
    return worker;
  }

  #onStreamEnded(stream: Stream, reason: EndReason): void {
    const { tenant, streamName } = stream.info;
    this.#streams.delete(streamKey(tenant, streamName));
    this.#releaseName(stream.info);
    this.options.surroundings.streamEnded(stream.info, reason);
  }

  #releaseName(info: StreamInfo): void {
    const { tenant, streamName } = info;
    this.#claims.delete(streamKey(tenant, streamName));
    this.options.registry.release(info).catch((error: unknown) => {
      this.options.log.warn({ err: error, streamName }, 'stream name not released, its lease will expire');
    });
  }

  #onWorkerDied(worker: MediaWorker): void {
    for (const session of [...this.#sessions.values()]) if (session.standsOn(worker)) session.end(EndReason.NODE_LOST);
  }

  #writeToRegistry(stream: Stream): void {
    this.options.registry.write(stream.info).then(
      (held) => {
        if (!held) stream.end(EndReason.REPLACED);
      },
      (error: unknown) => {
        this.options.log.warn({ err: error, streamName: stream.info.streamName }, 'stream record not written');
      },
    );
  }

  #tick(): void {
    const nowMs = performance.now();
    if (nowMs - this.#lastRefreshMs >= REGISTRY_REFRESH_MS) {
      this.#lastRefreshMs = nowMs;
      for (const stream of this.#streams.values()) this.#writeToRegistry(stream);
      void this.#endStrays();
      for (const info of this.#reserved.values())
        this.options.registry.write(info).catch((error: unknown) => {
          this.options.log.warn({ err: error, streamName: info.streamName }, 'stream record not written');
        });
    }
    if (nowMs - this.#lastMeasureMs >= 1_000) {
      this.#lastMeasureMs = nowMs;
      for (const stream of this.#streams.values()) stream.measure(nowMs);
    }
    for (const session of [...this.#sessions.values()]) {
      if (session.isSilent) {
        session.end(EndReason.NO_MEDIA);
        continue;
      }
      if (nowMs >= (this.#orphans.get(session) ?? Infinity)) {
        session.end(EndReason.OWNER_LOST);
        continue;
      }
      this.#reportWhenDue(session, nowMs);
    }
  }

  /** Ends streams whose names were reserved for somebody else after they were claimed. Never rejects. */
  async #endStrays(): Promise<void> {
    const { reservedNames, log } = this.options;
    try {
      await reservedNames.refresh();
    } catch (error) {
      log.warn({ err: error }, 'names could not be compared with those that are reserved');
      return;
    }
    for (const [key, stream] of this.#streams) {
      const { tenant, streamName } = stream.info;
      const reservation = reservedNames.known(tenant, streamName);
      if (reservation === undefined || mayClaimReserved(reservation, this.#claims.get(key) ?? NO_CLAIM)) continue;
      log.info(
        { tenant, streamName, owner: reservation.owner },
        'a stream ends: its name belongs to somebody else now',
      );
      stream.end(EndReason.REPLACED);
    }
  }

  #reportWhenDue(session: Session, nowMs: number): void {
    const { statsIntervalMs } = session.identity;
    if (statsIntervalMs === 0 && session.tag === 'player') return;
    const dueMs = this.#nextStatsMs.get(session) ?? 0;
    if (nowMs < dueMs - TICK_MS / 2) return;
    this.#nextStatsMs.set(session, nowMs + measureIntervalMs(session.identity));
    session.stats(nowMs).then(
      (stats) => {
        if (statsIntervalMs > 0 && this.#sessions.has(session.identity.sessionId) && session.connected)
          this.options.notifier.stats(session.identity, stats);
      },
      (error: unknown) => {
        // The session was closed while the worker was preparing the statistics.
        this.options.log.debug({ err: error }, 'session has no statistics');
      },
    );
  }
}

/** The claim of a client without any rights. */
const NO_CLAIM = create(NameClaimSchema);

const streamKey = (tenant: string, streamName: string) => `${tenant}\n${streamName}`;

function checkName(tenant: string, streamName: string): void {
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(tenant))
    throw new WeirError(ErrorCode.INVALID, 'a tenant is 1 to 63 characters of a-z, 0-9, _ and -', { tenant });
  if (streamName === '' || streamName.length > MAX_NAME_LENGTH)
    throw new WeirError(ErrorCode.INVALID, `a stream name has 1 to ${MAX_NAME_LENGTH} characters`);
}
