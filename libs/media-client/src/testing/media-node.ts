import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Bus } from '@weir/bus';
import {
  ErrorCode,
  InstanceProbe,
  Media,
  MediaEvents,
  MediaKind,
  MediaRtp,
  WeirError,
  type EndReason,
  type SessionChangedSchema,
} from '@weir/contracts';
import { SignsOfLife } from '@weir/platform';

type Change = NonNullable<MessageInitShape<typeof SessionChangedSchema>['change']>;

interface NodeSession {
  readonly ownerId: string;
  readonly streamName: string;
  /** For a tap: the ports to which its RTP goes. */
  readonly to: readonly number[];
}

const TRACK = { track: { kind: MediaKind.VIDEO, codec: 'H264', clockRate: 90_000 }, payloadType: 96, ssrc: 7 };

/** A media node that fulfils its contract, without media. */
export class MediaNode {
  readonly sessions = new Map<string, NodeSession>();
  readonly closed: { sessionId: string; reason: EndReason }[] = [];
  closeCalls = 0;
  keyFrameRequests = 0;
  /** The names that the last player asked for. */
  furtherNames: readonly string[] = [];
  readonly answers: string[] = [];
  /** The next calls of CloseSession throw these errors, one per call. */
  readonly closeErrors: WeirError[] = [];
  /** Every call that opens a session throws this error. */
  refusal: WeirError | undefined;
  /** Every call that opens a session awaits this before it answers. */
  beforeAnswer: (sessionId: string) => Promise<void> | void = () => undefined;
  /** The packets that arrived at the feed. */
  readonly fed: Buffer[] = [];
  readonly #feed: Socket;
  readonly #signsOfLife: SignsOfLife;

  private constructor(
    readonly bus: Bus,
    feed: Socket,
  ) {
    this.#feed = feed;
    feed.on('message', (packet, { port }) => {
      this.fed.push(packet);
      feed.send(Buffer.from('rtcp'), port, '127.0.0.1');
    });
    this.#serve();
    this.#signsOfLife = new SignsOfLife(bus, 200);
    this.#signsOfLife.begin();
  }

  static async start(natsUrl: string, nodeId: string): Promise<MediaNode> {
    const feed = createSocket('udp4');
    feed.bind(0, '127.0.0.1');
    await once(feed, 'listening');
    const node = new MediaNode(await Bus.connect({ url: natsUrl, service: 'media', instanceId: nodeId }), feed);
    // Calls reach it from now on.
    await node.bus.flush();
    return node;
  }

  get nodeId(): string {
    return this.bus.instanceId;
  }

  /** The id of the only session. */
  get sessionId(): string {
    const [id, ...others] = this.sessions.keys();
    if (id === undefined || others.length > 0) throw new Error(`there are ${this.sessions.size} sessions`);
    return id;
  }

  tell(sessionId: string, change: Change): void {
    const session = this.sessions.get(sessionId);
    if (session === undefined) throw new Error(`there is no session ${sessionId}`);
    this.bus.publish(MediaEvents.method.sessionChanged, { ownerId: session.ownerId, sessionId, change });
  }

  end(sessionId: string, reason: EndReason, detail = ''): void {
    this.tell(sessionId, { case: 'ended', value: { reason, detail } });
    this.sessions.delete(sessionId);
  }

  /** Sends packets to the ports of a tap. */
  send(sessionId: string, ...packets: string[]): void {
    for (const packet of packets)
      for (const port of this.sessions.get(sessionId)?.to ?? []) this.#feed.send(packet, port, '127.0.0.1');
  }

  /** Says that it is gone. */
  leave(): void {
    this.#signsOfLife.end();
  }

  /** Stops like a killed process: it sends nothing more. */
  async die(): Promise<void> {
    this.#signsOfLife.fallSilent();
    await this.bus.drain({ graceMs: 0 });
  }

  async stop(): Promise<void> {
    await this.die();
    this.#feed.close();
  }

  #serve(): void {
    const { bus, nodeId } = this;
    bus.serve(InstanceProbe.method.answer, () => ({}));
    bus.serve(Media.method.publish, async (request) => {
      await this.#open(request);
      const codecs = { audio: 'opus', video: 'H264' };
      const { streamName } = request;
      return { nodeId, answerSdp: `answer to ${request.offerSdp}`, codecs, streams: [{ streamName, codecs }] };
    });
    bus.serve(Media.method.renegotiate, ({ sessionId, offerSdp }) => {
      const session = this.sessions.get(sessionId);
      if (session === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such session');
      const codecs = { audio: '', video: 'VP8' };
      return { answerSdp: `answer to ${offerSdp}`, streams: [{ streamName: session.streamName, codecs }] };
    });
    bus.serve(Media.method.play, async (request) => {
      await this.#open(request);
      this.furtherNames = request.furtherStreamNames;
      return { answerSdp: `answer to ${request.offerSdp}`, codecs: { audio: 'opus' } };
    });
    bus.serve(Media.method.answerOffer, ({ answerSdp }) => {
      this.answers.push(answerSdp);
      return {};
    });
    bus.serve(MediaRtp.method.ingest, async (request) => {
      await this.#open(request);
      const address = { ip: '127.0.0.1', port: this.#feed.address().port };
      const tracks = request.source.case === 'rtpFeed' ? request.source.value.tracks.length : 0;
      return { nodeId, pushUrl: 'rtsp://node/', rtpAddresses: Array.from({ length: tracks }, () => address) };
    });
    bus.serve(MediaRtp.method.tap, async (request) => {
      const to = [request.audio, request.video].flatMap((address) => address?.port ?? []);
      await this.#open(request, to);
      return { tracks: [TRACK], stream: { streamName: request.streamName, nodeId } };
    });
    bus.serve(MediaRtp.method.requestKeyFrame, () => {
      this.keyFrameRequests += 1;
      return {};
    });
    bus.serve(Media.method.findStreams, ({ tenant }) => ({
      streams: [...this.sessions].map(([publisherSessionId, { streamName }]) => ({
        ...{ tenant, streamName, nodeId, publisherSessionId },
      })),
    }));
    bus.serve(Media.method.getSessionStats, ({ sessionIds }) => ({
      stats: sessionIds.filter((id) => this.sessions.has(id)).map((sessionId) => ({ sessionId })),
    }));
    bus.serve(Media.method.closeSession, ({ sessionId, reason }) => {
      this.closeCalls += 1;
      const error = this.closeErrors.shift();
      if (error !== undefined) throw error;
      this.sessions.delete(sessionId);
      this.closed.push({ sessionId, reason });
      return {};
    });
  }

  async #open(
    { sessionId, ownerId, streamName }: { sessionId: string; ownerId: string; streamName: string },
    to: readonly number[] = [],
  ): Promise<void> {
    if (this.refusal !== undefined) throw this.refusal;
    if (this.sessions.has(sessionId)) throw new WeirError(ErrorCode.INVALID, 'the session id is in use');
    this.sessions.set(sessionId, { ownerId, streamName, to });
    await this.beforeAnswer(sessionId);
  }
}
