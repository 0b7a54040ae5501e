import type { Bus } from '@weir/bus';
import { RobotEvents, type RobotStateChanged } from '@weir/contracts';
import type { Leases } from '@weir/leases';
import type { Logger } from '@weir/platform';

export interface RobotKey {
  readonly tenant: string;
  readonly robotId: string;
}

/** A robot and the epoch of its connection. */
export interface HeldRobot extends RobotKey {
  readonly epoch: bigint;
}

interface Sighting extends RobotKey {
  readonly online: boolean;
  readonly instanceId: string;
  readonly epoch: bigint;
  /**
   * While the robot is online: how many comparisons in a row Redis didn't know it. While offline: how many comparisons
   * it has been offline for.
   */
  readonly missed: number;
}

export interface PresencePorts {
  /** One lease for each robot, named by `nameOf` and owned by the instance that has the robot's socket. */
  readonly leases: Pick<Leases, 'take' | 'renew' | 'release' | 'find' | 'findAll' | 'list'>;
  readonly bus: Pick<Bus, 'publish' | 'subscribe' | 'onConnectionChange' | 'instanceId'>;
  readonly log: Pick<Logger, 'warn'>;
  /** A robot has come online or gone offline, on whichever instance. */
  readonly changed: (robot: RobotKey, online: boolean) => void;
  /** A robot has a new connection, with this epoch, on another instance. */
  readonly arrived: (robot: HeldRobot) => void;
}

/** An owner writes a lost lease again with its next renewal, so a robot that is missing twice is gone. */
const MISSES_UNTIL_OFFLINE = 2;
/** By then no late event of an older connection can arrive. */
const MISSES_UNTIL_FORGOTTEN = 10;

export const nameOf = ({ tenant, robotId }: RobotKey): string => `${tenant}/${robotId}`;

/**
 * Which robots are online, and which instance has their sockets. Redis holds the truth; events spread it quickly.
 * Because events may be lost, this instance compares what it has heard with Redis from time to time.
 */
export class Presence {
  readonly #sightings = new Map<string, Sighting>();
  readonly #subscription: { close(): Promise<void> };

  constructor(private readonly ports: PresencePorts) {
    this.#subscription = ports.bus.subscribe(RobotEvents.method.stateChanged, (event) => this.#heard(event));
  }

  /** This instance has the robot's socket now. Returns the epoch of this connection. */
  async arrive(robot: RobotKey): Promise<bigint> {
    const epoch = await this.ports.leases.take(nameOf(robot));
    this.#tell(robot, true, epoch);
    return epoch;
  }

  /** The socket is gone. If another instance has taken the robot over, nothing changes. */
  async leave({ tenant, robotId, epoch }: HeldRobot): Promise<void> {
    try {
      if (!(await this.ports.leases.release(nameOf({ tenant, robotId }), epoch))) return;
    } catch (error) {
      // The lease expires by itself.
      this.ports.log.warn({ err: error, robotId }, 'a robot that left could not be taken out of Redis');
    }
    this.#tell({ tenant, robotId }, false, epoch);
  }

  /** Returns the robots that another connection has taken over. */
  async renew(held: readonly HeldRobot[]): Promise<HeldRobot[]> {
    const kept = await this.ports.leases.renew(held.map((robot) => ({ name: nameOf(robot), epoch: robot.epoch })));
    return held.filter((_robot, index) => kept[index] === false);
  }

  /** The instance that has the robot's socket. */
  async ownerOf(robot: RobotKey): Promise<string | undefined> {
    return (await this.ports.leases.find(nameOf(robot)))?.owner;
  }

  async online(tenant: string, robotIds: readonly string[]): Promise<Set<string>> {
    const leases = await this.ports.leases.findAll(robotIds.map((robotId) => nameOf({ tenant, robotId })));
    return new Set(robotIds.filter((_id, index) => leases[index] !== undefined));
  }

  /** Another instance has died. Its robots are offline until they connect elsewhere. */
  async instanceLost(instanceId: string): Promise<void> {
    const names = [...this.#sightings].flatMap(([name, sighting]) =>
      sighting.online && sighting.instanceId === instanceId ? [name] : [],
    );
    const leases = await this.ports.leases.findAll(names);
    for (const [index, name] of names.entries()) {
      const lease = leases[index];
      if (lease !== undefined && lease.owner !== instanceId) continue;
      if (lease !== undefined) await this.ports.leases.release(name, lease.epoch);
      const sighting = this.#sightings.get(name);
      if (sighting?.instanceId === instanceId) this.#see({ ...sighting, online: false });
    }
  }

  /** Compares what this instance has heard with Redis, and forgets robots that have been offline for long. */
  async compare(): Promise<void> {
    for (const [name, sighting] of this.#sightings) {
      if (sighting.online) continue;
      if (sighting.missed >= MISSES_UNTIL_FORGOTTEN) this.#sightings.delete(name);
      else this.#sightings.set(name, { ...sighting, missed: sighting.missed + 1 });
    }
    const names = [...this.#sightings].flatMap(([name, { online }]) => (online ? [name] : []));
    const leases = await this.ports.leases.findAll(names);
    for (const [index, name] of names.entries()) {
      const sighting = this.#sightings.get(name);
      if (sighting === undefined || !sighting.online) continue;
      const missed = leases[index] === undefined ? sighting.missed + 1 : 0;
      this.#see({ ...sighting, missed, online: missed < MISSES_UNTIL_OFFLINE });
    }
  }

  /** Learns of robots that came online while no events arrived. */
  async catchUp(): Promise<void> {
    for (const { name, epoch, owner: instanceId } of await this.ports.leases.list()) {
      const slash = name.indexOf('/');
      if (slash === -1) continue;
      const robot = { tenant: name.slice(0, slash), robotId: name.slice(slash + 1) };
      this.#heard({ ...robot, online: true, instanceId, epoch });
    }
    await this.compare();
  }

  close(): Promise<void> {
    return this.#subscription.close();
  }

  #tell({ tenant, robotId }: RobotKey, online: boolean, epoch: bigint): void {
    const { instanceId } = this.ports.bus;
    // The apps of this instance don't have to wait for the bus.
    this.#see({ tenant, robotId, online, epoch, instanceId, missed: 0 });
    this.ports.bus.publish(RobotEvents.method.stateChanged, { tenant, robotId, online, instanceId, epoch });
  }

  #heard({ tenant, robotId, online, instanceId, epoch }: Omit<RobotStateChanged, '$typeName' | '$unknown'>): void {
    if (instanceId === this.ports.bus.instanceId) return;
    const before = this.#sightings.get(nameOf({ tenant, robotId }))?.epoch ?? 0n;
    if (online && before < epoch) this.ports.arrived({ tenant, robotId, epoch });
    this.#see({ tenant, robotId, online, epoch, instanceId, missed: 0 });
  }

  #see(sighting: Sighting): void {
    const name = nameOf(sighting);
    const before = this.#sightings.get(name);
    // The event is outdated: the robot has reconnected since.
    if (before !== undefined && before.epoch > sighting.epoch) return;
    this.#sightings.set(name, sighting);
    if ((before?.online ?? false) !== sighting.online) this.ports.changed(sighting, sighting.online);
  }
}
