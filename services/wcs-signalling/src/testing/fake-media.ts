import type { MessageInitShape } from '@bufbuild/protobuf';
import { Bus } from '@weir/bus';
import {
  EndReason,
  ErrorCode,
  Media,
  MediaEvents,
  WeirError,
  type PlayRequest,
  type PublishRequest,
  type SessionChangedSchema,
  type StreamSignal,
} from '@weir/contracts';
import { SignsOfLife } from '@weir/platform';

interface FakeStream {
  readonly request: PublishRequest;
  ready: boolean;
  audioMuted: boolean;
  videoMuted: boolean;
}

type Change = NonNullable<MessageInitShape<typeof SessionChangedSchema>['change']>;

export const PNG = Buffer.from('89504e470d0a1a0a00', 'hex');

/** A media node that keeps the contract, without media. Its streams can be found, played, signalled to and closed. */
export class FakeMedia {
  readonly published = new Map<string, FakeStream>();
  readonly played = new Map<string, PlayRequest>();
  readonly closed: { sessionId: string; reason: EndReason }[] = [];
  readonly signals: StreamSignal[] = [];
  /** Whether each session connects as soon as it is answered. */
  autoConnect = true;
  publishDelayMs = 0;
  /** The media that the answer to each player names as not carried. */
  notCarriedToPlayers: string[] = [];
  /** Whether a stream ends when a player asks for it. */
  endsWhenPlayed = false;
  closeFailures = 0;
  readonly #signsOfLife: SignsOfLife;

  private constructor(readonly bus: Bus) {
    const { method } = Media;
    bus.serve(method.publish, (request) => this.#publish(request));
    bus.serve(method.play, (request) => this.#play(request));
    bus.serve(method.findStreams, ({ tenant, streamName }) => ({
      streams: [...this.published.values()]
        .filter(({ request }) => request.tenant === tenant && (streamName === '' || request.streamName === streamName))
        .map((stream) => this.#info(stream)),
    }));
    bus.serve(method.closeSession, ({ sessionId, reason }) => {
      if (this.closeFailures > 0) {
        this.closeFailures -= 1;
        throw new WeirError(ErrorCode.UNAVAILABLE, 'not now');
      }
      this.closed.push({ sessionId, reason });
      this.#end(sessionId);
      return {};
    });
    bus.serve(method.signal, ({ tenant, streamName, signal }) => {
      if (signal === undefined) return {};
      this.signals.push(signal);
      const stream = this.#find(tenant, streamName);
      if (signal.kind.case === 'audioMuted' && stream) stream.audioMuted = signal.kind.value;
      for (const player of this.played.values())
        if (player.tenant === tenant && player.streamName === streamName)
          this.tell(player.sessionId, { case: 'signal', value: signal });
      return {};
    });
    bus.serve(method.snapshot, ({ streamName }) => {
      if (streamName === 'dark') throw new WeirError(ErrorCode.UNAVAILABLE, 'no frame');
      return { png: PNG };
    });
    bus.serve(method.getSessionStats, ({ sessionIds }) => ({
      stats: sessionIds
        .filter((id) => this.published.has(id) || this.played.has(id))
        .map((sessionId) => ({ sessionId, videoBps: 500_000n, videoFps: 30, width: 640, height: 360 })),
    }));
    this.#signsOfLife = new SignsOfLife(bus, 500);
    this.#signsOfLife.begin();
  }

  static async start(natsUrl: string, nodeId = 'media-fake'): Promise<FakeMedia> {
    return new FakeMedia(await Bus.connect({ url: natsUrl, service: 'media', instanceId: nodeId }));
  }

  /** Says that it is gone. */
  leave(): void {
    this.#signsOfLife.end();
  }

  /** Sends no more signs of life, like a killed process. */
  fallSilent(): void {
    this.#signsOfLife.fallSilent();
  }

  tell(sessionId: string, change: Change): void {
    const ownerId = this.published.get(sessionId)?.request.ownerId ?? this.played.get(sessionId)?.ownerId;
    if (ownerId === undefined) throw new Error(`no session ${sessionId}`);
    this.bus.publish(MediaEvents.method.sessionChanged, { ownerId, sessionId, change });
  }

  /** The media session of the only stream of this name. */
  sessionOf(streamName: string, among: 'published' | 'played' = 'published'): string {
    const sessions =
      among === 'published' ? [...this.published.values()].map(({ request }) => request) : [...this.played.values()];
    const found = sessions.find((session) => session.streamName === streamName);
    if (found === undefined) throw new Error(`nobody has ${among} ${streamName}`);
    return found.sessionId;
  }

  async stop(): Promise<void> {
    this.#signsOfLife.fallSilent();
    await this.bus.drain({ graceMs: 200 });
  }

  async #publish(request: PublishRequest) {
    if (this.publishDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.publishDelayMs));
    if (request.offerSdp === 'v=0 vp9 only') throw new WeirError(ErrorCode.NO_COMMON_CODECS, 'no codec');
    if (this.#find(request.tenant, request.streamName)) throw new WeirError(ErrorCode.ALREADY_EXISTS, 'taken');
    this.published.set(request.sessionId, { request, ready: false, audioMuted: false, videoMuted: false });
    this.#connectSoon(request.sessionId);
    return { nodeId: this.bus.instanceId, answerSdp: 'v=0 answer', codecs: { audio: 'opus', video: 'H264' } };
  }

  #play(request: PlayRequest) {
    const stream = this.#find(request.tenant, request.streamName);
    if (stream === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream');
    if (this.endsWhenPlayed)
      throw new WeirError(ErrorCode.NOT_FOUND, 'the stream has ended', { reason: 'stream_ended' });
    this.played.set(request.sessionId, request);
    this.#connectSoon(request.sessionId);
    return {
      answerSdp: 'v=0 answer',
      codecs: { audio: 'opus', video: 'H264' },
      stream: this.#info(stream),
      notCarried: this.notCarriedToPlayers,
    };
  }

  #connectSoon(sessionId: string): void {
    if (!this.autoConnect) return;
    setTimeout(() => this.connect(sessionId), 10);
  }

  connect(sessionId: string): void {
    const stream = this.published.get(sessionId);
    if (stream) stream.ready = true;
    if (stream || this.played.has(sessionId)) this.tell(sessionId, { case: 'connected', value: {} });
  }

  #end(sessionId: string): void {
    const stream = this.published.get(sessionId);
    if (stream) {
      const { tenant, streamName } = stream.request;
      for (const player of [...this.played.values()])
        if (player.tenant === tenant && player.streamName === streamName) {
          this.tell(player.sessionId, { case: 'ended', value: { reason: EndReason.STREAM_ENDED } });
          this.played.delete(player.sessionId);
        }
    }
    this.published.delete(sessionId);
    this.played.delete(sessionId);
  }

  #find(tenant: string, streamName: string): FakeStream | undefined {
    return [...this.published.values()].find(
      ({ request }) => request.tenant === tenant && request.streamName === streamName,
    );
  }

  #info({ request, ready, audioMuted, videoMuted }: FakeStream) {
    const { tenant, streamName, sessionId, protocol, labels } = request;
    return {
      tenant,
      streamName,
      nodeId: this.bus.instanceId,
      publisherSessionId: sessionId,
      protocol,
      labels,
      ready,
      audioMuted,
      videoMuted,
      width: 640,
      height: 360,
      codecs: { audio: 'opus', video: 'H264' },
      startedAtMs: BigInt(Date.now()),
    };
  }
}
