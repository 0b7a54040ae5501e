import type { Bus } from '@weir/bus';
import { ErrorCode, RobotEvents, WeirError } from '@weir/contracts';
import { asWeirError } from '@weir/platform/database';
import { isMissing, isTaken, type Database } from './database.js';
import type { RobotNames } from './robot-names.js';

export interface CameraRecord {
  readonly name: string;
  /** The URL that its picture is pulled from; undefined: the robot pushes it. */
  readonly rtspUrl: string | undefined;
  readonly pinned: boolean;
}

export interface RobotRecord {
  readonly tenant: string;
  readonly robotId: string;
  /** Sorted by name. */
  readonly cameras: readonly CameraRecord[];
  /** The camera that a request without a camera's name means; undefined if the robot has no cameras. */
  readonly defaultCamera: string | undefined;
  readonly createdAt: Date;
}

export interface RobotChange {
  /** Null: none is set; then it is `front`, or else the first by name. */
  readonly defaultCamera?: string | null | undefined;
}

export interface CameraChange {
  readonly rtspUrl?: string | null | undefined;
  readonly pinned?: boolean | undefined;
}

const USUAL_DEFAULT = 'front';
const MAX_CAMERAS = 32;

interface Row {
  readonly tenant: string;
  readonly id: string;
  readonly defaultCamera: string | null;
  readonly createdAt: Date;
  readonly cameras: readonly { readonly name: string; readonly rtspUrl: string | null; readonly pinned: boolean }[];
}

const recordOf = ({ tenant, id, defaultCamera, createdAt, cameras }: Row): RobotRecord => {
  const names = cameras.map(({ name }) => name);
  const wanted = [defaultCamera, USUAL_DEFAULT].find((name) => name !== null && names.includes(name));
  return {
    tenant,
    robotId: id,
    cameras: cameras.map(({ name, rtspUrl, pinned }) => ({ name, rtspUrl: rtspUrl ?? undefined, pinned })),
    defaultCamera: wanted ?? names[0],
    createdAt,
  };
};

export const cameraOf = (robot: RobotRecord, name: string): CameraRecord | undefined =>
  robot.cameras.find((camera) => camera.name === name);

/** The name of a camera's stream in its tenant's namespace; grants name the camera in the same way. */
export const streamNameOf = (robotId: string, camera: string): string => `${robotId}/${camera}`;

const withCameras = { cameras: { orderBy: { name: 'asc' } } } as const;

const noRobot = (robotId: string) => new WeirError(ErrorCode.NOT_FOUND, 'No such robot', { robotId });
const noCamera = (robotId: string, camera: string) =>
  new WeirError(ErrorCode.NOT_FOUND, 'No such camera', { robotId, camera });

/** The tenants' robots and cameras. Every method may throw UNAVAILABLE. Every change is published to all instances. */
export class Fleet {
  constructor(
    private readonly ports: {
      readonly database: Database;
      readonly bus: Pick<Bus, 'publish'>;
      readonly names: Pick<RobotNames, 'reserve' | 'release'>;
    },
  ) {}

