import type { Logger } from '@weir/platform';
import { CALL_LEASE_TTL_MS, type CallLeases } from './call-leases.js';
import type { CallStore } from './call-store.js';

export interface OpenRecordsPorts {
  readonly store: Pick<CallStore, 'confirm' | 'forsaken' | 'endForsaken'>;
  readonly leases: Pick<CallLeases, 'find'>;
  /** The calls that this instance runs. */
  readonly running: () => readonly string[];
  readonly log: Pick<Logger, 'warn'>;
}

const TEND_INTERVAL_MS = 20_000;
/** A lease that nobody renews is gone by then. */
const FORSAKEN_AFTER_MS = CALL_LEASE_TTL_MS;

/**
 * Looks after the records of calls that go on. Those of this instance's calls are confirmed. A record that nobody
 * confirms, and whose call has no lease any more, belongs to an instance that is gone: it is ended by whichever instance
 * finds it first, one that starts later included.
 */
export class OpenRecords {
  readonly #timer: NodeJS.Timeout;
  #tending: Promise<void>;

  constructor(private readonly ports: OpenRecordsPorts) {
    this.#tending = this.#tend();
    this.#timer = setInterval(() => void this.tend(), TEND_INTERVAL_MS);
  }

  /** Looks at the records now, after the look that may be going on. Never rejects. */
  tend(): Promise<void> {
    this.#tending = this.#tending.then(() => this.#tend());
    return this.#tending;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#tending;
  }

  async #tend(): Promise<void> {
    const { store, leases, running, log } = this.ports;
    try {
      await store.confirm(running());
      for (const record of await store.forsaken(FORSAKEN_AFTER_MS)) {
        const { id: callId } = record;
        if (running().includes(callId) || (await leases.find(callId)) !== undefined) continue;
        if (await store.endForsaken(record)) log.warn({ callId }, 'the record of a call that nobody runs is ended');
      }
    } catch (err) {
      log.warn({ err }, 'the records of calls could not be looked after');
    }
  }
}
