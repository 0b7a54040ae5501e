import { NameReservations, type NameReservationsPorts, type ReservedPrefix } from '@weir/access';
import type { Logger } from '@weir/platform';
import type { Database } from './database.js';
import { streamNameOf } from './fleet.js';
import type { RobotKey } from './presence.js';

const COMPARE_INTERVAL_MS = 1_000;
/** How often all names are written again. That repairs what a lost command or a race of two instances left wrong. */
const REWRITE_INTERVAL_MS = 5 * 60_000;

export interface RobotNamesPorts {
  readonly database: Database;
  readonly redis: NameReservationsPorts['redis'];
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

const prefixOf = ({ tenant, robotId }: RobotKey): ReservedPrefix => ({ tenant, prefix: streamNameOf(robotId, '') });

/**
 * Reserves the names of robots' streams for the robots. Media nodes and other services find the reserved names in
 * Redis; the database is the source from which they are written again when Redis has lost them.
 */
export class RobotNames {
  readonly #reservations: NameReservations;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #nextRewriteMs = 0;
  #isTroubled = false;

  constructor(private readonly ports: RobotNamesPorts) {
    this.#reservations = new NameReservations({ redis: ports.redis, owner: 'robots' });
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#working = this.#working.then(() => this.#compare());
    }, COMPARE_INTERVAL_MS);
    this.#working = this.#compare();
  }

  /** Never rejects: a name that couldn't be written to Redis now is written later. */
  async reserve(robot: RobotKey): Promise<void> {
    await this.#tell(() => this.#reservations.reserve(prefixOf(robot)));
  }

  async release(robot: RobotKey): Promise<void> {
    await this.#tell(() => this.#reservations.release(prefixOf(robot)));
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#working;
  }

  async #tell(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.ports.log.warn({ err: error }, 'the name of a robot could not be told to Redis yet');
      this.#nextRewriteMs = 0;
    }
  }

  async #compare(): Promise<void> {
    try {
      if (Date.now() < this.#nextRewriteMs && !(await this.#reservations.areLost())) return;
      const robots = await this.ports.database.robot.findMany({ select: { tenant: true, id: true } });
      await this.#reservations.replaceAll(robots.map(({ tenant, id }) => prefixOf({ tenant, robotId: id })));
      this.#nextRewriteMs = Date.now() + REWRITE_INTERVAL_MS;
      if (this.#isTroubled) this.ports.log.info('the names of robots are told to Redis again');
      this.#isTroubled = false;
    } catch (error) {
      if (!this.#isTroubled) this.ports.log.warn({ err: error }, 'the names of robots could not be told to Redis');
      this.#isTroubled = true;
    }
  }
}
