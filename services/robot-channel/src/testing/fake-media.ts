import type { MessageInitShape } from '@bufbuild/protobuf';
import { Bus } from '@weir/bus';
import {
  EndReason,
  ErrorCode,
  Media,
  MediaEvents,
  MediaRtp,
  WeirError,
  type IngestRequest,
  type SessionChangedSchema,
  type StreamChangedSchema,
} from '@weir/contracts';
import { SignsOfLife } from '@weir/platform';

export interface FakeStream {
  readonly request: IngestRequest;
  viewers: number;
  pushUrl: string;
}

type Change = NonNullable<MessageInitShape<typeof SessionChangedSchema>['change']>;
type StreamChange = NonNullable<MessageInitShape<typeof StreamChangedSchema>['change']>;

/** A stand-in for a media node, as its contract describes it, without media: a test says when a robot pushes. */
export class FakeMedia {
  readonly streams = new Map<string, FakeStream>();
  readonly ingests: IngestRequest[] = [];
  readonly closed: { sessionId: string; reason: EndReason }[] = [];
  /** Whether pulled streams connect at once. */
  pullsConnect = true;
  ingestError: WeirError | undefined;
  /** Whether to publish no event when viewers change. */
  mute = false;
  #signed = 0;
  readonly #signsOfLife: SignsOfLife;

  private constructor(readonly bus: Bus) {
    bus.serve(MediaRtp.method.ingest, (request) => this.#ingest(request));
    bus.serve(MediaRtp.method.signRtspUrl, ({ tenant, streamName, expiresInMs }) => {
      this.#signed += 1;
      const url = `rtsp://127.0.0.1:8554/${tenant}/${streamName}?expires=${expiresInMs}&signature=${this.#signed}`;
      return { url };
    });
    bus.serve(Media.method.findStreams, ({ tenant, streamName }) => ({
      streams: [...this.streams.values()]
        .filter(({ request }) => request.tenant === tenant && (streamName === '' || request.streamName === streamName))
        .map((stream) => this.#info(stream)),
    }));
    bus.serve(Media.method.getSessionStats, ({ sessionIds }) => ({
      stats: sessionIds.filter((id) => this.streams.has(id)).map((sessionId) => ({ sessionId })),
    }));
    bus.serve(Media.method.closeSession, ({ sessionId, reason }) => {
      this.closed.push({ sessionId, reason });
      this.streams.delete(sessionId);
      return {};
    });
    this.#signsOfLife = new SignsOfLife(bus, 500);
    this.#signsOfLife.begin();
  }

  static async start(natsUrl: string, nodeId = 'media-fake'): Promise<FakeMedia> {
    return new FakeMedia(await Bus.connect({ url: natsUrl, service: 'media', instanceId: nodeId }));
  }

  /** The only stream of this name. */
  named(streamName: string): FakeStream {
    const found = [...this.streams.values()].find(({ request }) => request.streamName === streamName);
    if (found === undefined) throw new Error(`there is no stream ${streamName}`);
    return found;
  }

  has(streamName: string): boolean {
    return [...this.streams.values()].some(({ request }) => request.streamName === streamName);
  }

  /** Somebody pushes to the URL. Returns whether the push was accepted. */
  push(url: string): boolean {
    const stream = [...this.streams.values()].find(({ pushUrl }) => pushUrl === url);
    if (stream === undefined) return false;
    this.tell(stream.request, { case: 'connected', value: {} });
    return true;
  }

  watch(streamName: string, viewers: number): void {
    const stream = this.named(streamName);
    stream.viewers = viewers;
    if (!this.mute) this.#tellStream(stream, { case: 'viewers', value: {} });
  }

  end(streamName: string, reason: EndReason, detail = ''): void {
    const { request } = this.named(streamName);
    this.streams.delete(request.sessionId);
    this.tell(request, { case: 'ended', value: { reason, detail } });
  }

  tell({ ownerId, sessionId }: IngestRequest, change: Change): void {
    this.bus.publish(MediaEvents.method.sessionChanged, { ownerId, sessionId, change });
  }

  /** The node goes, and is there again a moment later, without its streams. */
  restart(): void {
    this.#signsOfLife.end();
    this.#signsOfLife.begin();
  }

  reset(): void {
    this.streams.clear();
    this.ingests.length = 0;
    this.closed.length = 0;
    this.pullsConnect = true;
    this.ingestError = undefined;
    this.mute = false;
  }

  async stop(): Promise<void> {
    this.#signsOfLife.fallSilent();
    await this.bus.drain({ graceMs: 200 });
  }

  #ingest(request: IngestRequest) {
    this.ingests.push(request);
    if (this.ingestError !== undefined) throw this.ingestError;
    const { tenant, streamName, sessionId } = request;
    if (this.has(streamName)) throw new WeirError(ErrorCode.ALREADY_EXISTS, 'taken');
    const pushUrl =
      request.source.case === 'rtspPush'
        ? `rtsp://127.0.0.1:8554/${tenant}/${streamName}?verb=publish&signature=${sessionId}`
        : '';
    this.streams.set(sessionId, { request, viewers: 0, pushUrl });
    if (request.source.case === 'rtspPull' && this.pullsConnect)
      setTimeout(() => this.tell(request, { case: 'connected', value: {} }), 10);
    return { nodeId: this.bus.instanceId, pushUrl };
  }

  #tellStream(stream: FakeStream, change: StreamChange): void {
    this.bus.publish(MediaEvents.method.streamChanged, { stream: this.#info(stream), change });
  }

  #info({ request, viewers }: FakeStream) {
    const { tenant, streamName, sessionId, labels } = request;
    return {
      tenant,
      streamName,
      nodeId: this.bus.instanceId,
      publisherSessionId: sessionId,
      labels,
      viewers,
      ready: true,
    };
  }
}
