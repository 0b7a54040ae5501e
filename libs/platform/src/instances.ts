import type { Bus, Registration } from '@weir/bus';
import { InstanceEvents, type InstanceAlive } from '@weir/contracts';

export interface Instance {
  instanceId: string;
  draining: boolean;
}

export interface InstancesOptions {
  bus: Bus;
  /** The service whose instances are watched; all services without it. */
  service?: string;
  /** An instance silent for this long counts as lost. */
  silentAfterMs?: number;
  onLost?: (instanceId: string) => void;
  onSeen?: (instanceId: string) => void;
}

const CHECK_INTERVAL_MS = 500;

/**
 * Who of a service lives, told by their `InstanceEvents.Alive`. Silence counts only while our own connection to the
 * bus stands, from its (re)connection on: when the bus is gone, nobody is taken for dead.
 */
export class Instances {
  private readonly lastSeenMs = new Map<string, number>();
  private readonly known = new Map<string, Instance>();
  private readonly subscription: Registration;
  private readonly timer: NodeJS.Timeout;
  private readonly stopWatchingConnection: () => void;
  private countFromMs = Date.now();

  constructor(private readonly options: InstancesOptions) {
    const { bus } = options;
    this.subscription = bus.subscribe(InstanceEvents.method.alive, (event) => this.onAlive(event));
    this.stopWatchingConnection = bus.onConnectionChange(() => {
      this.countFromMs = Date.now();
    });
    this.timer = setInterval(() => this.dropSilent(), CHECK_INTERVAL_MS);
    this.timer.unref();
  }

  list(): Instance[] {
    return [...this.known.values()];
  }

  has(instanceId: string): boolean {
    return this.known.has(instanceId);
  }

  /** Counts an instance as seen now, before its own first word, so that its silence is noticed too. */
  expect(instanceId: string): void {
    if (this.known.has(instanceId)) return;
    this.known.set(instanceId, { instanceId, draining: false });
    this.lastSeenMs.set(instanceId, Date.now());
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
    const isNew = !this.known.has(instanceId);
    this.known.set(instanceId, { instanceId, draining });
    this.lastSeenMs.set(instanceId, Date.now());
    if (isNew) this.options.onSeen?.(instanceId);
  }

  private dropSilent(): void {
    if (!this.options.bus.connected) return;
    const silentAfterMs = this.options.silentAfterMs ?? 4_000;
    for (const [instanceId, seenMs] of this.lastSeenMs)
      if (Date.now() - Math.max(seenMs, this.countFromMs) > silentAfterMs) this.drop(instanceId);
  }

  private drop(instanceId: string): void {
    this.lastSeenMs.delete(instanceId);
    if (this.known.delete(instanceId)) this.options.onLost?.(instanceId);
  }
}
