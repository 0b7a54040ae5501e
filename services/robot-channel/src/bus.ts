import { credentialRefMessage } from '@weir/access';
import type { Bus, Registration } from '@weir/bus';
import {
  ErrorCode,
  Robots,
  RobotSockets as RobotSocketsContract,
  RobotStreams,
  WeirError,
  type RobotCommandReplySchema,
  type StartRobotStreamReplySchema,
} from '@weir/contracts';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { errOf, robotCommandSchema, type Err, type Outcome } from '@weir/protocol-turing';
import type { Started } from './camera-stream.js';
import type { CameraStreams } from './camera-streams.js';
import { cameraOf, streamNameOf, type Fleet } from './fleet.js';
import type { Presence } from './presence.js';
import type { RobotSockets } from './robot-sockets.js';

export interface BusPorts {
  readonly fleet: Fleet;
  readonly presence: Presence;
  readonly sockets: RobotSockets;
  readonly streams: CameraStreams;
}

type StartReply = MessageInitShape<typeof StartRobotStreamReplySchema>;
type CommandReply = MessageInitShape<typeof RobotCommandReplySchema>;

const refused = (err: Err) => ({ outcome: { case: 'refused' as const, value: { ...err } } });

const startReply = (outcome: Outcome<Started>): StartReply =>
  outcome.ok ? { outcome: { case: 'started', value: outcome.ret } } : refused(outcome.err);

const commandReply = (outcome: Outcome<unknown>): CommandReply =>
  outcome.ok ? { outcome: { case: 'retJson', value: JSON.stringify(outcome.ret) } } : refused(outcome.err);

const parsedJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WeirError(ErrorCode.INVALID, 'The argument of the command is not JSON', {}, { cause });
  }
};

/** Serves the calls of other services and of other instances of this service. */
export const serveBus = (
  bus: Pick<Bus, 'serve'>,
  { fleet, presence, sockets, streams }: BusPorts,
): readonly Registration[] => [
  bus.serve(Robots.method.getRobot, async ({ tenant, robotId }) => {
    const robot = await fleet.get(tenant, robotId);
    return {
      tenant,
      robotId,
      cameras: robot.cameras.map(({ name, pinned, rtspUrl }) => ({
        name,
        streamName: streamNameOf(robotId, name),
        pinned,
        pulled: rtspUrl !== undefined,
      })),
      defaultCamera: robot.defaultCamera ?? '',
      online: (await presence.online(tenant, [robotId])).has(robotId),
    };
  }),
  bus.serve(Robots.method.startStream, async ({ tenant, robotId, camera: wanted }) => {
    const robot = await fleet.get(tenant, robotId);
    const camera = cameraOf(robot, wanted === '' ? (robot.defaultCamera ?? '') : wanted);
    if (camera === undefined) return refused(errOf('no-such-camera'));
    return startReply(await streams.start({ tenant, robotId, camera: camera.name }, camera, 'service'));
  }),
  bus.serve(RobotStreams.method.start, async ({ tenant, robotId, camera: name, asker }) => {
    const robot = await fleet.get(tenant, robotId);
    const camera = cameraOf(robot, name);
    if (camera === undefined) return refused(errOf('no-such-camera'));
    return startReply(await streams.startHere({ tenant, robotId, camera: name }, camera, asker));
  }),
  bus.serve(RobotStreams.method.stop, async ({ tenant, robotId, camera, asker }) => ({
    stopped: await streams.stopHere({ tenant, robotId, camera }, asker),
  })),
  bus.serve(RobotSocketsContract.method.command, async ({ tenant, robotId, act, argJson, timeoutMs }) => {
    const command = robotCommandSchema.safeParse({ act, arg: parsedJson(argJson) });
    if (!command.success) throw new WeirError(ErrorCode.INVALID, 'The robot has no such command', { act });
    const socket = sockets.find({ tenant, robotId });
    if (socket === undefined) return refused(errOf('robot-offline'));
    return {
      ...commandReply(await socket.command(command.data, timeoutMs)),
      credential: credentialRefMessage(socket.credential),
    };
  }),
];
