import { context as contexts, SpanStatusCode, trace } from '@opentelemetry/api';
import { credentialNameOf, sentText, type CredentialRef, type CredentialWatch, type RefusalLog } from '@weir/access';
import type { Logger } from '@weir/platform';
import {
  CLIENT_MESSAGES,
  CLOSE,
  encode,
  newSession,
  nextDeadlineMs,
  refusal,
  step,
  wireSessionId,
  type Address,
  type AuthorisedMessage,
  type CloseCode,
  type ConnectionMessage,
  type Effect,
  type Input,
  type MessageOfClass,
  type StreamId,
  type QueryId,
  type ServerMessage,
  type SessionSettings,
  type SessionState,
  type Stream,
} from '@weir/protocol-wcs';
import type { Admission, Admitted, PublisherClaim } from './admission.js';
import type { MediaEffects, SessionOwner } from './media-effects.js';
import type { WcsMetrics } from './metrics.js';
import { without } from './rest-client-config.js';
import type { StreamRecordings } from './stream-recordings.js';

/** What a session needs of the client's socket. */
export interface ClientSocket {
  send(text: string): void;
  close(code: CloseCode, reason: string): void;
  /** The bytes that were sent, but that the system hasn't taken yet. */
  readonly bufferedBytes: number;
}

export interface SessionPorts {
  readonly admission: Pick<Admission, 'connect' | 'decide' | 'tell'>;
  readonly media: Pick<MediaEffects, 'find' | 'publish' | 'play' | 'closeSession' | 'signal' | 'snapshot'>;
  readonly recordings: Pick<StreamRecordings, 'record'>;
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly metrics: Pick<WcsMetrics, 'joined' | 'frame' | 'refused'>;
  readonly log: Logger;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly settings: SessionSettings;
  readonly maxBufferedBytes: number;
  /** Takes over work that goes on without the session. A stopping service waits for it. */
  readonly background: (work: Promise<void>) => void;
}

export interface Visit {
  /** Unique among all sessions, also of other instances and times. */
  readonly key: string;
  /** Grows with every session of this instance. */
  readonly number: number;
  readonly remote: Address;
  readonly local: Address;
  readonly origin: string | undefined;
}

/** The most events that wait for one session's backend. A slower backend misses some. */
const MAX_UNTOLD = 64;

const isOffer = (message: AuthorisedMessage): message is MessageOfClass<'offer'> =>
  CLIENT_MESSAGES[message.message].class === 'offer';

const tracer = trace.getTracer('@weir/wcs-signalling');

/** The client's message whose effects ask another service, the backend or the media core; undefined if none does. */
const questionOf = (effects: readonly Effect[]): string | undefined => {
  for (const effect of effects)
    switch (effect.tag) {
      case 'authorise-connection':
        return 'connection';
      case 'authorise':
        return effect.message.message;
      case 'stopping':
        return effect.method;
      case 'signal':
        return 'sendStreamEvent';
      case 'send':
      case 'close':
      case 'find':
      case 'publish':
      case 'play':
      case 'close-session':
      case 'record':
      case 'snapshot':
      case 'established':
      case 'status-changed':
      case 'recording-told':
      case 'joined':
      case 'refusal':
        break;
      default:
        effect satisfies never;
    }
  return undefined;
};

/**
 * One client's session. It passes inputs to the protocol's state machine, performs the machine's effects, and passes
 * the results back as inputs. Everything happens in the order of the inputs.
 */
export class Session {
  readonly key: string;
  readonly number: number;
  readonly wireId: string;
  readonly createdMs = Date.now();
  readonly #origin: string | undefined;
  #socket: ClientSocket | undefined;
  #state: SessionState;
  #admitted: Admitted | undefined;
  #clientVersion = '';
  /** The credentials and the application with which the session ends, each with the function that stops watching it. */
  readonly #standsOn = new Map<string, () => void>();
  /** The functions that stop watching the streams' own credentials. */
  readonly #streamCredentials = new Map<StreamId, () => void>();
  /** The claims of publishers, until the request goes to the media core. */
  readonly #claims = new Map<StreamId, PublisherClaim>();
  /** The client's requests for its streams, by `mediaSessionId`. */
  readonly #asked = new Map<string, string>();
  /** The frame that is being read. `#detail` is the media core's reason for the refusal that is being logged. */
  #frame: string | undefined;
  #detail: string | undefined;
  readonly #remote: Address;
  #untold = 0;
  #telling: Promise<void> = Promise.resolve();
  /** The time at which `take({ tag: 'tick' })` must be called. */
  deadlineMs = Infinity;

