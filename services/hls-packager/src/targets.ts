import { nobodyServes, type Bus } from '@weir/bus';
import { ErrorCode, isWeirError, Robots, type Robot } from '@weir/contracts';
import type { RtspAddress } from './stream-request.js';
import { isPlainName, type VideoTarget } from './video-path.js';

/** What targets stand for: robots' cameras by what robot-channel knows, otherwise streams by their names. */
export class Targets {
  constructor(private readonly bus: Pick<Bus, 'call'>) {}

  /** Without a camera a robot's default one is meant. A tenant without such a robot may have a stream of that name. */
  async streamNameOf(tenant: string, target: VideoTarget): Promise<string> {
    if (target.kind === 'stream') return target.name;
    const { id, camera } = target;
    const robot = await this.#robot(tenant, id);
    const wanted = camera ?? robot?.defaultCamera;
    const known = robot?.cameras.find(({ name }) => name === wanted);
    return known?.streamName ?? (camera === undefined ? id : `${id}/${camera}`);
  }

  /**
   * Which target of the robot an RTSP URL leads to; undefined when it isn't one of the robot's. The default camera's
   * address has no camera in it.
   */
  async targetOf(id: string, { tenant, streamName }: RtspAddress): Promise<VideoTarget | undefined> {
    const robot = await this.#robot(tenant, id);
    const known = robot?.cameras.find((camera) => camera.streamName === streamName);
    if (known !== undefined) {
      return { kind: 'robot', id, camera: known.name === robot?.defaultCamera ? undefined : known.name };
    }
    if (streamName === id) return { kind: 'robot', id, camera: undefined };
    const camera = streamName.startsWith(`${id}/`) ? streamName.slice(id.length + 1) : '';
    return isPlainName(camera) ? { kind: 'robot', id, camera } : undefined;
  }

  async #robot(tenant: string, robotId: string): Promise<Robot | undefined> {
    try {
      return await this.bus.call(Robots.method.getRobot, { tenant, robotId });
    } catch (error) {
      if (isWeirError(error, ErrorCode.NOT_FOUND)) return undefined;
      // A platform may have no robots at all.
      if (nobodyServes(error)) return undefined;
      throw error;
    }
  }
}
