import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@weir/platform';
import type { StateChange } from './device-channels.js';

export interface StateReportsPorts {
  /** Resolves when the change can't be lost any more; rejects while the database is away. */
  readonly write: (change: StateChange) => Promise<void>;
  /** So many changes wait; default 10,000. */
  readonly maxWaiting?: number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

const MAX_WAITING = 10_000;
/** So many devices' changes are written at the same time. */
const LANES = 8;
const TRY_AGAIN_MS = 500;

/**
 * The changes of devices' states on their way to the outbox, those of each device in their order. While the database is
 * away they wait in this process. All of them are kept up to a bound; beyond it, a device keeps only its newest change,
 * because an application can do without an earlier state, but not without the present one.
 */
export class StateReports {
  readonly #waiting = new Map<number, StateChange[]>();
  /** The devices whose changes are being written. */
  readonly #busy = new Set<number>();
  readonly #lanes = new Set<Promise<void>>();
  #count = 0;
  #isAway = false;
  #isClosing = false;

  constructor(private readonly ports: StateReportsPorts) {}

  add(change: StateChange): void {
    const { cid } = change;
    const before = this.#waiting.get(cid) ?? [];
    const kept = this.#count >= (this.ports.maxWaiting ?? MAX_WAITING) ? [] : before;
    this.#count += kept.length + 1 - before.length;
    this.#waiting.set(cid, [...kept, change]);
    if (this.#busy.has(cid) || this.#lanes.size >= LANES) return;
    const lane: Promise<void> = this.#work().finally(() => this.#lanes.delete(lane));
    this.#lanes.add(lane);
  }

  /** Writes what waits, if the database is there. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all(this.#lanes);
    if (this.#count > 0)
      this.ports.log.warn(
        { changes: this.#count },
        'the service ends with changes of devices’ states that are not told',
      );
  }

  async #work(): Promise<void> {
    for (let cid = this.#nextDevice(); cid !== undefined; cid = this.#nextDevice()) {
      this.#busy.add(cid);
      const areWritten = await this.#writeAll(cid);
      this.#busy.delete(cid);
      if (!areWritten) return;
    }
  }

  #nextDevice(): number | undefined {
    for (const cid of this.#waiting.keys()) if (!this.#busy.has(cid)) return cid;
    return undefined;
  }

  /** @returns false if the service closes before they are written */
  async #writeAll(cid: number): Promise<boolean> {
    for (let change = this.#first(cid); change !== undefined; change = this.#first(cid)) {
      try {
        await this.ports.write(change);
        this.#written(change);
      } catch (err) {
        if (!this.#isAway) this.ports.log.warn({ err, cid }, 'changes of devices’ states wait for the database');
        this.#isAway = true;
        if (this.#isClosing) return false;
        await sleep(TRY_AGAIN_MS);
      }
    }
    return true;
  }

  #first(cid: number): StateChange | undefined {
    return this.#waiting.get(cid)?.[0];
  }

  #written(change: StateChange): void {
    if (this.#isAway) this.ports.log.info({ changes: this.#count }, 'changes of devices’ states are written again');
    this.#isAway = false;
    const { cid } = change;
    const [first, ...others] = this.#waiting.get(cid) ?? [];
    if (first !== change) return; // newer ones took its place meanwhile
    this.#count--;
    if (others.length > 0) this.#waiting.set(cid, others);
    else this.#waiting.delete(cid);
  }
}
