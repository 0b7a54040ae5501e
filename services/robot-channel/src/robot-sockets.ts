import { randomUUID } from 'node:crypto';
import type { CredentialRef, CredentialWatch, RefusalLog } from '@weir/access';
import { awakeNowMs, type Logger } from '@weir/platform';
import type { ClientSocket, SocketListener } from '@weir/platform/sockets';
import {
  CLOSE,
  newRobot,
  nextRobotDeadlineMs,
  stepRobot,
  type CloseCode,
  type CommandRef,
  type Outcome,
  type RobotCommand,
  type RobotEffect,
  type RobotInput,
  type RobotSettings,
  type RobotState,
} from '@weir/protocol-turing';
import type { RobotMetrics } from './metrics.js';
import { nameOf, type HeldRobot, type Presence, type RobotKey } from './presence.js';

export interface RobotSocketPorts {
  readonly settings: RobotSettings;
  readonly metrics: Pick<RobotMetrics, 'commanded' | 'refused'>;
  readonly log: Logger;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly maxBufferedBytes: number;
  /** The socket is closed, by either side. */
  readonly ended: (socket: RobotSocket) => void;
}

interface Waiting {
  readonly act: RobotCommand['act'];
  readonly sentMs: number;
  readonly resolve: (outcome: Outcome<unknown>) => void;
}

/**
 * One robot's socket: feeds the protocol's machine, carries out its effects and resolves the commands that wait for
 * answers.
 */
export class RobotSocket implements SocketListener {
  deadlineMs: number;
  readonly key = randomUUID();
  readonly #waiting = new Map<CommandRef, Waiting>();
  #state: RobotState;
  /** The frame that is being handled now. */
  #frame: string | undefined;
  #commanded = 0;

  constructor(
    readonly robot: RobotKey,
    private readonly socket: ClientSocket,
    /** The credential that opened the socket. */
    readonly credential: CredentialRef,
    private readonly ports: RobotSocketPorts,
  ) {
    this.#state = newRobot(ports.settings, awakeNowMs());
    this.deadlineMs = nextRobotDeadlineMs(this.#state);
  }

  get isOpen(): boolean {
    return this.#state.tag === 'open';
  }

  /** Never rejects; resolves when the time-out passes or the socket closes, at the latest. */
  command(command: RobotCommand, timeoutMs: number): Promise<Outcome<unknown>> {
    this.#commanded += 1;
    const ref = `${this.key}.${this.#commanded}` as CommandRef;
    return new Promise((resolve) => {
      this.#waiting.set(ref, { act: command.act, sentMs: awakeNowMs(), resolve });
      this.#take({ tag: 'command', ref, command, timeoutMs });
    });
  }

  frame(text: string): void {
    this.#frame = text;
    this.#take({ tag: 'frame', text });
    this.#frame = undefined;
  }

  binaryFrame(byteLength: number): void {
    this.#take({ tag: 'binary-frame', byteLength });
  }

  heard(): void {
    this.#take({ tag: 'heard' });
  }

  broken(reason: string): void {
    this.ports.refusals.say('a client broke the WebSocket protocol', { ...this.robot, reason });
    this.closed();
  }

  closed(): void {
    this.#take({ tag: 'socket-closed' });
  }

  tick(): void {
    this.#take({ tag: 'tick' });
  }

  terminate(code: CloseCode, reason: string): void {
    this.#take({ tag: 'terminate', code, reason });
  }

  credentialEnded(): void {
    this.terminate(CLOSE.notLoggedIn, 'The token is no longer valid');
  }

  #take(input: RobotInput): void {
    const wasOpen = this.isOpen;
    const { state, effects } = stepRobot(this.#state, input, awakeNowMs());
    this.#state = state;
    this.deadlineMs = nextRobotDeadlineMs(state);
    for (const effect of effects) this.#perform(effect);
    if (wasOpen && !this.isOpen) this.ports.ended(this);
    else if (this.isOpen && this.socket.bufferedBytes > this.ports.maxBufferedBytes)
      this.terminate(CLOSE.slowReader, 'The robot reads too slowly');
  }

  #perform(effect: RobotEffect): void {
    switch (effect.tag) {
      case 'send':
        this.socket.send(effect.text);
        return;
      case 'ping':
        this.socket.ping();
        return;
      case 'close':
        this.ports.metrics.refused('socket', String(effect.code));
        this.ports.log.info({ ...this.robot, code: effect.code, reason: effect.reason }, "a robot's socket is closed");
        this.socket.close(effect.code, effect.reason);
        return;
      case 'commanded': {
        const waiting = this.#waiting.get(effect.ref);
        this.#waiting.delete(effect.ref);
        if (waiting === undefined) return;
        const { outcome } = effect;
        this.ports.metrics.commanded(waiting.act, outcome.ok ? undefined : outcome.err, awakeNowMs() - waiting.sentMs);
        if (!outcome.ok) {
          const { ec: code, dm: reason } = outcome.err;
          this.ports.refusals.say(
            'a robot refused a command',
            { ...this.robot, act: waiting.act, code, reason },
            this.#frame,
          );
        }
        waiting.resolve(outcome);
        return;
      }
      case 'unused':
        if (effect.why === 'notification') return;
        this.ports.metrics.refused('frame', effect.why);
        this.ports.refusals.say("a robot's frame is of no use", { ...this.robot, reason: effect.why }, this.#frame);
        return;
      default:
        effect satisfies never;
    }
  }
}

export interface RobotSocketsPorts {
  readonly presence: () => Pick<Presence, 'arrive' | 'leave' | 'renew'>;
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly socket: Omit<RobotSocketPorts, 'ended'>;
  readonly log: Logger;
  /** A robot has a new socket on this instance. */
  readonly arrived: (robot: RobotKey) => void;
}

interface Held {
  readonly socket: RobotSocket;
  readonly epoch: bigint;
}

const TICK_INTERVAL_MS = 100;
const RENEW_INTERVAL_MS = 2_500;
/** How long a robot's lease lasts; it is renewed several times within this time. */
export const PRESENCE_TTL_MS = 8_000;

/** The robots' sockets of this instance. A robot has only one socket among all instances: the newest. */
export class RobotSockets {
  readonly #open = new Set<RobotSocket>();
  readonly #current = new Map<string, Held>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #ticker: NodeJS.Timeout;
  #nextRenewMs = 0;
  #isRenewing = false;

