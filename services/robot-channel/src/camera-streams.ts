import type { CredentialWatch } from '@weir/access';
import { nobodyServes, type Bus } from '@weir/bus';
import {
  ErrorCode,
  isWeirError,
  RobotEvents,
  RobotStreams,
  type RobotRefusal,
  type StartRobotStreamReply,
  type StreamInfo,
} from '@weir/contracts';
import type { Leases } from '@weir/leases';
import type { MediaClient } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import { errOf, type Outcome } from '@weir/protocol-turing';
import { CameraStream, type CameraKey, type CameraStreamPorts, type Started } from './camera-stream.js';
import type { Commands } from './commands.js';
import { cameraOf, type CameraRecord, type Fleet } from './fleet.js';
import { errOfFailure } from './media-errs.js';
import type { RobotMetrics } from './metrics.js';

export interface CameraStreamsPorts {
  readonly bus: Pick<Bus, 'call' | 'subscribe' | 'onConnectionChange' | 'connected' | 'instanceId' | 'service'>;
  readonly fleet: Pick<Fleet, 'find'>;
  readonly leases: Pick<Leases, 'claim' | 'renew' | 'release' | 'find'>;
  readonly commands: Pick<Commands, 'send' | 'isReachable'>;
  readonly media: Pick<MediaClient, 'find' | 'ingest' | 'endStream' | 'onStreams'>;
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly metrics: Pick<RobotMetrics, 'started' | 'ended'>;
  readonly log: Logger;
  readonly commandTimeoutMs: number;
  readonly lingerMs: number;
}

interface Leased {
  readonly stream: CameraStream;
  readonly epoch: bigint;
  /** Resolves when the stream has ended and its lease is released. Never rejects. */
  readonly gone: Promise<void>;
}

type Owner =
  ({ readonly tag: 'here' } & Leased) | { readonly tag: 'there'; readonly instanceId: string; readonly epoch: bigint };

const TICK_INTERVAL_MS = 250;
const RENEW_INTERVAL_MS = 2_000;
/** A lease's life. Others find out that an owner is dead by asking it, not by waiting for the lease to end. */
export const LEASE_TTL_MS = 8_000;
const COMPARE_INTERVAL_MS = 10_000;
const MAX_ATTEMPTS = 4;
const FORWARD_MARGIN_MS = 3_000;

const nameOf = ({ tenant, robotId, camera }: CameraKey): string => `${tenant}/${robotId}/${camera}`;

export const errOfRefusal = ({ ec, em, dm }: RobotRefusal) => ({ ec, em, dm });

const outcomeOf = ({ outcome }: StartRobotStreamReply): Outcome<Started> => {
  switch (outcome.case) {
    case 'started':
      return { ok: true, ret: { nodeId: outcome.value.nodeId, streamName: outcome.value.streamName } };
    case 'refused':
      return { ok: false, err: errOfRefusal(outcome.value) };
    case undefined:
      return { ok: false, err: errOf('internal') };
    default:
      return outcome satisfies never;
  }
};

/**
 * The cameras' streams of all instances. The instance that is asked first leases the camera in Redis and starts its
 * stream; the other instances ask that one. The streams of an instance end with it.
 */
export class CameraStreams {
  readonly #streams = new Map<string, Leased>();
  readonly #bySession = new Map<string, CameraStream>();
  readonly #finding = new Map<string, Promise<Owner>>();
  readonly #subscriptions: { close(): Promise<void> }[];
  readonly #stopWatchingConnection: () => void;
  readonly #ticker: NodeJS.Timeout;
  #nextRenewMs = 0;
  #nextCompareMs = 0;
  #isRenewing = false;
  #draining = false;

  constructor(private readonly ports: CameraStreamsPorts) {
    const { bus, media } = ports;
    const watched = ({ publisherSessionId, viewers }: StreamInfo) =>
      this.#bySession.get(publisherSessionId)?.watched(viewers);
    this.#subscriptions = [
      media.onStreams({ started: watched, viewers: watched }),
      bus.subscribe(RobotEvents.method.robotChanged, ({ tenant, robotId }) => this.#robotChanged(tenant, robotId)),
    ];
    // Events that were sent while there was no connection are lost.
    this.#stopWatchingConnection = bus.onConnectionChange(() => {
      this.#nextCompareMs = 0;
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
  }

