import { randomUUID } from 'node:crypto';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import { credentialRefOf, type CredentialWatch, type Principal, type RefusalLog } from '@weir/access';
import { awakeNowMs, type Logger } from '@weir/platform';
import type { ClientSocket, SocketListener } from '@weir/platform/sockets';
import {
  CLOSE,
  newApp,
  nextAppDeadlineMs,
  stepApp,
  type AppEffect,
  type AppInput,
  type AppRequest,
  type AppSettings,
  type AppState,
  type CloseCode,
  type RequestRef,
} from '@weir/protocol-turing';
import type { Acts } from './acts.js';
import type { RobotMetrics } from './metrics.js';
import type { RobotKey } from './presence.js';
import { maySee } from './rights.js';

export interface AppSocketPorts {
  readonly acts: Pick<Acts, 'perform'>;
  readonly settings: AppSettings;
  readonly metrics: Pick<RobotMetrics, 'replied' | 'refused'>;
  readonly log: Logger;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly maxBufferedBytes: number;
  readonly ended: (socket: AppSocket) => void;
}

const tracer = trace.getTracer('@weir/robot-channel');

/** One app's socket: feeds the protocol's machine and carries out its effects. */
export class AppSocket implements SocketListener {
  readonly key = randomUUID();
  deadlineMs: number;
  #state: AppState;
  /** The frame that is being handled now. */
  #frame: string | undefined;

  constructor(
    private readonly socket: ClientSocket,
    private readonly principal: Principal,
    private readonly ports: AppSocketPorts,
  ) {
    this.#state = newApp(ports.settings, this.key, awakeNowMs());
    this.deadlineMs = nextAppDeadlineMs(this.#state);
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
    this.ports.refusals.say('a client broke the WebSocket protocol', { app: this.key, ...this.#who, reason });
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
    this.#take({ tag: 'credential-ended' });
  }

  /** Does nothing unless the app may know of the robot. */
  robotChanged({ tenant, robotId }: RobotKey, online: boolean): void {
    if (!maySee(this.principal, tenant, robotId)) return;
    const arg = { robot_id: robotId, status: online ? 'online' : 'robot_offline' } as const;
    this.#take({ tag: 'event', event: { act: 'robot.state', arg } });
  }

  #take(input: AppInput): void {
    const wasOpen = this.#state.tag === 'open';
    const { state, effects } = stepApp(this.#state, input, awakeNowMs());
    this.#state = state;
    this.deadlineMs = nextAppDeadlineMs(state);
    for (const effect of effects) this.#perform(effect);
    if (wasOpen && this.#state.tag === 'closed') this.ports.ended(this);
    else if (this.#state.tag === 'open' && this.socket.bufferedBytes > this.ports.maxBufferedBytes)
      this.terminate(CLOSE.slowReader, 'The app reads too slowly');
  }

  #perform(effect: AppEffect): void {
    switch (effect.tag) {
      case 'send':
        this.socket.send(effect.text);
        return;
      case 'ping':
        this.socket.ping();
        return;
      case 'close':
        this.ports.metrics.refused('socket', String(effect.code));
        this.ports.refusals.say(
          "an app's socket is closed",
          { app: this.key, ...this.#who, code: effect.code, reason: effect.reason },
          this.#frame,
        );
        this.socket.close(effect.code, effect.reason);
        return;
      case 'ask':
        this.#ask(effect.ref, effect.request);
        return;
      case 'replied':
        this.ports.metrics.replied(effect.act, effect.err, effect.elapsedMs);
        return;
      default:
        effect satisfies never;
    }
  }

  get #who(): object {
    const { tenant, subject } = this.principal;
    return { tenant, subject };
  }

  #ask(ref: RequestRef, request: AppRequest): void {
    tracer.startActiveSpan(`robot-channel ${request.act}`, { root: true }, (span) => {
      this.ports.acts
        .perform(this.principal, this.key, request)
        .then((outcome) => {
          if (!outcome.ok) {
            span.setStatus({ code: SpanStatusCode.ERROR, message: outcome.err.dm });
            const { ec: code, dm: reason } = outcome.err;
            this.ports.refusals.say('an app was refused', { app: this.key, ...this.#who, code, reason }, request);
          }
          this.#take({ tag: 'answered', ref, outcome });
        })
        .catch((error: unknown) => this.ports.log.error({ err: error, app: this.key }, 'an app could not be answered'))
        .finally(() => span.end());
    });
  }
}

export interface AppSocketsPorts {
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly socket: Omit<AppSocketPorts, 'ended'>;
}

const TICK_INTERVAL_MS = 200;

/** The apps' sockets of this instance. */
export class AppSockets {
  readonly #open = new Set<AppSocket>();
  readonly #ticker: NodeJS.Timeout;

  constructor(private readonly ports: AppSocketsPorts) {
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
  }

  get count(): number {
    return this.#open.size;
  }

  open(socket: ClientSocket, principal: Principal): AppSocket {
    const stopWatching = this.ports.credentials.watch([credentialRefOf(principal)], () => opened.credentialEnded());
    const opened: AppSocket = new AppSocket(socket, principal, {
      ...this.ports.socket,
      ended: () => {
        this.#open.delete(opened);
        stopWatching();
      },
    });
    this.#open.add(opened);
    return opened;
  }

  robotChanged(robot: RobotKey, online: boolean): void {
    for (const socket of this.#open) socket.robotChanged(robot, online);
  }

  drain(): void {
    for (const socket of [...this.#open]) socket.terminate(CLOSE.goingAway, 'The server is going down');
  }

  close(): void {
    clearInterval(this.#ticker);
  }

  #tick(): void {
    const nowMs = awakeNowMs();
    for (const socket of this.#open) if (socket.deadlineMs <= nowMs) socket.tick();
  }
}
