import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentialRefSchema, type CredentialWatch } from '@weir/access';
import type { Leases } from '@weir/leases';
import type { Logger } from '@weir/platform';
import { within } from '@weir/timing';
import {
  isBusyName,
  isUnknownName,
  reasonOf,
  type Attempt,
  type AttemptEnd,
  type AttemptListener,
  type AttemptStats,
} from './attempt.js';
import type { RelayMetrics } from './metrics.js';
import type { LiveRelay, OtherInstances } from './other-instances.js';
import { Relay, type RelayOutcome, type RelayStatus, type RetrySettings } from './relay.js';
import { STATES, type Direction, type RelayRequest, type RelayRow, type RelayStore } from './store.js';

/** Why a relay could not be created. */
export class RelayRefused extends Error {
  override readonly name = 'RelayRefused';

  constructor(
    readonly tag: 'unknown-stream' | 'conflict' | 'failed',
    message: string,
  ) {
    super(message);
  }
}

export type MakeAttempt = (id: string, request: RelayRequest, listener: AttemptListener) => Attempt & { start(): void };

export interface RelaysPorts {
  readonly store: RelayStore;
  /** The leases of the relays, named by the relays' ids. */
  readonly leases: Pick<Leases, 'take' | 'claim' | 'renew' | 'release'>;
  readonly others: OtherInstances;
  readonly instanceId: string;
  readonly log: Logger;
  readonly metrics: RelayMetrics;
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly attempt: MakeAttempt;
}

export interface RelaysSettings {
  readonly retry: RetrySettings;
  readonly acceptTimeoutMs: number;
  readonly keepFailedMs: number;
  readonly maxRelays: number;
  readonly checkIntervalMs: number;
}

/** A relay in its present state. */
export interface RelayView {
  readonly row: RelayRow;
  /** The media that the relay leaves out, each with its reason. */
  readonly notCarried: readonly string[];
  /** Undefined for a relay that nobody runs. */
  readonly stats: AttemptStats | undefined;
}

interface Running {
  readonly relay: Relay;
  readonly direction: Direction;
  /** The epoch of the relay's lease. */
  readonly epoch: bigint;
  status: RelayStatus | undefined;
  /** Whether the database has the status. While it hasn't, every check tries to write it again. */
  isSaved: boolean;
  saving: Promise<void>;
}

const TERMINATE_TIMEOUT_MS = 5_000;
const TERMINATE_POLL_MS = 50;

export const requestOf = ({
  tenant,
  direction,
  uri,
  localStreamName,
  remoteStreamName,
  credential,
}: RelayRow): RelayRequest => ({
  tenant,
  direction: direction === 'PUSH' ? 'push' : 'pull',
  uri,
  localStreamName,
  remoteStreamName,
  credential: credential === null ? undefined : credentialRefSchema.parse(credential),
});

/**
 * All relays of this instance: those that were requested here, and those that it has taken over from other instances.
 */
export class Relays {
  readonly #running = new Map<string, Running>();
  /** Relays that are in the database but don't run yet. Otherwise a check would treat them as left behind. */
  readonly #beginning = new Set<string>();
  #check: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #isClosing = false;
  #isTroubled = false;

