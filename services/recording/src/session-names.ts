import { NameReservations, type NameReservationsPorts } from '@weir/access';
import type { Logger } from '@weir/platform';
import type { SessionStore } from './session-store.js';

/** Streams of sessions have names under this prefix, in every tenant. */
export const SESSION_PREFIX = 'recordings/';

/** The stream with a session's sound and first video. */
export const streamNameOf = (sessionId: string): string => `${SESSION_PREFIX}${sessionId}`;

/** The streams of the session's second and third video. */
export const furtherStreamNames = (streamName: string): readonly string[] => [`${streamName}/2`, `${streamName}/3`];

const SESSION_STREAM = new RegExp(`^${SESSION_PREFIX}[^/]+$`);

/** The streams that are recorded under a stream's name: all streams of a session go into one file. */
export const recordedStreams = (streamName: string): readonly string[] =>
  SESSION_STREAM.test(streamName) ? [streamName, ...furtherStreamNames(streamName)] : [streamName];

const COMPARE_INTERVAL_MS = 1_000;
/** How often all names are written again. That repairs what a lost command or a race of two instances left wrong. */
const REWRITE_INTERVAL_MS = 5 * 60_000;

export interface SessionNamesPorts {
  readonly store: Pick<SessionStore, 'tenants'>;
  readonly redis: NameReservationsPorts['redis'];
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/**
 * Reserves `recordings/` in each tenant that has sessions, so that nobody else publishes their streams. The database is
 * the source from which the names are written again when Redis has lost them.
 */
export class SessionNames {
  readonly #reservations: NameReservations;
  readonly #timer: NodeJS.Timeout;
  #working: Promise<void>;
  #nextRewriteMs = 0;
  #isTroubled = false;

  constructor(private readonly ports: SessionNamesPorts) {
    this.#reservations = new NameReservations({ redis: ports.redis, owner: 'recordings' });
    this.#working = this.#compare();
    this.#timer = setInterval(() => {
      this.#working = this.#working.then(() => this.#compare());
    }, COMPARE_INTERVAL_MS);
  }

  /** Rejects while Redis can't be reached: a session must not be published under a name that is free for everybody. */
  reserve(tenant: string): Promise<void> {
    return this.#reservations.reserve({ tenant, prefix: SESSION_PREFIX });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#working;
  }

  async #compare(): Promise<void> {
    try {
      if (Date.now() < this.#nextRewriteMs && !(await this.#reservations.areLost())) return;
      const tenants = await this.ports.store.tenants();
      await this.#reservations.replaceAll(tenants.map((tenant) => ({ tenant, prefix: SESSION_PREFIX })));
      this.#nextRewriteMs = Date.now() + REWRITE_INTERVAL_MS;
      if (this.#isTroubled) this.ports.log.info('the names of sessions are told to Redis again');
      this.#isTroubled = false;
    } catch (error) {
      if (!this.#isTroubled) this.ports.log.warn({ err: error }, 'the names of sessions could not be told to Redis');
      this.#isTroubled = true;
    }
  }
}
