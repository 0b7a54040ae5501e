import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CredentialRef, CredentialWatch, NameOwner } from '@weir/access';
import { EndReason, ErrorCode, isWeirError } from '@weir/contracts';
import type { Ended, Ingested, MediaClient, MediaSession, Source, StreamName } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import { errOf, type Err, type Outcome, type RobotCommand } from '@weir/protocol-turing';
import { within } from '@weir/timing';
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
  /** This service's name. */
  readonly service: string;
  /** Sends a command to the robot, wherever its socket is. Never rejects. */
  readonly command: (robotId: string, command: RobotCommand, timeoutMs: number) => Promise<Commanded>;
  /** Whether a command would find the robot. Throws when that can't be told. */
  readonly isReachable: () => Promise<boolean>;
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly metrics: Pick<RobotMetrics, 'started' | 'ended'>;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly timeoutMs: number;
  readonly lingerMs: number;
}

/** Why a stream is over, as metrics and logs tell it. */
export type EndCause =
  | 'failed-to-start'
  | 'unwatched'
  | 'stopped'
  | 'camera-changed'
  | 'taken-over'
  | 'draining'
  | 'ended-by-media'
  | 'robot-refused'
  | 'credential-ended'
  | 'node-lost';

type Phase =
  | { readonly tag: 'starting' }
  | {
      readonly tag: 'live';
      readonly nodeId: string;
      readonly viewers: number;
      readonly unwatchedSinceMs: number | undefined;
    }
  | { readonly tag: 'ended' };

/** By this label of a stream every instance knows that a robot-channel made it. */
const MADE_BY = 'service';
/** By this word robots' names are reserved. */
const NAME_OWNER: NameOwner = 'robots';
const STOP_TIMEOUT_MS = 3_000;
/** How long a robot that pushes may take to end its push by itself before it is cut off. */
const STOP_GRACE_MS = 1_000;
/** A stream of an owner that has just died is let go by its node within some seconds. */
const NAME_RETRY_DELAYS_MS = [100, 300, 600, 1_000, 2_000];

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

/**
 * One camera's stream, from the first request for it to its end: one ingest in the media core and one command to the
 * robot, or one pull, however many ask. It ends when it is unwatched for too long, when nobody who asked wants it any
 * more, or when the media core ends it; then all that it had made is given back before `ended` resolves.
 */
export class CameraStream {
  /** Unique for ever; also the id of the media core's session. */
  readonly sessionId = randomUUID();
  /** What everybody who asked for the stream gets. Never rejects. */
  readonly started: Promise<Outcome<Started>>;
  readonly ended: Promise<void>;
  readonly name: StreamName;
  #phase: Phase = { tag: 'starting' };
  #session: MediaSession<Ingested> | undefined;
  #push: 'none' | 'asked' | 'acknowledged' = 'none';
  #pushUrl = '';
  #stopWatchingCredential: (() => void) | undefined;
  /** Why the start is of no use any more. */
  #cancelled: Err | undefined;
  readonly #media = signal<Outcome<undefined>>();
  readonly #ended = signal<void>();
  /** Who asked for the stream, and when last. */
  readonly #askers = new Map<string, number>();

  constructor(
    readonly key: CameraKey,
    private camera: CameraRecord,
    private readonly ports: CameraStreamPorts,
  ) {
    this.name = { tenant: key.tenant, streamName: streamNameOf(key.robotId, key.camera) };
    this.ended = this.#ended.promise;
    this.started = this.#run();
  }

  get phase(): Phase['tag'] {
    return this.#phase.tag;
  }

