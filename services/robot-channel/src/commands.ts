import { credentialRefIn, type CredentialRef } from '@weir/access';
import { nobodyServes, type Bus } from '@weir/bus';
import { ErrorCode, isWeirError, RobotSockets as RobotSocketsContract, type RobotCommandReply } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { errOf, type Outcome, type Problem, type RobotCommand } from '@weir/protocol-turing';
import type { Presence, RobotKey } from './presence.js';
import type { RobotSockets } from './robot-sockets.js';

export interface CommandsPorts {
  readonly bus: Pick<Bus, 'call' | 'instanceId'>;
  readonly sockets: Pick<RobotSockets, 'find'>;
  readonly presence: Pick<Presence, 'ownerOf'>;
  readonly log: Pick<Logger, 'warn'>;
}

/** The result of a command. */
export interface Commanded {
  readonly outcome: Outcome<unknown>;
  /** The credential that opened the robot's socket; undefined if the socket wasn't found. */
  readonly credential: CredentialRef | undefined;
}

const FORWARD_MARGIN_MS = 1_000;

/** Sends commands to robots, whichever instance holds their sockets. */
export class Commands {
  constructor(private readonly ports: CommandsPorts) {}

  /** Never rejects; resolves by the time-out at the latest. */
  async send(robot: RobotKey, command: RobotCommand, timeoutMs: number): Promise<Commanded> {
    const local = this.ports.sockets.find(robot);
    if (local !== undefined) return { outcome: await local.command(command, timeoutMs), credential: local.credential };
    try {
      return await this.#forward(robot, command, timeoutMs);
    } catch (error) {
      if (isWeirError(error, ErrorCode.DEADLINE)) return failed('timeout');
      // The instance is dead, so the robot is offline until it connects elsewhere.
      if (nobodyServes(error)) return failed('robot-offline');
      this.ports.log.warn({ err: error, ...robot }, 'a robot could not be reached');
      return failed('unavailable');
    }
  }

  /** Throws what Redis throws. */
  async isReachable(robot: RobotKey): Promise<boolean> {
    return this.ports.sockets.find(robot) !== undefined || (await this.#ownerElsewhere(robot)) !== undefined;
  }

  async #forward(robot: RobotKey, { act, arg }: RobotCommand, timeoutMs: number): Promise<Commanded> {
    const instanceId = await this.#ownerElsewhere(robot);
    if (instanceId === undefined) return failed('robot-offline');
    const request = { instanceId, ...robot, act, argJson: JSON.stringify(arg), timeoutMs };
    const deadlineMs = timeoutMs + FORWARD_MARGIN_MS;
    const reply = await this.ports.bus.call(RobotSocketsContract.method.command, request, { deadlineMs });
    return { outcome: outcomeOf(reply), credential: credentialRefIn(reply.credential) };
  }

  /** A lease that names this instance is left over from a socket that has just closed. */
  async #ownerElsewhere(robot: RobotKey): Promise<string | undefined> {
    const instanceId = await this.ports.presence.ownerOf(robot);
    return instanceId === this.ports.bus.instanceId ? undefined : instanceId;
  }
}

const failed = (problem: Problem): Commanded => ({
  outcome: { ok: false, err: errOf(problem) },
  credential: undefined,
});

const outcomeOf = ({ outcome }: RobotCommandReply): Outcome<unknown> => {
  switch (outcome.case) {
    case 'retJson':
      return { ok: true, ret: JSON.parse(outcome.value) };
    case 'refused': {
      const { ec, em, dm } = outcome.value;
      return { ok: false, err: { ec, em, dm } };
    }
    case undefined:
      return { ok: false, err: errOf('internal') };
    default:
      return outcome satisfies never;
  }
};