  constructor(
    private readonly ports: RelaysPorts,
    private readonly settings: RelaysSettings,
  ) {
    ports.metrics.observe(() =>
      [...this.#running.values()].map(({ relay, direction }) => ({
        direction,
        phase: relay.status.phase,
        stats: relay.stats,
      })),
    );
  }

  start(): void {
    this.#scheduleCheck(0);
  }

  /**
   * Resolves once the other server has agreed. Returns the media that it hasn't agreed to, each with its reason. Throws
   * RelayRefused and what the database throws.
   */
  async create(request: RelayRequest): Promise<readonly string[]> {
    if (this.#isClosing || this.#running.size >= this.settings.maxRelays)
      throw new RelayRefused(
        'failed',
        `This server already runs ${this.settings.maxRelays} relays, or is closing; try again later`,
      );
    const id = randomUUID();
    const { relay, epoch } = await this.#begin(id, request);
    const end = await this.#firstEnd(relay);
    if (end === undefined) return relay.status.notCarried;
    await relay.stop('finish');
    await this.#forget(id, epoch);
    throw refusal(end, request.direction);
  }

  async #begin(id: string, request: RelayRequest): Promise<Running> {
    const { store, leases, instanceId } = this.ports;
    this.#beginning.add(id);
    try {
      // The lease comes first, before any other instance can see the relay.
      const epoch = await leases.take(id);
      const row = await store.add(id, request, { owner: instanceId, epoch });
      if (row !== undefined) return this.#run(row, undefined);
      await leases.release(id, epoch);
      throw new RelayRefused('conflict', 'Such a relay already exists: terminate it first');
    } finally {
      this.#beginning.delete(id);
    }
  }

  async list(tenant: string): Promise<RelayView[]> {
    const rows = await this.ports.store.list(tenant);
    const others = rows.filter(({ id, state }) => state !== 'FAILED' && !this.#running.has(id));
    const elsewhere = await this.ports.others.lookUp(others);
    // A relay that ended meanwhile is unknown to its instance, and its row has changed.
    const isSavedAgain = others.some(({ id }) => elsewhere(id).tag === 'unknown');
    const saved = isSavedAgain ? await this.ports.store.list(tenant) : rows;
    return rows.flatMap((row): RelayView[] => {
      const own = this.#running.get(row.id);
      if (own !== undefined) return own.relay.isFinished ? [] : [viewOf(row, own.relay.status, own.relay.stats)];
      if (!row.wanted) return [];
      if (row.state === 'FAILED') return [asSaved(row)];
      const found = elsewhere(row.id);
      switch (found.tag) {
        case 'live':
          return [viewOf(row, found.live.status, found.live.stats)];
        case 'orphan':
          return [asSaved({ ...row, state: 'WAITING' })];
        case 'unknown':
          return saved.filter(({ id, wanted }) => id === row.id && wanted).map(asSaved);
        default:
          return found satisfies never;
      }
    });
  }

  /** The relays of this instance. */
  live(): LiveRelay[] {
    return [...this.#running]
      .filter(([, { relay }]) => !relay.isFinished)
      .map(([id, { relay }]) => ({ id, status: relay.status, stats: relay.stats }));
  }

  /** Ends the relays, whichever instance runs them, and waits for their end. */
  async terminate(ids: readonly string[]): Promise<void> {
    const { store } = this.ports;
    await store.unwant(ids);
    await Promise.all(ids.map((id) => this.#running.get(id)?.relay.stop('finish')));
    this.#scheduleCheck(0);
    const giveUpAtMs = Date.now() + TERMINATE_TIMEOUT_MS;
    while ((await store.remaining(ids)) > 0 && Date.now() < giveUpAtMs) await sleep(TERMINATE_POLL_MS);
  }

  /** Releases every relay in order, so that another instance can go on. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#timer);
    await this.#check;
    await Promise.all(
      [...this.#running].map(async ([id, running]) => {
        await running.relay.stop('release');
        await running.saving;
        await this.#release(id, running);
      }),
    );
    this.#running.clear();
  }

  #run(row: RelayRow, resumed: { retries: number; reason: string } | undefined): Running {
    const { log, metrics, attempt } = this.ports;
    const request = requestOf(row);
    const { direction } = request;
    const about = { relayId: row.id, direction, localStreamName: row.localStreamName };
    let triedAtMs = Date.now();
    const relay = new Relay({
      attempt: (listener) => {
        triedAtMs = Date.now();
        metrics.tried(direction);
        return attempt(row.id, request, {
          accepted: (notCarried) => {
            if (notCarried.length > 0) log.warn({ ...about, notCarried }, 'not all of a stream can be relayed');
            listener.accepted(notCarried);
          },
          running: () => {
            metrics.started(direction, Date.now() - triedAtMs);
            log.info({ ...about, tookMs: Date.now() - triedAtMs }, 'relay is up');
            listener.running();
          },
          ended: (end) => {
            metrics.ended(direction, end);
            log.info({ ...about, reason: reasonOf(end) }, 'a try of a relay has ended');
            listener.ended(end);
          },
        });
      },
      retry: this.settings.retry,
      resumed,
      random: Math.random,
      changed: (status) => this.#changed(row.id, running, status),
      over: (outcome) => this.#over(row.id, outcome),
    });
    const running: Running = {
      ...{ relay, direction, epoch: row.epoch },
      ...{ status: undefined, isSaved: false, saving: Promise.resolve() },
    };
    this.#running.set(row.id, running);
    if (request.credential !== undefined) {
      const stopWatching = this.ports.credentials.watch([request.credential], () => void relay.stop('give-up'));
      void relay.isOver.then(stopWatching);
    }
    log.info({ ...about, resumed: resumed !== undefined }, 'relay begins');
    relay.start();
    return running;
  }

  /**
   * The first attempt's end; undefined once the other server has agreed. An attempt that takes too long counts as
   * ended.
   */
  #firstEnd(relay: Relay): Promise<AttemptEnd | undefined> {
    return within(this.settings.acceptTimeoutMs, relay.agreed, () => ({
      tag: 'remote',
      end: { tag: 'timed-out', during: 'negotiating' },
    }));
  }

  #changed(id: string, running: Running, status: RelayStatus): void {
    running.status = status;
    running.isSaved = false;
    running.saving = running.saving.then(() => this.#save(id, running));
  }

  async #save(id: string, running: Running): Promise<void> {
    const { status } = running;
    if (status === undefined || running.isSaved) return;
    await this.#quietly('the state of a relay could not be saved', async () => {
      await this.ports.store.save(id, running.epoch, status);
      if (running.status === status) running.isSaved = true;
    });
  }

  #over(id: string, outcome: RelayOutcome): void {
    const running = this.#running.get(id);
    this.ports.log.info({ relayId: id, outcome: outcome.tag }, 'relay is over');
    switch (outcome.tag) {
      case 'released':
        return;
      case 'finished':
        void running?.saving.then(() => this.#forget(id, running.epoch));
        return;
      case 'failed':
        // The row stays for the list; once it is written, this instance releases the relay.
        void running?.saving.then(() => this.#letGo(id, running));
        return;
      default:
        outcome satisfies never;
    }
  }

  async #letGo(id: string, running: Running): Promise<void> {
    if (!running.isSaved) return; // the next check writes it
    this.#running.delete(id);
    await this.#release(id, running);
  }

  async #forget(id: string, epoch: bigint): Promise<void> {
    await this.#quietly('an ended relay could not be removed', async () => {
      await this.ports.store.remove(id, epoch);
      this.#running.delete(id);
      await this.ports.leases.release(id, epoch);
    });
  }

  async #release(id: string, { epoch }: Running): Promise<void> {
    await this.#quietly('a relay could not be let go of', () => this.ports.leases.release(id, epoch));
  }

  #scheduleCheck(delayMs: number): void {
    if (this.#isClosing) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#check = this.#check.then(async () => {
        const isWell = await this.#quietly('relays could not be looked after', () => this.#lookAfter());
        if (isWell && this.#isTroubled) this.ports.log.info('relays are looked after again');
        this.#isTroubled = !isWell;
        this.#scheduleCheck(this.settings.checkIntervalMs);
      });
    }, delayMs);
  }

  async #lookAfter(): Promise<void> {
    const { store, leases } = this.ports;
    const leased = [...this.#running];
    const kept = await leases.renew(leased.map(([id, { epoch }]) => ({ name: id, epoch })));
    for (const [index, [id, { relay }]] of leased.entries()) {
      if (kept[index] === true) continue;
      this.ports.log.warn({ relayId: id }, 'another instance has taken a relay over');
      await relay.stop('release');
      this.#running.delete(id);
    }
    for (const [id, running] of this.#running) {
      await this.#save(id, running);
      if (running.isSaved && running.status?.phase === 'failed') await this.#letGo(id, running);
      if (running.relay.isFinished) await this.#forget(id, running.epoch);
    }
    const rows = await store.live();
    // Redis forgets who owns a relay when it loses its data or stops for too long; the owner itself still knows.
    const elsewhere = await this.ports.others.lookUp(
      rows.filter(({ id, owner }) => owner !== this.ports.instanceId && !this.#running.has(id)),
    );
    for (const row of rows) {
      if (this.#isClosing) return;
      if (elsewhere(row.id).tag !== 'live') await this.#lookAt(row);
    }
    await store.forgetFailed(new Date(Date.now() - this.settings.keepFailedMs));
  }

  async #lookAt(seen: RelayRow): Promise<void> {
    const { store, leases, instanceId } = this.ports;
    const { id, wanted } = seen;
    const running = this.#running.get(id);
    if (running !== undefined) {
      if (!wanted) await running.relay.stop('finish');
      return;
    }
    if (this.#beginning.has(id)) return;
    if (this.#running.size >= this.settings.maxRelays) return;
    const epoch = await this.#claim(id);
    if (epoch === undefined) return;
    const row = await store.take(seen, { owner: instanceId, epoch });
    if (row === undefined || (row.state === 'FAILED' && row.wanted)) await leases.release(id, epoch);
    else if (!row.wanted) await this.#forget(id, epoch);
    else this.#run(row, { retries: row.retries, reason: row.reason });
  }

  /** @returns undefined when another instance has the relay */
  async #claim(id: string): Promise<bigint | undefined> {
    const { leases, instanceId } = this.ports;
    let claim = await leases.claim(id);
    // An earlier relay of this instance could not release its lease.
    if (claim.tag === 'held' && claim.by.owner === instanceId) claim = await leases.claim(id, '', claim.by.epoch);
    return claim.tag === 'mine' ? claim.epoch : undefined;
  }

  /** @returns whether `work` succeeded */
  async #quietly(message: string, work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (err) {
      if (!this.#isTroubled) this.ports.log.warn({ err }, message);
      this.#isTroubled = true;
      return false;
    }
  }
}

/** The view of a relay about which only the database has information. */
const asSaved = (row: RelayRow): RelayView => ({ row, notCarried: [], stats: undefined });

const viewOf = (row: RelayRow, { phase, notCarried, ...status }: RelayStatus, stats: AttemptStats): RelayView => ({
  row: { ...row, ...status, state: STATES[phase] },
  notCarried,
  stats,
});

const refusal = (end: AttemptEnd, direction: Direction): RelayRefused => {
  const reason = reasonOf(end);
  if (isBusyName(end)) return new RelayRefused('conflict', reason);
  if (isUnknownName(end)) return new RelayRefused('unknown-stream', reason);
  return new RelayRefused('failed', `The ${direction} did not come about: ${reason}`);
};