  get load(): { readonly starting: number; readonly live: number } {
    const phases = [...this.#bySession.values()].map(({ phase }) => phase);
    return {
      starting: phases.filter((phase) => phase === 'starting').length,
      live: phases.filter((phase) => phase === 'live').length,
    };
  }

  /** Never rejects, and never takes much longer than a robot may take. */
  async start(key: CameraKey, camera: CameraRecord, asker: string): Promise<Outcome<Started>> {
    let insteadOf: bigint | undefined;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const outcome = await this.#attempt(key, camera, asker, insteadOf);
      if (!('gone' in outcome)) return outcome;
      insteadOf = outcome.gone;
    }
    return { ok: false, err: errOf('unavailable') };
  }

  /** Answers another instance that took this one for the owner; doesn't forward the request. */
  async startHere(key: CameraKey, camera: CameraRecord, asker: string): Promise<Outcome<Started>> {
    const owner = await this.#ownerOf(key, camera, undefined);
    return owner.tag === 'here' ? this.#join(owner.stream, asker) : { ok: false, err: errOf('unavailable') };
  }

  /** Returns whether the stream has ended; also true if there was none. Throws WeirError or what Redis throws. */
  async stop(key: CameraKey, asker: string): Promise<boolean> {
    const local = this.#streams.get(nameOf(key));
    if (local !== undefined) return local.stream.leave(asker);
    const lease = await this.ports.leases.find(nameOf(key));
    if (lease === undefined || lease.owner === this.ports.bus.instanceId) return true;
    const { tenant, robotId, camera } = key;
    const request = { instanceId: lease.owner, tenant, robotId, camera, asker };
    try {
      return (await this.ports.bus.call(RobotStreams.method.stop, request)).stopped;
    } catch (error) {
      // The owner is dead, and the media core ends its streams.
      if (nobodyServes(error)) return true;
      throw error;
    }
  }

  /** Stops only a stream of this instance. */
  async stopHere(key: CameraKey, asker: string): Promise<boolean> {
    return (await this.#streams.get(nameOf(key))?.stream.leave(asker)) ?? true;
  }

  robotReturned({ tenant, robotId }: { readonly tenant: string; readonly robotId: string }): void {
    for (const stream of this.#bySession.values())
      if (stream.key.tenant === tenant && stream.key.robotId === robotId) stream.robotReturned();
  }

  /** Ends every stream and starts no new one. */
  async drain(): Promise<void> {
    this.#draining = true;
    const leased = [...this.#streams.values()];
    for (const { stream } of leased) void stream.end('draining');
    await Promise.all(leased.map(({ gone }) => gone));
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker);
    this.#stopWatchingConnection();
    await Promise.all(this.#subscriptions.map((subscription) => subscription.close()));
  }

  async #attempt(
    key: CameraKey,
    camera: CameraRecord,
    asker: string,
    insteadOf: bigint | undefined,
  ): Promise<Outcome<Started> | { readonly gone: bigint }> {
    try {
      const owner = await this.#ownerOf(key, camera, insteadOf);
      if (owner.tag === 'here') return await this.#join(owner.stream, asker);
      return await this.#forward(key, asker, owner);
    } catch (error) {
      this.ports.log.warn({ err: error, ...key }, 'a stream could not be asked for');
      return { ok: false, err: isWeirError(error) ? errOfFailure(error) : errOf('unavailable') };
    }
  }

  async #join(stream: CameraStream, asker: string): Promise<Outcome<Started>> {
    return stream.join(asker);
  }

  async #forward(
    { tenant, robotId, camera }: CameraKey,
    asker: string,
    { instanceId, epoch }: Extract<Owner, { tag: 'there' }>,
  ): Promise<Outcome<Started> | { readonly gone: bigint }> {
    const request = { instanceId, tenant, robotId, camera, asker };
    const deadlineMs = this.ports.commandTimeoutMs + FORWARD_MARGIN_MS;
    try {
      return outcomeOf(await this.ports.bus.call(RobotStreams.method.start, request, { deadlineMs }));
    } catch (error) {
      if (isWeirError(error, ErrorCode.DEADLINE)) return { ok: false, err: errOf('timeout') };
      // Nobody answers under the owner's name, so the owner is dead.
      if (nobodyServes(error)) return { gone: epoch };
      throw error;
    }
  }