  async find(tenant: string, robotId: string): Promise<RobotRecord | undefined> {
    const row = await this.#run(() =>
      this.ports.database.robot.findUnique({ where: { tenant_id: { tenant, id: robotId } }, include: withCameras }),
    );
    return row === null ? undefined : recordOf(row);
  }

  /** Throws NOT_FOUND. */
  async get(tenant: string, robotId: string): Promise<RobotRecord> {
    const robot = await this.find(tenant, robotId);
    if (robot === undefined) throw noRobot(robotId);
    return robot;
  }

  /** The robots whose ids come after `afterId`, sorted by id. */
  async list(tenant: string, limit: number, afterId = ''): Promise<RobotRecord[]> {
    const rows = await this.#run(() =>
      this.ports.database.robot.findMany({
        where: { tenant, id: { gt: afterId } },
        orderBy: { id: 'asc' },
        take: limit,
        include: withCameras,
      }),
    );
    return rows.map(recordOf);
  }

  /** Throws ALREADY_EXISTS. */
  async create(
    tenant: string,
    robotId: string,
    cameras: readonly ({ readonly name: string } & CameraChange)[],
    { defaultCamera }: RobotChange = {},
  ): Promise<RobotRecord> {
    try {
      const row = await this.#run(() =>
        this.ports.database.robot.create({
          data: {
            tenant,
            id: robotId,
            defaultCamera: defaultCamera ?? null,
            cameras: {
              create: cameras.map(({ name, rtspUrl, pinned }) => ({
                name,
                rtspUrl: rtspUrl ?? null,
                pinned: pinned ?? false,
              })),
            },
          },
          include: withCameras,
        }),
      );
      await this.ports.names.reserve({ tenant, robotId });
      this.#changed(tenant, robotId);
      return recordOf(row);
    } catch (error) {
      if (isTaken(error))
        throw new WeirError(ErrorCode.ALREADY_EXISTS, 'A robot with this id already exists', { robotId });
      throw error;
    }
  }

  /** Throws NOT_FOUND, and INVALID if the robot doesn't have the new default camera. */
  async change(tenant: string, robotId: string, { defaultCamera }: RobotChange): Promise<RobotRecord> {
    const robot = await this.get(tenant, robotId);
    if (defaultCamera && cameraOf(robot, defaultCamera) === undefined)
      throw new WeirError(ErrorCode.INVALID, 'The robot has no such camera', { defaultCamera });
    await this.#run(() =>
      this.ports.database.robot.updateMany({
        where: { tenant, id: robotId },
        data: { ...(defaultCamera !== undefined && { defaultCamera }) },
      }),
    );
    this.#changed(tenant, robotId);
    return this.get(tenant, robotId);
  }

  /** Throws NOT_FOUND. */
  async remove(tenant: string, robotId: string): Promise<void> {
    const { count } = await this.#run(() => this.ports.database.robot.deleteMany({ where: { tenant, id: robotId } }));
    if (count === 0) throw noRobot(robotId);
    await this.ports.names.release({ tenant, robotId });
    this.#changed(tenant, robotId);
  }

  /** Throws NOT_FOUND if there is no such robot, ALREADY_EXISTS, and EXHAUSTED if the robot can't have more cameras. */
  async addCamera(tenant: string, robotId: string, name: string, change: CameraChange): Promise<CameraRecord> {
    const robot = await this.get(tenant, robotId);
    if (robot.cameras.length >= MAX_CAMERAS)
      throw new WeirError(ErrorCode.EXHAUSTED, `A robot has at most ${MAX_CAMERAS} cameras`, { robotId });
    try {
      const { rtspUrl, pinned } = await this.#run(() =>
        this.ports.database.camera.create({
          data: { tenant, robotId, name, rtspUrl: change.rtspUrl ?? null, pinned: change.pinned ?? false },
        }),
      );
      this.#changed(tenant, robotId);
      return { name, rtspUrl: rtspUrl ?? undefined, pinned };
    } catch (error) {
      if (isTaken(error))
        throw new WeirError(ErrorCode.ALREADY_EXISTS, 'The robot already has a camera with this name', {
          camera: name,
        });
      if (isMissing(error)) throw noRobot(robotId);
      throw error;
    }
  }

  /** Throws NOT_FOUND. */
  async changeCamera(tenant: string, robotId: string, name: string, change: CameraChange): Promise<CameraRecord> {
    try {
      const { rtspUrl, pinned } = await this.#run(() =>
        this.ports.database.camera.update({
          where: { tenant_robotId_name: { tenant, robotId, name } },
          data: {
            ...(change.rtspUrl !== undefined && { rtspUrl: change.rtspUrl }),
            ...(change.pinned !== undefined && { pinned: change.pinned }),
          },
        }),
      );
      this.#changed(tenant, robotId);
      return { name, rtspUrl: rtspUrl ?? undefined, pinned };
    } catch (error) {
      if (isMissing(error)) throw noCamera(robotId, name);
      throw error;
    }
  }

  /** Throws NOT_FOUND. */
  async removeCamera(tenant: string, robotId: string, name: string): Promise<void> {
    const { count } = await this.#run(() =>
      this.ports.database.camera.deleteMany({ where: { tenant, robotId, name } }),
    );
    if (count === 0) throw noCamera(robotId, name);
    this.#changed(tenant, robotId);
  }

  #changed(tenant: string, robotId: string): void {
    this.ports.bus.publish(RobotEvents.method.robotChanged, { tenant, robotId });
  }

  async #run<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw asWeirError(error);
    }
  }
}