  /** Somebody wants it. */
  join(asker: string): Promise<Outcome<Started>> {
    const nowMs = this.ports.nowMs();
    this.#askers.set(asker, nowMs);
    if (this.#phase.tag === 'live' && this.#phase.viewers === 0)
      this.#phase = { ...this.#phase, unwatchedSinceMs: nowMs };
    return this.started;
  }

  /** Somebody doesn't want it any more. It ends now if nobody watches, nobody else has asked lately and it isn't pinned. */
  async leave(asker: string): Promise<boolean> {
    this.#askers.delete(asker);
    const sinceMs = this.ports.nowMs() - this.ports.lingerMs;
    const isWanted = [...this.#askers.values()].some((askedMs) => askedMs > sinceMs);
    const isWatched = this.#phase.tag === 'live' && this.#phase.viewers > 0;
    if (isWanted || isWatched || this.camera.pinned) return false;
    await this.end('stopped');
    return true;
  }

  /** An operator has changed the camera; undefined: removed it. */
  async cameraChanged(camera: CameraRecord | undefined): Promise<void> {
    const isSame = camera !== undefined && camera.rtspUrl === this.camera.rtspUrl;
    if (camera !== undefined) this.camera = camera;
    if (!isSame) await this.end('camera-changed');
  }

  /**
   * The robot has connected anew, perhaps after a restart. One that pushes still just says so, one that has forgotten
   * begins again while the media core waits for it, and one that can't ends the stream, so that nobody waits in vain.
   */
  async robotReturned(): Promise<void> {
    if (this.#phase.tag !== 'live' || this.#push === 'none') return;
    const outcome = await this.#commandStart(this.ports.timeoutMs);
    if (outcome.ok || outcome.err.dm === 'timeout' || outcome.err.dm === 'robot_offline') return;
    await this.end('robot-refused');
  }

  watched(viewers: number): void {
    if (this.#phase.tag !== 'live') return;
    const unwatchedSinceMs = viewers > 0 ? undefined : (this.#phase.unwatchedSinceMs ?? this.ports.nowMs());
    this.#phase = { ...this.#phase, viewers, unwatchedSinceMs };
  }

  /** Ends the stream when nobody has watched it for long enough. */
  async endIfUnwatched(): Promise<void> {
    if (this.#phase.tag !== 'live' || this.camera.pinned) return;
    const { unwatchedSinceMs } = this.#phase;
    if (unwatchedSinceMs === undefined || this.ports.nowMs() - unwatchedSinceMs < this.ports.lingerMs) return;
    await this.end('unwatched');
  }

  /** Asks how many watch, because events may be lost. Throws WeirError when the media core can't be asked. */
  async compare(): Promise<void> {
    if (this.#phase.tag !== 'live') return;
    const stream = await this.ports.media.find(this.name);
    if (stream?.publisherSessionId === this.sessionId) this.watched(stream.viewers);
  }

  /** Idempotent. Resolves when everything is given back. */
  end(cause: EndCause): Promise<void> {
    if (this.#phase.tag === 'ended') return this.ended;
    if (this.#phase.tag === 'starting' && cause !== 'failed-to-start') {
      // The start fails, and the failure ends the stream.
      this.#cancelled = errOf(cause === 'draining' ? 'unavailable' : 'stream-failed');
      this.#media.resolve({ ok: false, err: this.#cancelled });
      return this.ended;
    }
    this.#phase = { tag: 'ended' };
    this.#stopWatchingCredential?.();
    this.ports.metrics.ended(cause);
    this.ports.log.info({ ...this.#about, cause }, 'stream ended');
    void this.#release().finally(() => this.#ended.resolve());
    return this.ended;
  }

  get #about() {
    const { tenant, robotId, camera } = this.key;
    return { tenant, robotId, camera, sessionId: this.sessionId, nodeId: this.#session?.nodeId };
  }

  async #run(): Promise<Outcome<Started>> {
    const startedMs = this.ports.nowMs();
    const outcome = await this.#start().catch((error: unknown) => this.#failed(error));
    this.ports.metrics.started(outcome.ok ? undefined : outcome.err, this.ports.nowMs() - startedMs);
    if (!outcome.ok) {
      this.ports.log.info({ ...this.#about, dm: outcome.err.dm }, 'stream could not be started');
      void this.end('failed-to-start');
      return outcome;
    }
    this.ports.log.info(this.#about, 'stream started');
    return outcome;
  }

  #failed(error: unknown): { readonly ok: false; readonly err: Err } {
    const err = errOfFailure(error);
    if (!isWeirError(error))
      this.ports.log.error({ err: error, ...this.#about }, 'starting a stream failed unexpectedly');
    else if (err.ec >= 500) this.ports.log.warn({ err: error, ...this.#about }, 'starting a stream failed');
    return { ok: false, err };
  }

  async #start(): Promise<Outcome<Started>> {
    const { camera, key, ports } = this;
    const untilMs = ports.nowMs() + ports.timeoutMs;
    if (camera.rtspUrl === undefined && !(await ports.isReachable())) return { ok: false, err: errOf('robot-offline') };
    const source: Source =
      camera.rtspUrl === undefined
        ? { tag: 'push', expiresInMs: ports.timeoutMs }
        : { tag: 'pull', url: camera.rtspUrl };
    const { nodeId, pushUrl } = await this.#ingest(source, untilMs);
    if (this.#cancelled !== undefined) return { ok: false, err: this.#cancelled };
    const leftMs = Math.max(0, untilMs - ports.nowMs());
    const outcome = await (source.tag === 'push'
      ? this.#pushed(pushUrl, leftMs)
      : within(leftMs, this.#media.promise, () => refusedWith(errOf('no-media'))));
    if (!outcome.ok) return outcome;
    // It may have ended as soon as media flowed.
    if (this.#session?.isOpen !== true) return { ok: false, err: errOf('stream-failed') };
    this.#phase = { tag: 'live', nodeId, viewers: 0, unwatchedSinceMs: ports.nowMs() };
    return { ok: true, ret: { nodeId, streamName: streamNameOf(key.robotId, key.camera) } };
  }

  /** The name may still be held for an owner that has died: whoever holds the lease may send that away. */
  async #ingest(source: Source, untilMs: number): Promise<Ingested> {
    for (const delayMs of [...NAME_RETRY_DELAYS_MS, undefined]) {
      const leftMs = untilMs - this.ports.nowMs();
      try {
        return await this.#openSession(source, leftMs).opened;
      } catch (error) {
        const isTaken = isWeirError(error, ErrorCode.ALREADY_EXISTS);
        if (!isTaken || delayMs === undefined || leftMs <= delayMs) throw error;
        if (!(await this.#evictOwn())) throw error;
        await sleep(delayMs);
      }
    }
    throw new Error('unreachable');
  }

  #openSession(source: Source, deadlineMs: number): MediaSession<Ingested> {
    const { robotId, camera } = this.key;
    const session = this.ports.media.ingest(this.name, {
      ...{ sessionId: this.sessionId, source, deadlineMs },
      labels: { robotId, camera, [MADE_BY]: this.ports.service },
      claim: { owner: NAME_OWNER },
      onEvent: (event) => {
        if (event.case === 'connected') this.#media.resolve({ ok: true, ret: undefined });
      },
    });
    this.#session = session;
    void session.ended.then((ending) => {
      if (ending.tag === 'ended') this.#endedByMedia(ending);
    });
    return session;
  }

  #endedByMedia({ reason, detail }: Ended): void {
    if (this.#phase.tag === 'starting') this.#media.resolve({ ok: false, err: errOfEnd(reason, detail) });
    else void this.end(reason === EndReason.NODE_LOST ? 'node-lost' : 'ended-by-media');
  }

  /**
   * Ends the stream of this name if a robot-channel made it: its owner is gone, or it would not be in the way. Returns
   * whether there was one. Throws WeirError.
   */
  async #evictOwn(): Promise<boolean> {
    const { media, service } = this.ports;
    const stream = await media.find(this.name);
    if (stream === undefined || stream.labels[MADE_BY] !== service) return false;
    await media.endStream(stream, EndReason.OWNER_LOST);
    return true;
  }

  /**
   * What comes first decides: the picture, the robot's no, or the end of time. A robot that pushes and forgets to say so
   * is as good as one that says so.
   */
  async #pushed(pushUrl: string, timeoutMs: number): Promise<Outcome<undefined>> {
    this.#push = 'asked';
    this.#pushUrl = pushUrl;
    const refusal = this.#commandStart(timeoutMs).then((outcome): Promise<Outcome<undefined>> | Outcome<undefined> => {
      if (!outcome.ok) return outcome;
      this.#push = 'acknowledged';
      // A yes is worth the picture that follows it.
      return this.#media.promise;
    });
    const answer = Promise.race([this.#media.promise, refusal]);
    const outcome = await within(timeoutMs, answer, () => refusedWith(errOf('timeout')));
    const isPictureMissing = !outcome.ok && outcome.err.dm === 'timeout' && this.#isAcknowledged();
    return isPictureMissing ? { ok: false, err: errOf('no-media') } : outcome;
  }

  async #commandStart(timeoutMs: number): Promise<Outcome<unknown>> {
    const { robotId, camera } = this.key;
    const token = { base_uri: this.#baseUri, uri: this.#pushUrl };
    const arg = { robot_id: robotId, camera, token };
    const { outcome, credential } = await this.ports.command(robotId, { act: 'robot.start_stream', arg }, timeoutMs);
    if (credential !== undefined) this.#standOn(credential);
    return outcome;
  }

  /** What the robot pushes ends with the credential of the socket by which it was told to. */
  #standOn(credential: CredentialRef): void {
    this.#stopWatchingCredential?.();
    if (this.#phase.tag === 'ended') return;
    this.#stopWatchingCredential = this.ports.credentials.watch([credential], () => void this.end('credential-ended'));
  }

  /** A path of its own for every stream, so that no robot takes a new one for one that it pushes already. */
  get #baseUri(): string {
    const { tenant, robotId, camera } = this.key;
    return `/${tenant}/${robotId}/${camera}/${this.sessionId}`;
  }

  /** The robot stops first, so that it doesn't find its push refused. */
  async #release(): Promise<void> {
    const { robotId, camera } = this.key;
    if (this.#push !== 'none') {
      const stop: RobotCommand = {
        act: 'robot.stop_stream',
        arg: { robot_id: robotId, camera, token: { base_uri: this.#baseUri } },
      };
      const stopping = this.ports.command(robotId, stop, STOP_TIMEOUT_MS);
      if (this.#isAcknowledged() && this.#session?.isOpen === true)
        await within(STOP_GRACE_MS, stopping, () => undefined);
    }
    await this.#session?.close();
  }

  #isAcknowledged(): boolean {
    return this.#push === 'acknowledged';
  }
}

const refusedWith = (err: Err): Outcome<undefined> => ({ ok: false, err });