  /**
   * Returns who has the camera's stream. If nobody has it, this instance takes it. Simultaneous callers share one
   * look-up.
   */
  async #ownerOf(key: CameraKey, camera: CameraRecord, insteadOf: bigint | undefined): Promise<Owner> {
    const name = nameOf(key);
    for (let local = this.#streams.get(name); local !== undefined; local = this.#streams.get(name)) {
      if (local.stream.phase !== 'ended') return { tag: 'here', ...local };
      await local.gone;
    }
    const finding = this.#finding.get(name);
    if (finding !== undefined) return finding;
    const found = this.#find(key, camera, insteadOf).finally(() => this.#finding.delete(name));
    this.#finding.set(name, found);
    return found;
  }

  async #find(key: CameraKey, camera: CameraRecord, insteadOf: bigint | undefined): Promise<Owner> {
    const { leases, bus } = this.ports;
    const name = nameOf(key);
    let claim = await leases.claim(name, '', insteadOf);
    // An earlier stream of this instance could not release its lease.
    if (claim.tag === 'held' && claim.by.owner === bus.instanceId) claim = await leases.claim(name, '', claim.by.epoch);
    if (claim.tag === 'held') return { tag: 'there', instanceId: claim.by.owner, epoch: claim.by.epoch };
    const stream = new CameraStream(key, camera, this.#streamPorts(key));
    const { epoch } = claim;
    const leased: Leased = { stream, epoch, gone: stream.ended.then(() => this.#letGo(name, stream, epoch)) };
    this.#streams.set(name, leased);
    this.#bySession.set(stream.sessionId, stream);
    if (this.#draining) void stream.end('draining');
    return { tag: 'here', ...leased };
  }

  async #letGo(name: string, stream: CameraStream, epoch: bigint): Promise<void> {
    this.#bySession.delete(stream.sessionId);
    try {
      await this.ports.leases.release(name, epoch);
    } catch (error) {
      this.ports.log.warn({ err: error, name }, 'the lease of a camera could not be given back');
    }
    this.#streams.delete(name);
  }

  #streamPorts({ tenant, robotId }: CameraKey): CameraStreamPorts {
    const { bus, commands, media, credentials, metrics, log, commandTimeoutMs, lingerMs } = this.ports;
    return {
      media,
      service: bus.service,
      command: (_robotId, command, timeoutMs) => commands.send({ tenant, robotId }, command, timeoutMs),
      isReachable: () => commands.isReachable({ tenant, robotId }),
      credentials,
      metrics,
      log,
      nowMs: Date.now,
      timeoutMs: commandTimeoutMs,
      lingerMs,
    };
  }

  async #robotChanged(tenant: string, robotId: string): Promise<void> {
    const concerned = [...this.#bySession.values()].filter(
      ({ key }) => key.tenant === tenant && key.robotId === robotId,
    );
    if (concerned.length === 0) return;
    const robot = await this.ports.fleet.find(tenant, robotId);
    for (const stream of concerned) stream.cameraChanged(robot && cameraOf(robot, stream.key.camera));
  }

  #tick(): void {
    const nowMs = Date.now();
    if (nowMs >= this.#nextRenewMs && !this.#isRenewing) {
      this.#nextRenewMs = nowMs + RENEW_INTERVAL_MS;
      this.#keep(this.#renew(), 'leases of cameras could not be renewed');
    }
    if (nowMs >= this.#nextCompareMs && this.ports.bus.connected) {
      this.#nextCompareMs = nowMs + COMPARE_INTERVAL_MS;
      for (const stream of this.#bySession.values()) this.#keep(stream.compare(), 'a stream could not be asked about');
    }
  }

  /** A stream that has lost its lease must end: another instance may start the same camera. */
  async #renew(): Promise<void> {
    this.#isRenewing = true;
    try {
      const leased = [...this.#streams];
      const kept = await this.ports.leases.renew(leased.map(([name, { epoch }]) => ({ name, epoch })));
      await Promise.all(
        leased.map(([, { stream }], index) => (kept[index] === false ? stream.end('taken-over') : undefined)),
      );
    } finally {
      this.#isRenewing = false;
    }
  }

  #keep(work: Promise<void>, message: string): void {
    work.catch((error: unknown) => this.ports.log.warn({ err: error }, message));
  }
}
