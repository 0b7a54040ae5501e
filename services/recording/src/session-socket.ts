import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordingHolder, RefusalLog } from '@weir/access';
import { EndReason, ErrorCode, isWeirError } from '@weir/contracts';
import type { MediaClient, MediaSession, Played, Published, WebRtcOffer } from '@weir/media-client';
import { awakeNowMs, type Logger } from '@weir/platform';
import { asWeirError } from '@weir/platform/database';
import type { ClientSocket } from '@weir/platform/sockets';
import {
  newSession,
  nextDeadlineMs,
  step,
  type Destination,
  type Effect,
  type Generation,
  type Input,
  type Refusal,
  type SessionState,
  type SocketSettings,
  type StartMessage,
  type TerminationCause,
} from '@weir/protocol-eyeson';
import { backOffMs, within } from '@weir/timing';
import { furtherStreamNames, streamNameOf } from './session-names.js';
import type { Session, SessionStore } from './session-store.js';

/** What a session asks to be recorded. */
export interface SessionRecording extends Destination {
  readonly tenant: string;
  readonly streamName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The recording's id, if the client already knows one. */
  readonly id: string | undefined;
}

/** Records the streams of sessions. */
export interface SessionRecorder {
  /** Checks the destination too. Resolves when the recording runs. */
  record(recording: SessionRecording): Promise<{ readonly id: string } | { readonly refusal: Refusal }>;
  /** Ends the recording; its file and its delivery follow. */
  stop(id: string, reason: string): Promise<void>;
  /** Calls `ended` once for each recording of this process, when nothing more is recorded. */
  onEnded(ended: (id: string, reason: string) => void): () => void;
}

/** Who holds a socket. */
export type SocketHolder = Extract<RecordingHolder, { tag: 'client' | 'supervisor' }>;

export interface SessionSocketPorts {
  readonly store: Pick<SessionStore, 'startable' | 'started' | 'end' | 'monitored'>;
  readonly media: Pick<MediaClient, 'publish' | 'play' | 'find' | 'renegotiate' | 'answer'>;
  readonly recorder: SessionRecorder;
  /** Undefined if the platform may call the URL. */
  readonly refusalOfWebhook: (url: string) => Promise<Refusal | undefined>;
  /** Makes way for a session. Resolves with undefined, or with why there can be no second one. */
  readonly makeWay: (holder: SocketHolder, socket: SessionSocket) => Promise<Refusal | undefined>;
  readonly settings: SocketSettings;
  /** Whether supervisors may talk to their client. */
  readonly isTalkBackOn: boolean;
  readonly maxBufferedBytes: number;
  readonly log: Logger;
  readonly refusals: Pick<RefusalLog, 'say'>;
  /** Takes over work that goes on without the socket. A stopping service waits for it. */
  readonly background: (work: Promise<void>) => void;
  readonly ended: (socket: SessionSocket) => void;
}

/** WebM takes these without transcoding. */
const VIDEO_CODECS = ['VP8', 'VP9', 'AV1', 'H264'] as const;
const STORE_PACE = { firstMs: 200, maxMs: 5_000 } as const;
const CLIENT_ASKED = 'stopped';

const offerOf = (sdp: string): WebRtcOffer => ({ sdp, tcpOnly: false, minBps: 0, maxBps: 0 });

/** A supervisor's stream ends when its client stops. */
const causeOf = (reason: EndReason): TerminationCause => {
  switch (reason) {
    case EndReason.CLIENT:
    case EndReason.STREAM_ENDED:
      return 'CLIENT_STOP';
    case EndReason.DISCONNECTED:
    case EndReason.ICE_TIMEOUT:
    case EndReason.ICE_LOST:
    case EndReason.NO_MEDIA:
    case EndReason.SOURCE_TIMEOUT:
      return 'CONN_TIMEOUT';
    case EndReason.REPLACED:
      return 'SESSION_REPLACED';
    case EndReason.NODE_SHUTDOWN:
      return 'SERVER_SHUTDOWN';
    case EndReason.UNSPECIFIED:
    case EndReason.OWNER_LOST:
    case EndReason.TERMINATED:
    case EndReason.DTLS_FAILED:
    case EndReason.NODE_LOST:
    case EndReason.SOURCE_FAILED:
      return 'CONN_ERROR';
    default:
      return reason satisfies never;
  }
};

