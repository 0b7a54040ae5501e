import { nobodyServes, type Bus, type Registration } from '@weir/bus';
import { InstanceEvents, InstanceProbe, type InstanceAlive } from '@weir/contracts';

export interface Instance {
  instanceId: string;
  draining: boolean;
}

export interface InstancesOptions {
  bus: Bus;
  /** The service whose instances are watched; when undefined, those of all services are. */
  service?: string;
  /**
   * An instance silent for this long, by default 4 s, is asked whether it lives; if NATS no longer knows it, it counts as
   * lost.
   */
  silentAfterMs?: number;
  /**
   * An instance silent for this long is asked earlier. It then counts as lost if NATS doesn't know it for a second: its
   * connection has ended, and it has not connected again. Default: no earlier than `silentAfterMs`.
   */
  askAfterMs?: number;
  onLost?: (instanceId: string) => void;
  onSeen?: (instanceId: string) => void;
}

interface Watched extends Instance {
  seenMs: number;
  asking: boolean;
  /** Since when NATS hasn't known it. */
  unknownSinceMs: number | undefined;
}

const SILENT_AFTER_MS = 4_000;
const CHECK_INTERVAL_MS = 500;
/** If NATS gives no answer for longer than this, no instance could have been heard during that time. */
const DEAF_AFTER_MS = 1_500;
/** Multiplies the allowed silence of an instance that NATS knows but that is paused, blocked or cut off. */
const PATIENCE = 3;
/** Longer than an instance waits before it connects again. Questions come twice a second, so the third one decides. */
const UNKNOWN_FOR_MS = 900;
/** After a restart of NATS, its clients connect again within this time, each in its own moment. */
const RECONNECTING_MS = 4_000;
/** After listening without a gap for this long, this process has heard every instance that lives. */
const ALL_KNOWN_AFTER_MS = 5_000;

/**
 * Knows which instances of a service live, from their `InstanceEvents.Alive`. Silence counts only while this process
 * can hear, that is, while NATS answers it without a pause. After a gap (NATS or this process stood still, or the
 * connection was lost) the count starts again for every instance. An instance that has been silent for too long is
 * asked before it counts as dead.
 */
export class Instances {
  readonly #watched = new Map<string, Watched>();
  readonly #subscription: Registration;
  readonly #timer: NodeJS.Timeout;
  readonly #stopWatchingConnection: () => void;
  #heardMs = performance.now();
  #countFromMs = this.#heardMs;
  #reconnectedMs = -Infinity;

  constructor(private readonly options: InstancesOptions) {
    const { bus } = options;
    this.#subscription = bus.subscribe(InstanceEvents.method.alive, (event) => this.#onAlive(event));
    this.#stopWatchingConnection = bus.onConnectionChange(() => {
      this.#countFromMs = this.#reconnectedMs = performance.now();
    });
    this.#timer = setInterval(() => void this.#listen(), CHECK_INTERVAL_MS);
    this.#timer.unref();
  }

  list(): Instance[] {
    return [...this.#watched.values()].map(({ instanceId, draining }) => ({ instanceId, draining }));
  }

  has(instanceId: string): boolean {
    return this.#watched.has(instanceId);
  }

  /** Whether it is known to be gone. False while it may only be unheard: listening has just begun, or is impossible. */
  isGone(instanceId: string): boolean {
    const nowMs = performance.now();
    const hears = this.options.bus.connected && nowMs - this.#heardMs <= DEAF_AFTER_MS;
    return hears && !this.#watched.has(instanceId) && nowMs - this.#countFromMs > ALL_KNOWN_AFTER_MS;
  }

  /** Counts an instance as seen now, before its own first message, so that its silence is noticed too. */
  expect(instanceId: string): void {
    if (this.#watched.has(instanceId)) return;
    this.#see({ instanceId, draining: false, asking: false });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopWatchingConnection();
    await this.#subscription.close();
  }

  #onAlive({ service, instanceId, draining, gone }: InstanceAlive): void {
    if (this.options.service !== undefined && service !== this.options.service) return;
    if (gone) {
      this.#drop(instanceId);
      return;
    }
    const before = this.#watched.get(instanceId);
    const asking = before?.asking ?? false;
    this.#see({ instanceId, draining, asking });
    if (before === undefined) this.options.onSeen?.(instanceId);
  }

  /** NATS delivers everything that it holds for this process before it answers the flush. */
  async #listen(): Promise<void> {
    const { bus } = this.options;
    try {
      await bus.flush();
    } catch {
      return; // nothing can be heard, so no silence counts
    }
    const nowMs = performance.now();
    if (nowMs - this.#heardMs > DEAF_AFTER_MS) this.#countFromMs = nowMs;
    this.#heardMs = nowMs;
    const { silentAfterMs = SILENT_AFTER_MS, askAfterMs = silentAfterMs } = this.options;
    const allAreConnected = nowMs - this.#reconnectedMs > RECONNECTING_MS;
    const askedAfterMs = allAreConnected ? Math.min(askAfterMs, silentAfterMs) : silentAfterMs;
    for (const instance of this.#watched.values())
      if (!instance.asking && this.#silentMs(instance) > askedAfterMs) void this.#ask(instance, silentAfterMs);
  }

  #see(instance: Pick<Watched, 'instanceId' | 'draining' | 'asking'>): void {
    this.#watched.set(instance.instanceId, { ...instance, seenMs: performance.now(), unknownSinceMs: undefined });
  }

  #silentMs({ seenMs }: Watched): number {
    return this.#heardMs - Math.max(seenMs, this.#countFromMs);
  }

  async #ask(asked: Watched, silentAfterMs: number): Promise<void> {
    const { instanceId } = asked;
    asked.asking = true;
    const answer = await this.#answerOf(instanceId);
    const instance = this.#watched.get(instanceId);
    if (instance === undefined) return;
    instance.asking = false;
    const nowMs = performance.now();
    if (answer === 'lives') instance.seenMs = nowMs;
    const isUnknown = answer === 'unknown to NATS';
    instance.unknownSinceMs = isUnknown ? (instance.unknownSinceMs ?? nowMs) : undefined;
    const silentMs = this.#silentMs(instance);
    const unknownMs = nowMs - (instance.unknownSinceMs ?? nowMs);
    if (unknownMs > UNKNOWN_FOR_MS || silentMs > silentAfterMs * (isUnknown ? 1 : PATIENCE)) this.#drop(instanceId);
  }

  async #answerOf(instanceId: string): Promise<'lives' | 'unknown to NATS' | 'silent'> {
    try {
      await this.options.bus.call(InstanceProbe.method.answer, { instanceId });
      return 'lives';
    } catch (error) {
      return nobodyServes(error) ? 'unknown to NATS' : 'silent';
    }
  }

  #drop(instanceId: string): void {
    if (this.#watched.delete(instanceId)) this.options.onLost?.(instanceId);
  }
}
