import { credentialRefMessage, credentialRefOf, type Principal } from '@weir/access';
import type { Bus } from '@weir/bus';
import { ErrorCode, isWeirError, StreamRecordings } from '@weir/contracts';
import type { MediaClient } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import { errOf, type AppRequest, type AppResult, type Outcome, type Problem } from '@weir/protocol-turing';
import type { CameraStreams } from './camera-streams.js';
import { cameraOf, streamNameOf, type CameraRecord, type Fleet, type RobotRecord } from './fleet.js';
import { errOfFailure } from './media-errs.js';
import type { Presence } from './presence.js';
import type { PublicUrls } from './public-urls.js';
import { mayRecord, maySee, mayWatch } from './rights.js';

export interface ActsPorts {
  readonly fleet: Pick<Fleet, 'find' | 'list'>;
  readonly presence: Pick<Presence, 'online'>;
  readonly streams: Pick<CameraStreams, 'start' | 'stop'>;
  readonly media: Pick<MediaClient, 'signPlayUrl'>;
  readonly bus: Pick<Bus, 'call'>;
  readonly urls: PublicUrls;
  readonly log: Logger;
  readonly playUrlTtlMs: number;
}

type OfCamera = Extract<AppRequest, { act: 'robot.start_stream' }>['arg'];

/** The most robots in one reply; a tenant that has more lists them by REST. */
const MAX_LISTED = 1_000;

const refused = (problem: Problem): { readonly ok: false; readonly err: ReturnType<typeof errOf> } => ({
  ok: false,
  err: errOf(problem),
});

/** Carries out the requests of apps. */
export class Acts {
  constructor(private readonly ports: ActsPorts) {}

  /** Never rejects. */
  async perform(principal: Principal, asker: string, request: AppRequest): Promise<Outcome<AppResult>> {
    try {
      return await this.#perform(principal, asker, request);
    } catch (error) {
      if (!isWeirError(error)) this.ports.log.error({ err: error, act: request.act }, 'an act failed unexpectedly');
      else this.ports.log.warn({ err: error, act: request.act }, 'an act failed');
      return { ok: false, err: errOfFailure(error) };
    }
  }