export const refusalOf = (thrown: unknown): Refusal => {
  const error = asWeirError(thrown);
  if (!isWeirError(error)) return { code: 'INTERNAL', message: 'The server failed unexpectedly' };
  switch (error.code) {
    case ErrorCode.INTERNAL:
    case ErrorCode.UNSPECIFIED:
      return { code: 'INTERNAL', message: 'The server failed unexpectedly' };
    default:
      return { code: ErrorCode[error.code], message: error.message };
  }
};

const NO_SESSION: Refusal = { code: 'NOT_FOUND', message: 'You have no such session that waits for its start' };
const NOT_LIVE: Refusal = { code: 'NOT_FOUND', message: 'The client to monitor has no such live session' };

/** One socket and its session: feeds the protocol's machine and carries out its effects. */
export class SessionSocket {
  /** The time at which `tick` must be called. */
  deadlineMs: number;
  #state: SessionState;
  #frame: string | undefined;
  #publishing: MediaSession<Published> | undefined;
  #playing: MediaSession<Played> | undefined;
  #recordingId: string | undefined;
  #heard: (() => void) | undefined;
  /** Resolves when the end is in the database. */
  #stored: Promise<void> = Promise.resolve();

  constructor(
    private readonly socket: ClientSocket,
    readonly holder: SocketHolder,
    private readonly generation: Generation,
    private readonly ports: SessionSocketPorts,
  ) {
    const { tag: role, clientId } = holder;
    this.#state = newSession(ports.settings, { generation, role, clientId }, awakeNowMs());
    this.deadlineMs = nextDeadlineMs(this.#state);
  }

  /** Resolves when the end of the session is stored, or at once while there is none. Never rejects. */
  get stored(): Promise<void> {
    return this.#stored;
  }

  get isLive(): boolean {
    return this.#state.tag === 'live' || this.#state.tag === 'starting';
  }

  frame(text: string): void {
    this.#heard?.();
    this.#frame = text;
    this.take({ tag: 'frame', text });
    this.#frame = undefined;
  }

  heard(): void {
    this.#heard?.();
    this.take({ tag: 'heard' });
  }

  /** Whether the client answers a ping within the time. */
  async answers(withinMs: number): Promise<boolean> {
    const pong = new Promise<boolean>((resolve) => {
      this.#heard = () => resolve(true);
    });
    this.socket.ping();
    const answered = await within(withinMs, pong, () => false);
    this.#heard = undefined;
    return answered;
  }

  take(input: Input): void {
    if (this.#state.tag === 'closed') return;
    const { state, effects } = step(this.#state, input, awakeNowMs());
    this.#state = state;
    this.deadlineMs = nextDeadlineMs(state);
    for (const effect of effects) this.#perform(effect);
    if (state.tag === 'closed') this.ports.ended(this);
    else if (this.socket.bufferedBytes > this.ports.maxBufferedBytes)
      this.take({ tag: 'terminate', cause: 'CONN_ERROR', code: 4430 });
  }

  recordingEnded(recordingId: string, reason: string): void {
    if (recordingId !== this.#recordingId) return;
    this.#recordingId = undefined;
    const isAsked = reason === '' || reason === CLIENT_ASKED;
    this.take({ tag: 'recording-ended', recordingId, ...(!isAsked && { reason }) });
  }

  #perform(effect: Effect): void {
    switch (effect.tag) {
      case 'send':
        return this.socket.send(effect.text);
      case 'ping':
        return this.socket.ping();
      case 'close':
        return this.socket.close(effect.code, effect.reason);
      case 'start':
        return this.#ask(this.#start(effect.message), (refusal) => ({ tag: 'refused', refusal }));
      case 'renegotiate':
        return this.#ask(this.#renegotiate(effect.offerSdp), (refusal) => ({ tag: 'refused', refusal }));
      case 'answer':
        return this.#answer(effect.answerSdp);
      case 'start-recording':
        return this.#ask(this.#record(effect.destination), (refusal) => ({ tag: 'recording-refused', refusal }));
      case 'stop-recording':
        return this.#stopRecording(effect.recordingId, CLIENT_ASKED);
      case 'end':
        return this.#end(effect.sessionId, effect.cause);
      case 'refusal': {
        const { tenant, clientId } = this.holder;
        const { code, message: reason } = effect.refusal;
        return this.ports.refusals.say('a message was refused', { tenant, clientId, code, reason }, this.#frame);
      }
      default:
        return effect satisfies never;
    }
  }

  /** Waits for an answer and takes it as input. */
  #ask(question: Promise<Input>, refused: (refusal: Refusal) => Input): void {
    const { tenant, clientId } = this.holder;
    this.ports.background(
      question
        .catch((error: unknown) => {
          const refusal = refusalOf(error);
          if (refusal.code === 'INTERNAL' || refusal.code === 'UNAVAILABLE' || refusal.code === 'DEADLINE')
            this.ports.log.warn({ err: error, tenant, clientId }, 'a session could not get what it asked for');
          return refused(refusal);
        })
        .then((answer) => this.take(answer)),
    );
  }

  async #start(message: StartMessage): Promise<Input> {
    const { store, makeWay, refusalOfWebhook } = this.ports;
    const kind =
      this.holder.tag === 'supervisor' ? 'SUPERVISOR' : this.generation === 'first' ? 'FIRST_GENERATION' : 'CLIENT';
    const session = await store.startable(message.sessionId, this.holder, kind);
    if (session === undefined) return { tag: 'refused', refusal: NO_SESSION };
    const webhookUrl = message.tag === 'start-recording-session' ? undefined : message.webhookUrl;
    const refusal =
      (webhookUrl === undefined ? undefined : await refusalOfWebhook(webhookUrl)) ?? (await makeWay(this.holder, this));
    if (refusal !== undefined) return { tag: 'refused', refusal };
    const started = message.tag === 'join' ? await this.#play(session, message) : await this.#publish(session, message);
    if (started.tag !== 'started') return started;
    if (this.#state.tag === 'closed' || !(await store.started(session.id, webhookUrl))) {
      this.#closeMedia(EndReason.CLIENT);
      return { tag: 'refused', refusal: NO_SESSION };
    }
    // The session ended while its start was being stored, so there was nothing to end yet.
    if (this.#hasEnded) {
      this.#closeMedia(EndReason.CLIENT);
      await this.#storeEnd(session.id, 'CONN_TIMEOUT');
    }
    return started;
  }

  get #hasEnded(): boolean {
    return this.#state.tag === 'closed';
  }

  async #publish(session: Session, { offerSdp }: StartMessage): Promise<Input> {
    const streamName = streamNameOf(session.id);
    const publishing = this.ports.media.publish(
      { tenant: session.tenant, streamName },
      {
        furtherNames: furtherStreamNames(streamName),
        sessionId: randomUUID(),
        offer: offerOf(offerSdp),
        labels: { sessionId: session.id, clientId: session.clientId, apiId: session.apiId },
        protocol: 'eyeson',
        videoCodecs: VIDEO_CODECS,
        takesTalkBack: this.ports.isTalkBackOn,
        claim: { owner: 'recordings', publishPatterns: [], claimer: '' },
      },
    );
    this.#publishing = publishing;
    const { answerSdp } = await this.#opened(publishing);
    return { tag: 'started', answerSdp, candidates: [] };
  }

