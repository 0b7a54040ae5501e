import { randomUUID } from 'node:crypto';
import type { CredentialRef, CredentialWatch, NameOwner } from '@weir/access';
import { EndReason, ErrorCode, isWeirError } from '@weir/contracts';
import type { Ingested, MediaClient, MediaSession, Source, StreamName } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import type { Err, Outcome, RobotCommand } from '@weir/protocol-turing';
import {
  nextCameraStreamDeadlineMs,
  stageOf,
  startCameraStream,
  stepCameraStream,
  type CameraStreamEffect,
  type CameraStreamInput,
  type CameraStreamState,
  type EndCause,
} from './camera-stream-machine.js';
import type { Commanded } from './commands.js';
import { streamNameOf, type CameraRecord } from './fleet.js';
import { errOfEnd, errOfFailure } from './media-errs.js';
import type { RobotMetrics } from './metrics.js';

export interface CameraKey {
  readonly tenant: string;
  readonly robotId: string;
  readonly camera: string;
}

export interface Started {
  readonly nodeId: string;
  readonly streamName: string;
}

export interface CameraStreamPorts {
  readonly media: Pick<MediaClient, 'find' | 'ingest' | 'endStream'>;
  /** The name of this service. */
  readonly service: string;
  /** Sends a command to the robot, wherever its socket is. Never rejects. */
  readonly command: (robotId: string, command: RobotCommand, timeoutMs: number) => Promise<Commanded>;
  /** Whether a command would reach the robot. Throws when that can't be found out. */
  readonly isReachable: () => Promise<boolean>;
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly metrics: Pick<RobotMetrics, 'started' | 'ended'>;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly timeoutMs: number;
  readonly lingerMs: number;
}

/** This label of a stream tells every instance that a robot-channel made it. */
const MADE_BY = 'service';
/** The owner under which the names of robots' streams are reserved. */
const NAME_OWNER: NameOwner = 'robots';
const STOP_TIMEOUT_MS = 3_000;

interface Signal<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
}

const signal = <T>(): Signal<T> => {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((take) => {
    resolve = take;
  });
  return { promise, resolve };
};

type EffectOf<Tag extends CameraStreamEffect['tag']> = Extract<CameraStreamEffect, { tag: Tag }>;

/** Carries out the effects of a camera's stream (see `camera-stream-machine.ts`) and feeds their results back. */
export class CameraStream {
  /** Never used again; also the id of the media core's session. */
  readonly sessionId = randomUUID();
  readonly name: StreamName;
  readonly #started = signal<Outcome<Started>>();
  readonly #ended = signal<void>();
  readonly #startedAtMs: number;
  #state: CameraStreamState;
  #timer: NodeJS.Timeout | undefined;
  #session: MediaSession<Ingested> | undefined;
  #stopWatchingCredential: (() => void) | undefined;

