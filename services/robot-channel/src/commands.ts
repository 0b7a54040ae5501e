import type { Bus } from '@weir/bus';
import { ErrorCode, isWeirError, RobotSockets as RobotSocketsContract, type RobotCommandReply } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { errOf, type Outcome, type RobotCommand } from '@weir/protocol-turing';
import type { Presence, RobotKey } from './presence.js';
import type { RobotSockets } from './robot-sockets.js';

export interface CommandsPorts {
  readonly bus: Pick<Bus, 'call' | 'instanceId'>;
  readonly sockets: Pick<RobotSockets, 'find'>;
  readonly presence: Pick<Presence, 'holderOf'>;
  readonly log: Pick<Logger, 'warn'>;
}

const FORWARD_MARGIN_MS = 1_000;

/** Robots can be commanded from every instance, whichever holds their sockets. */
export class Commands {
  constructor(private readonly ports: CommandsPorts) {}

  /** Never rejects; comes to an end with the time-out. */
  async send(robot: RobotKey, command: RobotCommand, timeoutMs: number): Promise<Outcome<unknown>> {
    const local = this.ports.sockets.find(robot);
    if (local !== undefined) return local.command(command, timeoutMs);
    try {
      return await this.#forward(robot, command, timeoutMs);
    } catch (error) {
      if (isWeirError(error, ErrorCode.DEADLINE)) return { ok: false, err: errOf('timeout') };
      // Its instance is dead, and the robot with it until it connects elsewhere.
      if (isWeirError(error, ErrorCode.UNAVAILABLE)) return { ok: false, err: errOf('robot-offline') };
      this.ports.log.warn({ err: error, ...robot }, 'a robot could not be reached');
      return { ok: false, err: errOf('unavailable') };
    }
  }

  /** Throws what Redis throws. */
  async isReachable(robot: RobotKey): Promise<boolean> {
    return this.ports.sockets.find(robot) !== undefined || (await this.#holder(robot)) !== undefined;
  }

  async #forward(robot: RobotKey, { act, arg }: RobotCommand, timeoutMs: number): Promise<Outcome<unknown>> {
    const instanceId = await this.#holder(robot);
    if (instanceId === undefined) return { ok: false, err: errOf('robot-offline') };
    const request = { instanceId, ...robot, act, argJson: JSON.stringify(arg), timeoutMs };
    const deadlineMs = timeoutMs + FORWARD_MARGIN_MS;
    return outcomeOf(await this.ports.bus.call(RobotSocketsContract.method.command, request, { deadlineMs }));
  }

  /** A record of this instance itself is what is left of a socket that has just gone. */
  async #holder(robot: RobotKey): Promise<string | undefined> {
    const instanceId = await this.ports.presence.holderOf(robot);
    return instanceId === this.ports.bus.instanceId ? undefined : instanceId;
  }
}

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