  constructor(
    private readonly ports: SessionPorts,
    socket: ClientSocket,
    visit: Visit,
  ) {
    this.key = visit.key;
    this.number = visit.number;
    this.wireId = wireSessionId(visit);
    this.#origin = visit.origin;
    this.#remote = visit.remote;
    this.#socket = socket;
    this.#state = newSession(ports.settings, visit.key);
    this.take({ tag: 'opened', remote: visit.remote, local: visit.local });
  }

  get closed(): boolean {
    return this.#state.tag === 'closed';
  }

  get tenant(): string | undefined {
    return this.#state.tag === 'established' ? this.#admitted?.tenant : undefined;
  }

  get appKey(): string {
    return this.#admitted?.appKey ?? '';
  }

  get clientVersion(): string {
    return this.#clientVersion;
  }

  get streams(): readonly Stream[] {
    return this.#state.tag === 'established' ? [...this.#state.streams.values()] : [];
  }

  frame(text: string): void {
    this.ports.metrics.frame('in');
    const startMs = Date.now();
    this.#frame = text;
    try {
      this.#read(text, startMs);
    } finally {
      this.#frame = undefined;
    }
  }

  #read(text: string, startMs: number): void {
    const effects = this.#step({ tag: 'frame', text });
    const question = questionOf(effects);
    if (question === undefined) {
      this.#detach(this.#performAll(effects));
      return;
    }
    const span = tracer.startSpan(`wcs ${question}`, {
      startTime: startMs,
      attributes: { 'wcs.session': this.key },
    });
    contexts.with(trace.setSpan(contexts.active(), span), () => {
      Promise.all(this.#performAll(effects))
        .catch((error: unknown) => {
          span.setStatus({ code: SpanStatusCode.ERROR });
          this.ports.log.error({ err: error, session: this.key }, 'a client frame could not be worked on');
        })
        .finally(() => span.end());
    });
  }

  take(input: Input): void {
    this.#detach(this.#performAll(this.#step(input)));
  }