  constructor(
    readonly key: CameraKey,
    camera: CameraRecord,
    private readonly ports: CameraStreamPorts,
  ) {
    const { timeoutMs, lingerMs } = ports;
    this.name = { tenant: key.tenant, streamName: streamNameOf(key.robotId, key.camera) };
    this.#startedAtMs = ports.nowMs();
    const { state, effects } = startCameraStream(camera, { timeoutMs, lingerMs }, this.#startedAtMs);
    this.#state = state;
    this.#perform(effects);
  }

  get phase(): 'starting' | 'live' | 'ended' {
    return stageOf(this.#state);
  }

  /** Resolves when everything is released. Never rejects. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Somebody wants the stream. Everybody who asks gets the same result. Never rejects. */
  join(asker: string): Promise<Outcome<Started>> {
    this.#take({ tag: 'joined', asker });
    return this.#started.promise;
  }

  /** Somebody doesn't want the stream any more. Returns whether it has ended and released everything. */
  async leave(asker: string): Promise<boolean> {
    this.#take({ tag: 'left', asker });
    if (this.phase !== 'ended') return false;
    await this.ended;
    return true;
  }

  /** An operator has changed the camera, or removed it (undefined). */
  cameraChanged(camera: CameraRecord | undefined): void {
    this.#take({ tag: 'camera-changed', camera });
  }

  robotReturned(): void {
    this.#take({ tag: 'robot-returned' });
  }

  watched(viewers: number): void {
    this.#take({ tag: 'watched', viewers });
  }

  /** Asks how many viewers there are, because events may be lost. Throws WeirError if the media core can't be asked. */
  async compare(): Promise<void> {
    if (this.phase !== 'live') return;
    const stream = await this.ports.media.find(this.name);
    if (stream?.publisherSessionId === this.sessionId) this.watched(stream.viewers);
  }

  /** Idempotent. Resolves when everything is released. */
  end(cause: Exclude<EndCause, 'failed-to-start'>): Promise<void> {
    this.#take({ tag: 'end', cause });
    return this.ended;
  }

  get #about() {
    const { tenant, robotId, camera } = this.key;
    return { tenant, robotId, camera, sessionId: this.sessionId, nodeId: this.#session?.nodeId };
  }

  #take(input: CameraStreamInput): void {
    const { state, effects } = stepCameraStream(this.#state, input, this.ports.nowMs());
    this.#state = state;
    this.#perform(effects);
  }

  #perform(effects: readonly CameraStreamEffect[]): void {
    for (const effect of effects) this.#do(effect);
    clearTimeout(this.#timer);
    const deadlineMs = nextCameraStreamDeadlineMs(this.#state);
    if (deadlineMs === Infinity) return;
    this.#timer = setTimeout(() => this.#take({ tag: 'tick' }), Math.max(0, deadlineMs - this.ports.nowMs()));
  }

  #do(effect: CameraStreamEffect): void {
    switch (effect.tag) {
      case 'check':
        return this.#ask(this.ports.isReachable().then((isReachable) => ({ tag: 'reachable', isReachable })));
      case 'open':
        return this.#open(effect);
      case 'evict':
        return this.#ask(this.#evictOwn().then((wasOurs) => ({ tag: 'evicted', wasOurs })));
      case 'command':
        return this.#ask(this.#commandStart(effect));
      case 'stop-robot':
        return this.#ask(this.#commandStop());
      case 'started':
        return this.#tellStarted(effect.err);
      case 'over':
        this.#stopWatchingCredential?.();
        this.ports.metrics.ended(effect.cause);
        this.ports.log.info({ ...this.#about, cause: effect.cause }, 'stream ended');
        return;
      case 'close':
        return this.#ask((this.#session?.close() ?? Promise.resolve()).then(() => ({ tag: 'closed' })));
      case 'gone':
        return this.#ended.resolve();
      default:
        return effect satisfies never;
    }
  }

  #ask(answer: Promise<CameraStreamInput>): void {
    answer
      .catch((error: unknown): CameraStreamInput => ({ tag: 'failed', err: this.#errOf(error) }))
      .then((input) => this.#take(input))
      .catch((error: unknown) => this.ports.log.error({ err: error, ...this.#about }, 'a stream could not go on'));
  }

  #errOf(error: unknown): Err {
    const err = errOfFailure(error);
    if (this.phase === 'ended') return err;
    if (!isWeirError(error))
      this.ports.log.error({ err: error, ...this.#about }, 'starting a stream failed unexpectedly');
    else if (err.ec >= 500) this.ports.log.warn({ err: error, ...this.#about }, 'starting a stream failed');
    return err;
  }

  #tellStarted(err: Err | undefined): void {
    const { metrics, log, nowMs } = this.ports;
    metrics.started(err, nowMs() - this.#startedAtMs);
    if (err !== undefined) {
      log.info({ ...this.#about, dm: err.dm }, 'stream could not be started');
      this.#started.resolve({ ok: false, err });
      return;
    }
    log.info(this.#about, 'stream started');
    const { streamName } = this.name;
    this.#started.resolve({ ok: true, ret: { nodeId: this.#session?.nodeId ?? '', streamName } });
  }

  #open({ rtspUrl, timeoutMs }: EffectOf<'open'>): void {
    const { robotId, camera } = this.key;
    const source: Source =
      rtspUrl === undefined ? { tag: 'push', expiresInMs: this.ports.timeoutMs } : { tag: 'pull', url: rtspUrl };
    const session = this.ports.media.ingest(this.name, {
      ...{ sessionId: this.sessionId, source, deadlineMs: timeoutMs },
      labels: { robotId, camera, [MADE_BY]: this.ports.service },
      claim: { owner: NAME_OWNER },
      onEvent: (event) => {
        if (event.case === 'connected') this.#take({ tag: 'connected' });
      },
    });
    this.#session = session;
    void session.ended.then((ending) => {
      if (ending.tag !== 'ended') return;
      const cause = ending.reason === EndReason.NODE_LOST ? 'node-lost' : 'ended-by-media';
      this.#take({ tag: 'media-ended', cause, err: errOfEnd(ending.reason, ending.detail) });
    });
    this.#ask(
      session.opened.then(
        ({ pushUrl }): CameraStreamInput => ({ tag: 'opened', pushUrl }),
        (error: unknown): CameraStreamInput => {
          if (!isWeirError(error, ErrorCode.ALREADY_EXISTS)) throw error;
          return { tag: 'name-taken', err: errOfFailure(error) };
        },
      ),
    );
  }

  /**
   * Ends the stream of this name if a robot-channel made it. Its owner must be dead: this instance has the camera's
   * lease, and the stream is not its own. Returns whether there was one. Throws WeirError.
   */
  async #evictOwn(): Promise<boolean> {
    const { media, service } = this.ports;
    const stream = await media.find(this.name);
    if (stream === undefined || stream.labels[MADE_BY] !== service) return false;
    await media.endStream(stream, EndReason.OWNER_LOST);
    return true;
  }

  async #commandStart({ to, pushUrl, timeoutMs }: EffectOf<'command'>): Promise<CameraStreamInput> {
    const { robotId, camera } = this.key;
    const arg = { robot_id: robotId, camera, token: { base_uri: this.#baseUri, uri: pushUrl } };
    const { outcome, credential } = await this.ports.command(robotId, { act: 'robot.start_stream', arg }, timeoutMs);
    if (credential !== undefined) this.#standOn(credential);
    return { tag: 'robot-answered', to, outcome };
  }

  async #commandStop(): Promise<CameraStreamInput> {
    const { robotId, camera } = this.key;
    const arg = { robot_id: robotId, camera, token: { base_uri: this.#baseUri } };
    await this.ports.command(robotId, { act: 'robot.stop_stream', arg }, STOP_TIMEOUT_MS);
    return { tag: 'robot-stopped' };
  }

  /** The robot's push ends together with the credential of the socket that carried the command. */
  #standOn(credential: CredentialRef): void {
    this.#stopWatchingCredential?.();
    if (this.phase === 'ended') return;
    this.#stopWatchingCredential = this.ports.credentials.watch([credential], () => void this.end('credential-ended'));
  }

  /** Every stream has a path of its own, so that no robot confuses a new stream with one that it already pushes. */
  get #baseUri(): string {
    const { tenant, robotId, camera } = this.key;
    return `/${tenant}/${robotId}/${camera}/${this.sessionId}`;
  }
}
