import { nobodyServes, type Bus, type Registration } from '@weir/bus';
import { InstanceEvents, InstanceProbe, type InstanceAlive } from '@weir/contracts';

export interface Instance {
  instanceId: string;
  draining: boolean;
}

export interface InstancesOptions {
  bus: Bus;
  /** The service whose instances are watched; all services without it. */
  service?: string;
  /** An instance silent for this long is asked whether it lives, and counts as lost when NATS doesn't know it any more. */
  silentAfterMs?: number;
  onLost?: (instanceId: string) => void;
  onSeen?: (instanceId: string) => void;
}

interface Watched extends Instance {
  seenMs: number;
  asking: boolean;
}

const CHECK_INTERVAL_MS = 500;
/** A time without any answer of NATS that is longer than this is one in which nobody could have been heard. */
const DEAF_AFTER_MS = 1_500;
/** An instance that NATS knows and that doesn't answer, because it is paused, blocked or cut off, has this many times as long. */
const PATIENCE = 3;
/** Having heard everything for this long, one has heard of every instance that lives. */
const ALL_KNOWN_AFTER_MS = 5_000;

/**
 * Who of a service lives, told by their `InstanceEvents.Alive`. Silence counts only while we hear: NATS answers us, and
 * does so without a pause. After a time in which it didn't (it stood still, we stood still, the connection was gone) the
 * count begins anew for everybody. And whoever has been silent for too long is asked before he is taken for dead.
 */
export class Instances {
  private readonly watched = new Map<string, Watched>();
  private readonly subscription: Registration;
  private readonly timer: NodeJS.Timeout;
  private readonly stopWatchingConnection: () => void;
  private heardMs = performance.now();
  private countFromMs = this.heardMs;

  constructor(private readonly options: InstancesOptions) {
    const { bus } = options;
    this.subscription = bus.subscribe(InstanceEvents.method.alive, (event) => this.onAlive(event));
    this.stopWatchingConnection = bus.onConnectionChange(() => {
      this.countFromMs = performance.now();
    });
    this.timer = setInterval(() => void this.listen(), CHECK_INTERVAL_MS);
    this.timer.unref();
  }

  list(): Instance[] {
    return [...this.watched.values()].map(({ instanceId, draining }) => ({ instanceId, draining }));
  }

  has(instanceId: string): boolean {
    return this.watched.has(instanceId);
  }

  /** Whether it is known to be gone, as opposed to not heard of: because we have just begun to listen, or can't. */
  isGone(instanceId: string): boolean {
    const nowMs = performance.now();
    const hears = this.options.bus.connected && nowMs - this.heardMs <= DEAF_AFTER_MS;
    return hears && !this.watched.has(instanceId) && nowMs - this.countFromMs > ALL_KNOWN_AFTER_MS;
  }

  /** Counts an instance as seen now, before its own first word, so that its silence is noticed too. */
  expect(instanceId: string): void {
    if (this.watched.has(instanceId)) return;
    this.watched.set(instanceId, { instanceId, draining: false, seenMs: performance.now(), asking: false });
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    this.stopWatchingConnection();
    await this.subscription.close();
  }

  private onAlive({ service, instanceId, draining, gone }: InstanceAlive): void {
    if (this.options.service !== undefined && service !== this.options.service) return;
    if (gone) {
      this.drop(instanceId);
      return;
    }
    const before = this.watched.get(instanceId);
    const asking = before?.asking ?? false;
    this.watched.set(instanceId, { instanceId, draining, seenMs: performance.now(), asking });
    if (before === undefined) this.options.onSeen?.(instanceId);
  }

  /** What NATS had for us has come before its answer. */
  private async listen(): Promise<void> {
    const { bus } = this.options;
    try {
      await bus.flush();
    } catch {
      return; // we hear nothing, so nothing can be judged
    }
    const nowMs = performance.now();
    if (nowMs - this.heardMs > DEAF_AFTER_MS) this.countFromMs = nowMs;
    this.heardMs = nowMs;
    const silentAfterMs = this.options.silentAfterMs ?? 4_000;
    for (const instance of this.watched.values())
      if (!instance.asking && this.silentMs(instance) > silentAfterMs) void this.ask(instance, silentAfterMs);
  }

  private silentMs({ seenMs }: Watched): number {
    return this.heardMs - Math.max(seenMs, this.countFromMs);
  }

  private async ask(asked: Watched, silentAfterMs: number): Promise<void> {
    const { instanceId } = asked;
    asked.asking = true;
    const answer = await this.answerOf(instanceId);
    const instance = this.watched.get(instanceId);
    if (instance === undefined) return;
    instance.asking = false;
    if (answer === 'lives') instance.seenMs = performance.now();
    const silentMs = this.silentMs(instance);
    if (silentMs > silentAfterMs * (answer === 'unknown to NATS' ? 1 : PATIENCE)) this.drop(instanceId);
  }

  private async answerOf(instanceId: string): Promise<'lives' | 'unknown to NATS' | 'silent'> {
    try {
      await this.options.bus.call(InstanceProbe.method.answer, { instanceId });
      return 'lives';
    } catch (error) {
      return nobodyServes(error) ? 'unknown to NATS' : 'silent';
    }
  }

  private drop(instanceId: string): void {
    if (this.watched.delete(instanceId)) this.options.onLost?.(instanceId);
  }
}
