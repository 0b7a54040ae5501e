import type { Bus } from '@weir/bus';
import { InstanceEvents } from '@weir/contracts';

const INTERVAL_MS = 1_000;

/** Tells all other instances that this one lives; see `Instances`, which listens. */
export class SignsOfLife {
  readonly #startedAtMs = BigInt(Date.now());
  #timer: NodeJS.Timeout | undefined;
  #isDraining = false;

  constructor(
    private readonly bus: Pick<Bus, 'publish' | 'service' | 'instanceId'>,
    private readonly intervalMs = INTERVAL_MS,
  ) {}

  /** From now on the others know this instance. */
  begin(): void {
    this.fallSilent();
    this.#say();
    this.#timer = setInterval(() => this.#say(), this.intervalMs);
  }

  /** The instance takes no new work. */
  drain(): void {
    this.#isDraining = true;
    this.#say();
  }

  /** The instance is gone, so nobody needs to wait for its silence. */
  end(): void {
    this.fallSilent();
    this.#say(true);
  }

  /** Says nothing more, like a process that was killed. */
  fallSilent(): void {
    clearInterval(this.#timer);
  }

  #say(gone = false): void {
    const { service, instanceId } = this.bus;
    this.bus.publish(InstanceEvents.method.alive, {
      ...{ service, instanceId, startedAtMs: this.#startedAtMs },
      ...{ draining: this.#isDraining, gone },
    });
  }
}