  async #perform(principal: Principal, asker: string, request: AppRequest): Promise<Outcome<AppResult>> {
    switch (request.act) {
      case 'robot.start_stream':
        return this.#start(principal, asker, request.arg);
      case 'robot.stop_stream':
        return this.#stop(principal, asker, request.arg);
      case 'robot.start_recording':
        return this.#startRecording(principal, request.arg);
      case 'robot.stop_recording':
        return this.#stopRecording(principal, request.arg);
      case 'robot.list':
        return this.#list(principal);
      case 'robot.list_cameras':
        return this.#listCameras(principal, request.arg.robot_id);
      default:
        return request satisfies never;
    }
  }

  async #start(principal: Principal, asker: string, arg: OfCamera): Promise<Outcome<AppResult>> {
    const found = await this.#camera(principal, arg);
    if (!found.ok) return found;
    const { robot, camera } = found.ret;
    const { tenant, robotId } = robot;
    const started = await this.ports.streams.start({ tenant, robotId, camera: camera.name }, camera, asker);
    if (!started.ok) return started;
    const { nodeId, streamName } = started.ret;
    const stream = { tenant, streamName, nodeId };
    const credential = credentialRefMessage(credentialRefOf(principal));
    const uri = await this.ports.media.signPlayUrl(stream, credential, this.ports.playUrlTtlMs);
    return { ok: true, ret: { uri, hls_uri: this.#hls(robot, camera.name), rtsp_uri: uri, stream: streamName } };
  }

  async #stop(principal: Principal, asker: string, arg: OfCamera): Promise<Outcome<AppResult>> {
    const found = await this.#camera(principal, arg);
    if (!found.ok) return found;
    const { robot, camera } = found.ret;
    const key = { tenant: robot.tenant, robotId: robot.robotId, camera: camera.name };
    return { ok: true, ret: { stopped: await this.ports.streams.stop(key, asker) } };
  }

  /** Records the camera's stream to its end, or until it is stopped; one recording for all who ask. */
  async #startRecording(principal: Principal, arg: OfCamera): Promise<Outcome<AppResult>> {
    const found = await this.#recordable(principal, arg);
    if (!found.ok) return found;
    const { tenant, streamName, key } = found.ret;
    try {
      const { recording } = await this.ports.bus.call(StreamRecordings.method.start, {
        ...{ tenant, streamName, key },
        labels: { protocol: 'robot', robotId: arg.robot_id, camera: arg.camera, subject: principal.subject },
      });
      const startedAt = Number(recording?.startedAtMs ?? 0n);
      return { ok: true, ret: { recording_id: recording?.recordingId ?? '', started_at: startedAt || null } };
    } catch (error) {
      if (isWeirError(error, ErrorCode.NOT_FOUND)) return refused('not-streaming');
      throw error;
    }
  }

  async #stopRecording(principal: Principal, arg: OfCamera): Promise<Outcome<AppResult>> {
    const found = await this.#recordable(principal, arg);
    if (!found.ok) return found;
    const { tenant, key } = found.ret;
    const { stoppedCount } = await this.ports.bus.call(StreamRecordings.method.stop, { tenant, key });
    return { ok: true, ret: { stopped: stoppedCount > 0 } };
  }

  async #recordable(
    principal: Principal,
    arg: OfCamera,
  ): Promise<Outcome<{ readonly tenant: string; readonly streamName: string; readonly key: string }>> {
    const { tenant } = principal;
    if (!mayRecord(principal, tenant, arg.robot_id, arg.camera)) return refused('not-permitted');
    const found = await this.#camera(principal, arg);
    if (!found.ok) return found;
    const streamName = streamNameOf(arg.robot_id, arg.camera);
    return { ok: true, ret: { tenant, streamName, key: `robot/${streamName}` } };
  }

  async #list(principal: Principal): Promise<Outcome<AppResult>> {
    const { tenant } = principal;
    const robots = await this.ports.fleet.list(tenant, MAX_LISTED);
    const seen = robots.map(({ robotId }) => robotId).filter((robotId) => maySee(principal, tenant, robotId));
    const online = await this.ports.presence.online(tenant, seen);
    return {
      ok: true,
      ret: {
        robots: seen.map((robotId) => ({
          robot_id: robotId,
          status: online.has(robotId) ? 'online' : 'robot_offline',
        })),
      },
    };
  }

  async #listCameras(principal: Principal, robotId: string): Promise<Outcome<AppResult>> {
    const { tenant } = principal;
    const robot = maySee(principal, tenant, robotId) ? await this.ports.fleet.find(tenant, robotId) : undefined;
    if (robot === undefined) return refused('not-permitted');
    const cameras = robot.cameras.filter(({ name }) => mayWatch(principal, tenant, robotId, name));
    return {
      ok: true,
      ret: {
        cameras: cameras.map(({ name }) => ({
          camera: name,
          default: name === robot.defaultCamera,
          stream: streamNameOf(robotId, name),
          hls_uri: this.#hls(robot, name),
        })),
      },
    };
  }

  /** A robot of another tenant and a robot that doesn't exist get the same answer. */
  async #camera(
    principal: Principal,
    { robot_id: robotId, camera: name }: OfCamera,
  ): Promise<Outcome<{ readonly robot: RobotRecord; readonly camera: CameraRecord }>> {
    const { tenant } = principal;
    const robot = mayWatch(principal, tenant, robotId, name) ? await this.ports.fleet.find(tenant, robotId) : undefined;
    if (robot === undefined) return refused('not-permitted');
    const camera = cameraOf(robot, name);
    return camera === undefined ? refused('no-such-camera') : { ok: true, ret: { robot, camera } };
  }

  #hls(robot: RobotRecord, camera: string): string {
    return this.ports.urls.hls(robot.robotId, camera, camera === robot.defaultCamera);
  }
}
