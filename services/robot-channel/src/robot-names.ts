import { NameReservations, type NameReservationsPorts, type ReservedPrefix } from '@weir/access';
import type { Logger } from '@weir/platform';
import type { Database } from './database.js';
import { streamNameOf } from './fleet.js';
import type { RobotKey } from './presence.js';

const COMPARE_INTERVAL_MS = 1_000;
/** What a lost command or a race of two instances left wrong is right again after this. */
const REWRITE_INTERVAL_MS = 5 * 60_000;

export interface RobotNamesPorts {
  readonly database: Database;
  readonly redis: NameReservationsPorts['redis'];
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

const prefixOf = ({ tenant, robotId }: RobotKey): ReservedPrefix => ({ tenant, prefix: streamNameOf(robotId, '') });

/**
 * Keeps the streams' names of robots for them alone: Redis says to media nodes and to others which those are, and the
 * database is where it comes from when Redis has lost it.
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

  /** Never rejects: a name that Redis couldn't be told of now is told of later. */
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
