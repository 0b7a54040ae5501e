import type { Bus } from '@weir/bus';
import { RobotEvents, type RobotStateChanged } from '@weir/contracts';
import type { Leases } from '@weir/leases';
import type { Logger } from '@weir/platform';

export interface RobotKey {
  readonly tenant: string;
  readonly robotId: string;
}

/** Of a robot whose socket this instance holds. */
export interface HeldRobot extends RobotKey {
  readonly epoch: bigint;
}

interface Sighting extends RobotKey {
  readonly online: boolean;
  readonly instanceId: string;
  readonly epoch: bigint;
  /** How often in a row Redis didn't know the robot; of one that is offline, how often it was offline. */
  readonly missed: number;
}

export interface PresencePorts {
  /** Of the robots by `nameOf`, each owned by the instance that has the robot's socket. */
  readonly leases: Pick<Leases, 'take' | 'renew' | 'release' | 'find' | 'findAll' | 'list'>;
  readonly bus: Pick<Bus, 'publish' | 'subscribe' | 'onConnectionChange' | 'instanceId'>;
  readonly log: Pick<Logger, 'warn'>;
  /** A robot has come or gone, wherever its socket is. */
  readonly changed: (robot: RobotKey, online: boolean) => void;
  /** A robot has a new socket, with this epoch, on another instance. */
  readonly arrived: (robot: HeldRobot) => void;
}

/** Redis writes lost records anew within a renewal; who is missing twice is gone. */
const MISSES_UNTIL_OFFLINE = 2;
/** By then no late word of an older connection can come any more. */
const MISSES_UNTIL_FORGOTTEN = 10;

export const nameOf = ({ tenant, robotId }: RobotKey): string => `${tenant}/${robotId}`;

/**
 * Which robots are online, and by which instance they can be reached. Redis holds the truth, events tell it in time, and
 * what this instance has heard is compared with the truth now and then, because events may be lost.
 */
export class Presence {
  readonly #sightings = new Map<string, Sighting>();
  readonly #subscription: { close(): Promise<void> };

  constructor(private readonly ports: PresencePorts) {
    this.#subscription = ports.bus.subscribe(RobotEvents.method.stateChanged, (event) => this.#heard(event));
  }

  /** This instance holds the robot's socket now; returns the epoch of this connection. */
  async arrive(robot: RobotKey): Promise<bigint> {
    const epoch = await this.ports.leases.take(nameOf(robot));
    this.#tell(robot, true, epoch);
    return epoch;
  }

  /** The socket is gone. Whoever has taken the robot over meanwhile isn't disturbed. */
  async leave({ tenant, robotId, epoch }: HeldRobot): Promise<void> {
    try {
      if (!(await this.ports.leases.release(nameOf({ tenant, robotId }), epoch))) return;
    } catch (error) {
      // The lease ends by itself after its time.
      this.ports.log.warn({ err: error, robotId }, 'a robot that left could not be taken out of Redis');
    }
    this.#tell({ tenant, robotId }, false, epoch);
  }

  /** Returns those that are held elsewhere by now. */
  async renew(held: readonly HeldRobot[]): Promise<HeldRobot[]> {
    const kept = await this.ports.leases.renew(held.map((robot) => ({ name: nameOf(robot), epoch: robot.epoch })));
    return held.filter((_robot, index) => kept[index] === false);
  }

  /** The instance that holds the robot's socket. */
  async ownerOf(robot: RobotKey): Promise<string | undefined> {
    return (await this.ports.leases.find(nameOf(robot)))?.owner;
  }

  async online(tenant: string, robotIds: readonly string[]): Promise<Set<string>> {
    const leases = await this.ports.leases.findAll(robotIds.map((robotId) => nameOf({ tenant, robotId })));
    return new Set(robotIds.filter((_id, index) => leases[index] !== undefined));
  }

  /** Another instance has died: its robots are offline until they connect elsewhere. */
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

  /** Compares what was heard with the truth, and forgets robots that have been offline for long. */
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

  /** Learns of robots that came while nothing could be heard. */
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
    // This instance's own apps don't wait for the bus.
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
    // Old news: the robot has connected anew since.
    if (before !== undefined && before.epoch > sighting.epoch) return;
    this.#sightings.set(name, sighting);
    if ((before?.online ?? false) !== sighting.online) this.ports.changed(sighting, sighting.online);
  }
}
