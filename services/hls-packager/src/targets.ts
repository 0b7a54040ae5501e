import { nobodyServes, type Bus } from '@weir/bus';
import { ErrorCode, isWeirError, Robots, type Robot } from '@weir/contracts';
import type { RtspAddress } from './stream-request.js';
import { isPlainName, type VideoTarget } from './video-path.js';

/** Finds the streams of targets: for robots' cameras it asks robot-channel; other targets are streams by name. */
export class Targets {
  constructor(private readonly bus: Pick<Bus, 'call'>) {}

  /**
   * Without a camera, the target is the robot's default camera. If there is no such robot, it is a stream of that name.
   */
  async streamNameOf(tenant: string, target: VideoTarget): Promise<string> {
    if (target.tag === 'stream') return target.name;
    const { id, camera } = target;
    const robot = await this.#robot(tenant, id);
    const wanted = camera ?? robot?.defaultCamera;
    const known = robot?.cameras.find(({ name }) => name === wanted);
    return known?.streamName ?? (camera === undefined ? id : `${id}/${camera}`);
  }

  /**
   * The robot's target that an RTSP URL names; undefined when the URL isn't one of the robot's. The address of the
   * default camera has no camera in it.
   */
  async targetOf(id: string, { tenant, streamName }: RtspAddress): Promise<VideoTarget | undefined> {
    const robot = await this.#robot(tenant, id);
    const known = robot?.cameras.find((camera) => camera.streamName === streamName);
    if (known !== undefined) {
      return { tag: 'robot', id, camera: known.name === robot?.defaultCamera ? undefined : known.name };
    }
    if (streamName === id) return { tag: 'robot', id, camera: undefined };
    const camera = streamName.startsWith(`${id}/`) ? streamName.slice(id.length + 1) : '';
    return isPlainName(camera) ? { tag: 'robot', id, camera } : undefined;
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