  async #play(session: Session, message: Extract<StartMessage, { tag: 'join' }>): Promise<Input> {
    const { store, media } = this.ports;
    if (this.holder.tag !== 'supervisor' || session.monitoredId !== message.monitoredSessionId)
      return { tag: 'refused', refusal: NOT_LIVE };
    const monitored = await store.monitored(this.holder, session);
    if (monitored === undefined) return { tag: 'refused', refusal: NOT_LIVE };
    const { tenant } = monitored;
    const streamName = streamNameOf(monitored.id);
    const furtherNames = furtherStreamNames(streamName);
    const streams = await Promise.all(
      [streamName, ...furtherNames].map((name) => media.find({ tenant, streamName: name })),
    );
    const nodeId = streams.find((stream) => stream !== undefined)?.nodeId;
    if (nodeId === undefined) return { tag: 'refused', refusal: NOT_LIVE };
    const playing = media.play(
      { tenant, streamName, nodeId },
      {
        sessionId: randomUUID(),
        offer: offerOf(message.offerSdp),
        labels: { sessionId: session.id, clientId: session.clientId, apiId: session.apiId },
        furtherNames,
        talksBack: this.ports.isTalkBackOn,
        onEvent: (event) => {
          if (event.case === 'offer') this.take({ tag: 'offer', offerSdp: event.value.sdp });
          else if (event.case === 'notCarried') this.take({ tag: 'not-carried', reason: event.value.reason });
        },
      },
    );
    this.#playing = playing;
    const { answerSdp } = await this.#opened(playing);
    return { tag: 'started', answerSdp, candidates: [] };
  }

  /** From now on the session ends with its media. */
  async #opened<Opened>(session: MediaSession<Opened>): Promise<Opened> {
    void session.ended.then((ending) => {
      if (ending.tag === 'ended') this.take({ tag: 'terminate', cause: causeOf(ending.reason) });
    });
    return session.opened;
  }

  async #renegotiate(offerSdp: string): Promise<Input> {
    if (this.#publishing === undefined)
      return { tag: 'refused', refusal: { code: 'INVALID', message: 'A supervisor offers only once' } };
    const { answerSdp } = await this.ports.media.renegotiate(this.#publishing, offerSdp);
    return { tag: 'renegotiated', answerSdp };
  }

  /** If the answer can't be used, the streams go on as they are. */
  #answer(answerSdp: string): void {
    const { media, background, log } = this.ports;
    const playing = this.#playing;
    if (playing === undefined) return;
    const { tenant, clientId } = this.holder;
    background(
      media
        .answer(playing, answerSdp)
        .catch((error: unknown) => log.warn({ err: error, tenant, clientId }, 'an answer could not be used')),
    );
  }

  async #record(destination: Destination): Promise<Input> {
    const { sessionId = '' } = this.#state.tag === 'closed' || this.#state.tag === 'waiting' ? {} : this.#state;
    const { tenant, apiId, clientId } = this.holder;
    const refusal =
      destination.webhookUrl === undefined ? undefined : await this.ports.refusalOfWebhook(destination.webhookUrl);
    if (refusal !== undefined) return { tag: 'recording-refused', refusal };
    const recorded = await this.ports.recorder.record({
      ...destination,
      ...{ tenant, streamName: streamNameOf(sessionId) },
      labels: { protocol: 'eyeson', sessionId, clientId, apiId },
      id: this.generation === 'first' ? sessionId : undefined,
    });
    if ('refusal' in recorded) return { tag: 'recording-refused', refusal: recorded.refusal };
    this.#recordingId = recorded.id;
    // The session ended meanwhile, before it knew of the recording.
    if (this.#hasEnded) this.#stopRecording(recorded.id, 'the session has ended');
    return { tag: 'recording-started', recordingId: recorded.id };
  }

  #stopRecording(recordingId: string, reason: string): void {
    this.ports.background(
      this.ports.recorder
        .stop(recordingId, reason)
        .catch((error: unknown) =>
          this.ports.log.error({ err: error, recordingId }, 'a recording could not be stopped'),
        ),
    );
  }

  #end(sessionId: string, cause: TerminationCause): void {
    if (this.#recordingId !== undefined)
      this.#stopRecording(this.#recordingId, cause === 'CLIENT_STOP' ? CLIENT_ASKED : `the session ended: ${cause}`);
    this.#closeMedia(cause === 'CLIENT_STOP' ? EndReason.CLIENT : EndReason.DISCONNECTED);
    this.#stored = this.#storeEnd(sessionId, cause);
    this.ports.background(this.#stored);
  }

  #closeMedia(reason: EndReason): void {
    for (const session of [this.#publishing, this.#playing])
      if (session !== undefined) this.ports.background(session.close(reason));
  }

  /** Tries until the database has it. After a crash, an instance that finds the session without its owner stores it. */
  async #storeEnd(sessionId: string, cause: TerminationCause): Promise<void> {
    for (let failures = 0; ; failures++) {
      try {
        return await this.ports.store.end(sessionId, cause);
      } catch (error) {
        if (failures === 0) this.ports.log.warn({ err: error, sessionId }, 'the end of a session can’t be stored yet');
        await sleep(backOffMs(STORE_PACE, failures, Math.random()), undefined, { ref: false });
      }
    }
  }
}