  #detach(work: readonly Promise<void>[]): void {
    if (work.length === 0) return;
    Promise.all(work).catch((error: unknown) =>
      this.ports.log.error({ err: error, session: this.key }, 'a session could not be worked on'),
    );
  }

  #step(input: Input): readonly Effect[] {
    const wasEstablished = this.#state.tag === 'established';
    const { state, effects } = step(this.#state, input, Date.now());
    this.#state = state;
    this.deadlineMs = nextDeadlineMs(state);
    if (state.tag === 'closed') this.#stopWatching();
    if (wasEstablished && state.tag === 'closed') this.#tell('ConnectionStatusEvent', { status: 'DISCONNECTED' });
    return effects;
  }

  /** The promises resolve after the answers and everything that follows from them. */
  #performAll(effects: readonly Effect[]): Promise<void>[] {
    const work = effects.flatMap((effect) => this.#perform(effect) ?? []);
    if (this.#state.tag === 'closed') this.#socket = undefined;
    else this.endSlowReader();
    return work;
  }

  /** Must also be called after the socket layer has sent something itself, such as a pong. */
  endSlowReader(): void {
    if ((this.#socket?.bufferedBytes ?? 0) > this.ports.maxBufferedBytes)
      this.take({ tag: 'terminate', code: CLOSE.slowReader, info: 'The client reads too slowly' });
  }

  #perform(effect: Effect): Promise<void> | undefined {
    const { media, metrics } = this.ports;
    switch (effect.tag) {
      case 'send':
        this.#send(effect.message);
        return undefined;
      case 'close':
        this.#socket?.close(effect.code, effect.reason);
        return undefined;
      case 'authorise-connection':
        return this.#ask(this.#connect(effect.connection), () => ({
          tag: 'connection-decided',
          decision: { allowed: false, code: CLOSE.unavailable, info: 'Access could not be decided' },
        }));
      case 'authorise':
        this.#remember(effect.message);
        return this.#ask(this.#decide(effect.ref, effect.message), () => ({
          tag: 'decided',
          ref: effect.ref,
          decision: { allowed: false, by: 'access', cause: refusal('internal') },
        }));
      case 'find':
        return this.#askMedia(effect.ref, media.find(effect, this.#owner));
      case 'publish':
        return this.#askMedia(effect.streamId, media.publish(effect, this.#owner, this.#claimOf(effect.streamId)));
      case 'play':
        return this.#askMedia(effect.streamId, media.play(effect, this.#owner));
      case 'record':
        return this.#ask(this.ports.recordings.record(effect, this.#owner), () => ({
          ...{ tag: 'recording-refused', streamId: effect.streamId },
        }));
      case 'snapshot':
        return this.#askMedia(effect.queryId, media.snapshot(effect, this.#owner));
      case 'close-session': {
        const closing = media.closeSession(effect);
        this.ports.background(closing);
        return closing;
      }
      case 'signal':
        return media.signal(effect, this.#owner);
      case 'established':
        this.#tell('ConnectionStatusEvent', { status: 'ESTABLISHED' });
        return undefined;
      case 'stopping': {
        const { mediaSessionId, name, direction } = effect.stream;
        this.#tell(effect.method, { mediaSessionId, name, published: direction === 'publish' });
        return undefined;
      }
      case 'status-changed':
        this.#tell('StreamStatusEvent', { ...effect.status });
        if (effect.status.status === 'UNPUBLISHED' || effect.status.status === 'STOPPED')
          this.#asked.delete(effect.status.mediaSessionId ?? '');
        return undefined;
      case 'recording-told': {
        const { mediaSessionId, name } = effect.stream;
        const { active, fileName, startedMs } = effect.recording;
        this.#tell('RecordingStatusEvent', {
          ...{ mediaSessionId, name, status: active ? 'STARTED' : 'STOPPED' },
          ...{ recordName: fileName, recordTimestamp: startedMs ?? null },
        });
        return undefined;
      }
      case 'joined':
        metrics.joined(effect.direction, effect.elapsedMs);
        return undefined;
      case 'refusal':
        metrics.refused(effect.what, effect.reason);
        this.#sayRefusal(effect);
        return undefined;
      default:
        return effect satisfies never;
    }
  }

  /** Waits for an answer, takes it as input, and waits for everything that follows from it. */
  async #ask(question: Promise<Input>, otherwise: () => Input): Promise<void> {
    let answer: Input;
    try {
      answer = await question;
    } catch (error) {
      this.ports.log.error({ err: error, session: this.key }, 'a question of a session failed unexpectedly');
      answer = otherwise();
    }
    this.#detail = answer.tag === 'refused' ? answer.detail : undefined;
    const work = this.#performAll(this.#step(answer));
    this.#detail = undefined;
    await Promise.all(work);
  }

  #remember(message: AuthorisedMessage): void {
    if (isOffer(message) && this.#frame !== undefined) this.#asked.set(message.mediaSessionId, sentText(this.#frame));
  }

  #sayRefusal({ what, reason, stream }: Extract<Effect, { tag: 'refusal' }>): void {
    const asked = stream && this.#asked.get(stream.mediaSessionId);
    if (stream !== undefined) this.#asked.delete(stream.mediaSessionId);
    this.ports.refusals.say(
      'client refused or failed',
      {
        ...{ session: this.key, address: this.#remote.address, what, reason, detail: this.#detail },
        ...(this.#admitted && { tenant: this.#admitted.tenant, appKey: this.#admitted.appKey }),
        ...(stream && { streamName: stream.name, direction: stream.direction, mediaSessionId: stream.mediaSessionId }),
        ...(asked !== undefined && { sent: asked }),
      },
      asked === undefined ? this.#frame : undefined,
    );
  }

  #askMedia(ref: StreamId | QueryId, question: Promise<Input>): Promise<void> {
    return this.#ask(question, () => ({ tag: 'refused', ref, code: 'internal' }));
  }

  async #connect(connection: ConnectionMessage): Promise<Input> {
    const visitor = { sessionId: this.wireId, origin: this.#origin };
    const admission = await this.ports.admission.connect(connection, visitor);
    if (!admission.allowed) return { tag: 'connection-decided', decision: admission };
    this.#admitted = admission.admitted;
    for (const ref of admission.standsOn) this.#standOn(ref);
    this.#clientVersion = connection.clientVersion;
    return { tag: 'connection-decided', decision: { allowed: true } };
  }

  async #decide(ref: StreamId | QueryId, message: AuthorisedMessage): Promise<Input> {
    if (this.#admitted === undefined) throw new Error('a session that was not admitted asks for streams');
    const { decision, credential, claim } = await this.ports.admission.decide(this.#admitted, message);
    if (isOffer(message) && credential !== undefined) this.#standStreamOn(ref as StreamId, credential);
    if (message.message === 'publishStream' && decision.allowed) this.#claims.set(ref as StreamId, claim);
    return { tag: 'decided', ref, decision };
  }

  #standOn(ref: CredentialRef): void {
    if (this.closed) return;
    const end: Input =
      ref.kind === 'application'
        ? { tag: 'terminate', code: CLOSE.unknownApplication, info: 'No such application' }
        : { tag: 'terminate', code: CLOSE.unauthenticated, info: 'Restricted access' };
    this.#standsOn.set(
      credentialNameOf(ref),
      this.ports.credentials.watch([ref], () => this.take(end)),
    );
  }

  #standStreamOn(streamId: StreamId, ref: CredentialRef): void {
    const living = new Set(this.streams.map((stream) => stream.streamId));
    for (const [other, stop] of this.#streamCredentials) {
      if (living.has(other)) continue;
      stop();
      this.#streamCredentials.delete(other);
    }
    if (this.closed || this.#standsOn.has(credentialNameOf(ref))) return;
    const end: Input = { tag: 'terminate-stream', streamId, cause: refusal('unauthenticated') };
    this.#streamCredentials.set(
      streamId,
      this.ports.credentials.watch([ref], () => this.take(end)),
    );
  }

  #stopWatching(): void {
    for (const stop of [...this.#standsOn.values(), ...this.#streamCredentials.values()]) stop();
    this.#standsOn.clear();
    this.#streamCredentials.clear();
    this.#claims.clear();
  }

  #claimOf(streamId: StreamId): PublisherClaim | undefined {
    const claim = this.#claims.get(streamId);
    this.#claims.delete(streamId);
    return claim;
  }

  get #owner(): SessionOwner {
    return {
      tenant: this.#admitted?.tenant ?? '',
      labels: { appKey: this.appKey, sessionId: this.wireId },
      take: (input) => this.take(input),
    };
  }

  #send(message: ServerMessage): void {
    this.ports.metrics.frame('out');
    this.#socket?.send(this.#forClient(message));
  }

  #forClient(message: ServerMessage): string {
    const excluded = this.#admitted?.hook?.rules.StreamStatusEvent?.clientExclude ?? [];
    if (excluded.length === 0 || message.message !== 'notifyStreamStatusEvent') return encode(message);
    const { mediaSessionId, status } = message.data[0];
    return JSON.stringify({
      ...message,
      data: [{ ...without({ ...message.data[0] }, excluded), mediaSessionId, status }],
    });
  }

  /** Tells the backend of events in order, one at a time. A backend that is too slow misses some. */
  #tell(method: Parameters<Admission['tell']>[1], fields: Readonly<Record<string, unknown>>): void {
    const admitted = this.#admitted;
    if (admitted?.hook === undefined) return;
    if (this.#untold >= MAX_UNTOLD) {
      this.ports.log.warn({ session: this.key, method }, 'an event for a REST hook was dropped');
      return;
    }
    this.#untold += 1;
    this.#telling = this.#telling
      .then(() => this.ports.admission.tell(admitted, method, fields))
      .catch((error: unknown) => this.ports.log.error({ err: error, method }, 'telling a REST hook failed'))
      .finally(() => {
        this.#untold -= 1;
      });
    this.ports.background(this.#telling);
  }
}
