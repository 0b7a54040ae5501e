import { Bus } from '@weir/bus';
import {
  ErrorCode,
  InstanceEvents,
  InstanceProbe,
  Media,
  MediaEvents,
  WeirError,
  type EndReason,
  type PlayRequest,
  type PublishRequest,
} from '@weir/contracts';

interface NodeSession {
  readonly ownerId: string;
  readonly tenant: string;
  readonly streamName: string;
  readonly publishes: boolean;
}

/** A media node that fulfils the part of its contract that sessions use, without media. */
export class SessionMedia {
  readonly sessions = new Map<string, NodeSession>();
  readonly published: PublishRequest[] = [];
  readonly played: PlayRequest[] = [];
  readonly answers: string[] = [];
  refusal: WeirError | undefined;
  readonly #alive: NodeJS.Timeout;

  private constructor(private readonly bus: Bus) {
    this.#serve();
    this.#sayAlive();
    this.#alive = setInterval(() => this.#sayAlive(), 200);
  }

  static async start(natsUrl: string): Promise<SessionMedia> {
    return new SessionMedia(await Bus.connect({ url: natsUrl, service: 'media', instanceId: 'media-1' }));
  }

  /** Ends the sessions of the stream's publisher, or of its players. */
  end(streamName: string, publishes: boolean, reason: EndReason): void {
    for (const [sessionId, session] of this.sessions)
      if (session.streamName === streamName && session.publishes === publishes) {
        this.sessions.delete(sessionId);
        const change = { case: 'ended', value: { reason, detail: '' } } as const;
        this.bus.publish(MediaEvents.method.sessionChanged, { ownerId: session.ownerId, sessionId, change });
      }
  }

  /** Offers the stream's players other media. */
  offer(streamName: string, sdp: string): void {
    for (const [sessionId, { ownerId, ...session }] of this.sessions)
      if (session.streamName === streamName && !session.publishes)
        this.bus.publish(MediaEvents.method.sessionChanged, {
          ...{ ownerId, sessionId, change: { case: 'offer', value: { sdp } } },
        });
  }

  get streams(): string[] {
    return [...this.sessions.values()].flatMap(({ publishes, streamName }) => (publishes ? [streamName] : []));
  }

  async stop(): Promise<void> {
    clearInterval(this.#alive);
    await this.bus.drain({ graceMs: 0 });
  }

  #sayAlive(): void {
    const { service, instanceId } = this.bus;
    this.bus.publish(InstanceEvents.method.alive, { service, instanceId, startedAtMs: 1n });
  }

  #serve(): void {
    const { bus } = this;
    const nodeId = bus.instanceId;
    bus.serve(InstanceProbe.method.answer, () => ({}));
    bus.serve(Media.method.publish, (request) => {
      if (this.refusal !== undefined) throw this.refusal;
      const { sessionId, ownerId, tenant, streamName, offerSdp } = request;
      this.sessions.set(sessionId, { ownerId, tenant, streamName, publishes: true });
      this.published.push(request);
      return { nodeId, answerSdp: `answer to ${offerSdp}`, codecs: { audio: 'opus', video: 'VP8' } };
    });
    bus.serve(Media.method.renegotiate, ({ sessionId, offerSdp }) => {
      if (!this.sessions.has(sessionId)) throw new WeirError(ErrorCode.NOT_FOUND, 'no such session');
      return { answerSdp: `answer to ${offerSdp}` };
    });
    bus.serve(Media.method.play, (request) => {
      const { sessionId, ownerId, tenant, streamName, offerSdp } = request;
      this.played.push(request);
      this.sessions.set(sessionId, { ownerId, tenant, streamName, publishes: false });
      return { answerSdp: `answer to ${offerSdp}`, codecs: { audio: 'opus', video: 'VP8' } };
    });
    bus.serve(Media.method.answerOffer, ({ answerSdp }) => {
      this.answers.push(answerSdp);
      return {};
    });
    bus.serve(Media.method.findStreams, ({ tenant }) => ({
      streams: [...this.sessions].flatMap(([publisherSessionId, session]) =>
        session.publishes && session.tenant === tenant
          ? [{ tenant, streamName: session.streamName, nodeId, publisherSessionId }]
          : [],
      ),
    }));
    bus.serve(Media.method.getSessionStats, ({ sessionIds }) => ({
      stats: sessionIds.filter((id) => this.sessions.has(id)).map((sessionId) => ({ sessionId })),
    }));
    bus.serve(Media.method.closeSession, ({ sessionId }) => {
      this.sessions.delete(sessionId);
      return {};
    });
  }
}