  constructor(private readonly ports: RobotSocketsPorts) {
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
  }

  get count(): number {
    return this.#current.size;
  }

  get openCount(): number {
    return this.#open.size;
  }

  find(robot: RobotKey): RobotSocket | undefined {
    return this.#current.get(nameOf(robot))?.socket;
  }

  open(robot: RobotKey, socket: ClientSocket, credential: CredentialRef): RobotSocket {
    const stopWatching = this.ports.credentials.watch([credential], () => opened.credentialEnded());
    const opened: RobotSocket = new RobotSocket(robot, socket, credential, {
      ...this.ports.socket,
      ended: () => {
        stopWatching();
        this.#ended(opened);
      },
    });
    this.#open.add(opened);
    this.#arrive(opened).catch((error: unknown) => {
      // Nobody could find this robot, so it had better connect again.
      this.ports.log.warn({ err: error, ...robot }, 'a robot could not be entered in Redis');
      opened.terminate(CLOSE.goingAway, 'Not available now; connect again later');
    });
    return opened;
  }

  /** The robot has a connection with this epoch on another instance. */
  replacedBy({ tenant, robotId, epoch }: HeldRobot): void {
    const held = this.#current.get(nameOf({ tenant, robotId }));
    if (held !== undefined && held.epoch < epoch) held.socket.terminate(CLOSE.replaced, 'The robot has connected anew');
  }

  removed(robot: RobotKey): void {
    this.find(robot)?.terminate(CLOSE.forbidden, 'The robot was removed');
  }

  async drain(): Promise<void> {
    for (const socket of [...this.#open]) socket.terminate(CLOSE.goingAway, 'The server is going down');
    await Promise.all(this.#leaving);
  }

  close(): void {
    clearInterval(this.#ticker);
  }

  async #arrive(socket: RobotSocket): Promise<void> {
    const { robot } = socket;
    const epoch = await this.ports.presence().arrive(robot);
    const held = this.#current.get(nameOf(robot));
    if (!socket.isOpen || (held !== undefined && held.epoch > epoch)) {
      // While Redis was asked, the socket was closed, or a newer one took its place.
      socket.terminate(CLOSE.replaced, 'The robot has connected anew');
      await this.ports.presence().leave({ ...robot, epoch });
      return;
    }
    this.#current.set(nameOf(robot), { socket, epoch });
    this.ports.log.info({ ...robot, socket: socket.key }, 'robot online');
    held?.socket.terminate(CLOSE.replaced, 'The robot has connected anew');
    this.ports.arrived(robot);
  }

  #ended(socket: RobotSocket): void {
    this.#open.delete(socket);
    const name = nameOf(socket.robot);
    const held = this.#current.get(name);
    if (held?.socket !== socket) return;
    this.#current.delete(name);
    this.ports.log.info({ ...socket.robot, socket: socket.key }, 'robot offline');
    const leaving: Promise<void> = this.ports
      .presence()
      .leave({ ...socket.robot, epoch: held.epoch })
      .finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  #held(): HeldRobot[] {
    return [...this.#current.values()].map(({ socket, epoch }) => ({ ...socket.robot, epoch }));
  }

  #tick(): void {
    const nowMs = awakeNowMs();
    for (const socket of this.#open) if (socket.deadlineMs <= nowMs) socket.tick();
    if (nowMs < this.#nextRenewMs || this.#isRenewing) return;
    this.#nextRenewMs = nowMs + RENEW_INTERVAL_MS;
    this.#isRenewing = true;
    this.#renew()
      .catch((error: unknown) => this.ports.log.warn({ err: error }, 'presence could not be renewed'))
      .finally(() => {
        this.#isRenewing = false;
      });
  }

  async #renew(): Promise<void> {
    for (const { tenant, robotId, epoch } of await this.ports.presence().renew(this.#held()))
      this.replacedBy({ tenant, robotId, epoch: epoch + 1n });
  }
}
