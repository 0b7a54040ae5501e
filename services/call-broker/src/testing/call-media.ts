import { Bus } from '@weir/bus';
import {
  ErrorCode,
  InstanceEvents,
  InstanceProbe,
  Media,
  MediaEvents,
  WeirError,
  type EndReason,
  type PublishReply,
  type PublishRequest,
  type SessionChanged,
} from '@weir/contracts';

type NodeSession = Pick<PublishRequest, 'streamName' | 'heardStreamName' | 'sessionId' | 'ownerId'>;

/** A media node that fulfils the part of its contract that calls use, without media. */
export class CallMedia {
  /** By the stream's name. */
  readonly sessions = new Map<string, NodeSession>();
  /** Answers every offer with it, while it is there. */
  refusal: WeirError | undefined;
  readonly #alive: NodeJS.Timeout;

  private constructor(private readonly bus: Bus) {
    const { method } = Media;
    bus.serve(InstanceProbe.method.answer, () => ({}));
    bus.serve(method.publish, (request) => this.#publish(request));
    bus.serve(method.publishOnNode, (request) => this.#publish(request));
    bus.serve(method.adoptSession, ({ sessionId, ownerId }) => {
      const [streamName, session] = this.#find(sessionId);
      this.sessions.set(streamName, { ...session, ownerId });
      return { connected: true };
    });
    bus.serve(method.renegotiate, ({ offerSdp }) => ({ answerSdp: `answer to ${offerSdp}` }));
    bus.serve(method.closeSession, ({ sessionId }) => {
      for (const [name, session] of this.sessions) if (session.sessionId === sessionId) this.sessions.delete(name);
      return {};
    });
    bus.serve(method.getSessionStats, ({ sessionIds }) => ({
      stats: sessionIds
        .filter((id) => [...this.sessions.values()].some(({ sessionId }) => sessionId === id))
        .map((sessionId) => ({ sessionId })),
    }));
    this.#sayAlive();
    this.#alive = setInterval(() => this.#sayAlive(), 200);
  }

  static async start(natsUrl: string): Promise<CallMedia> {
    return new CallMedia(await Bus.connect({ url: natsUrl, service: 'media', instanceId: 'media-1' }));
  }

  /** The media of every session are connected. */
  connect(): void {
    for (const session of this.sessions.values()) this.#tell(session, { case: 'connected', value: {} });
  }

  /** The client that publishes this stream doesn't get a part of what it hears. */
  notCarried(streamName: string, reason: string): void {
    const session = this.sessions.get(streamName);
    if (session === undefined) throw new Error('no such stream');
    this.#tell(session, { case: 'notCarried', value: { reason } });
  }

  end(streamName: string, reason: EndReason): void {
    const session = this.sessions.get(streamName);
    if (session === undefined) throw new Error('no such stream');
    this.sessions.delete(streamName);
    this.#tell(session, { case: 'ended', value: { reason, detail: '' } });
  }

  async stop(): Promise<void> {
    clearInterval(this.#alive);
    await this.bus.drain({ graceMs: 0 });
  }

  #publish(request: PublishRequest): Pick<PublishReply, 'nodeId' | 'answerSdp'> & { codecs: object } {
    if (this.refusal !== undefined) throw this.refusal;
    this.sessions.set(request.streamName, request);
    return { nodeId: 'media-1', answerSdp: `answer to ${request.offerSdp}`, codecs: { audio: 'opus', video: 'VP8' } };
  }

  #find(sessionId: string): [string, NodeSession] {
    const found = [...this.sessions].find(([, session]) => session.sessionId === sessionId);
    if (found === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such session');
    return found;
  }

  #tell({ ownerId, sessionId }: NodeSession, change: object): void {
    this.bus.publish(MediaEvents.method.sessionChanged, {
      ...{ ownerId, sessionId, change: change as SessionChanged['change'] },
    });
  }

  #sayAlive(): void {
    this.bus.publish(InstanceEvents.method.alive, { service: 'media', instanceId: 'media-1', startedAtMs: 1n });
  }
}
