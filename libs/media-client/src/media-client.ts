import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Bus, Registration } from '@weir/bus';
import {
  ErrorCode,
  IceTransport,
  Media,
  MediaEvents,
  MediaRtp,
  type Codecs,
  type CredentialRefSchema,
  type EndReason,
  type IngestRequestSchema,
  type NameClaimSchema,
  type SessionStats,
  type StreamChanged,
  type StreamInfo,
  type StreamSignalSchema,
  WeirError,
  type PublishedStream as StreamOfReply,
} from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { FeedSockets, type Feed, type FedTrack } from './feed.js';
import { LiveSessions } from './live-sessions.js';
import type { MediaSession, SessionEvent } from './media-session.js';
import { Tap, TapReceiver, type Tapped } from './tap.js';

export interface StreamName {
  readonly tenant: string;
  readonly streamName: string;
}

/** A stream as `find` returns it. This class alone decides which node is asked for a stream. */
export interface Located extends StreamName {
  readonly nodeId: string;
}

export interface WebRtcOffer {
  readonly sdp: string;
  /** The answer has TCP candidates only. */
  readonly tcpOnly: boolean;
  /** 0 means unset. */
  readonly minBps: number;
  readonly maxBps: number;
}

interface SessionRequest {
  /** Must be unique forever; generated if it is left out. */
  readonly sessionId?: string;
  /** Returned with the stream. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Is called once for each event, in order, and never before `opened` has been handled. */
  readonly onEvent?: (event: SessionEvent) => void;
}

interface WebRtcRequest extends SessionRequest {
  readonly offer: WebRtcOffer;
  /** Time between `stats` events; there are none without it. */
  readonly statsIntervalMs?: number;
}

type NameClaim = MessageInitShape<typeof NameClaimSchema>;

export interface PublishRequest extends WebRtcRequest {
  /** The edge that publishes the stream. */
  readonly protocol: string;
  /** The right to claim the name; without it, only names that aren't reserved are free. */
  readonly claim?: NameClaim | undefined;
  /** The stream names of the offer's further videos, and of those that a renegotiation adds. */
  readonly furtherNames?: readonly string[];
  /** The video codecs that are received, the preferred one first; all of them without it. */
  readonly videoCodecs?: readonly ('H264' | 'VP8' | 'VP9' | 'AV1')[];
  /**
   * A stream that the client gets on the same connection, as soon as it is there. Then the client need not send anything.
   */
  readonly heardStreamName?: string;
  /** Whether players that `talksBack` may talk to the client. */
  readonly takesTalkBack?: boolean;
  /** The node of the session with which this one shares a call; any node without it. */
  readonly nodeId?: string;
  /** How long the session outlives this process, waiting for another one that adopts it. */
  readonly orphanMs?: number;
}

export interface AdoptRequest {
  readonly sessionId: string;
  readonly nodeId: string;
  readonly onEvent?: (event: SessionEvent) => void;
}

export interface PlayRequest extends WebRtcRequest {
  /**
   * The names of the publisher's further videos, which the player gets on the same connection. When one begins or ends,
   * there is an event `offer` for the client, and `answer` takes the client's answer.
   */
  readonly furtherNames?: readonly string[];
  /** Whether the player's own sound goes to the publisher's client, if that takes it. Only together with `furtherNames`. */
  readonly talksBack?: boolean;
}

/** Codecs are named as in SDP's rtpmap; empty if there is no such medium. */
type AgreedCodecs = Pick<Codecs, 'audio' | 'video'>;

export interface PublishedStream {
  readonly streamName: string;
  readonly codecs: AgreedCodecs;
}

/** The answer to a WebRTC client's offer. */
export interface Answered {
  readonly nodeId: string;
  readonly answerSdp: string;
  readonly codecs: AgreedCodecs;
  /** For people: the media of the stream that its receivers, or this player, don't get, each with the reason. */
  readonly notCarried: readonly string[];
}

export interface Published extends Answered {
  /** All streams of the session, in the order of their names. */
  readonly streams: readonly PublishedStream[];
}

export type Renegotiated = Pick<Published, 'answerSdp' | 'streams' | 'notCarried'>;

export interface Played extends Answered {
  readonly stream: StreamInfo | undefined;
}

export interface TapRequest extends SessionRequest {
  /** The address of this process to which the node sends RTP. */
  readonly rtpAddress: string;
  /** Send the packets since the last key frame first, as fast as possible. */
  readonly fromKeyFrame?: boolean;
  /** Transcode what WebRTC can't carry. */
  readonly forWebrtc?: boolean;
}

export interface FeedRequest extends SessionRequest {
  readonly tracks: readonly FedTrack[];
  readonly claim?: NameClaim;
  /** The address from which this process sends RTP. */
  readonly rtpAddress: string;
}

export type Source =
  { readonly tag: 'push'; readonly expiresInMs: number } | { readonly tag: 'pull'; readonly url: string };

export interface IngestRequest extends SessionRequest {
  readonly source: Source;
  readonly claim?: NameClaim;
  /** Shortens the contract's deadline. */
  readonly deadlineMs?: number;
}

export interface Ingested {
  readonly nodeId: string;
  /** Empty if the media core pulls the source. */
  readonly pushUrl: string;
}

/** Gets the changes of the streams of all nodes. */
export interface StreamListener {
  started?(stream: StreamInfo): void;
  /** The number of viewers has changed. */
  viewers?(stream: StreamInfo): void;
  ended?(stream: StreamInfo): void;
}

/**
 * The only way to the media core. Calls that open a session return a `MediaSession`, which reports its events in order
 * and ends exactly once, whichever process dies. All other calls are made once and throw the WeirError of the bus.
 */
export class MediaClient {
  readonly #sessions: LiveSessions;

  constructor(private readonly ports: { readonly bus: Bus; readonly log: Logger }) {
    this.#sessions = new LiveSessions(ports);
  }

  /** Returns undefined if there is no such stream. */
  async find({ tenant, streamName }: StreamName): Promise<StreamInfo | undefined> {
    const { streams } = await this.ports.bus.call(Media.method.findStreams, { tenant, streamName });
    return streams.find((stream) => stream.streamName === streamName);
  }

  /** Returns all streams of a tenant. */
  async list(tenant: string): Promise<StreamInfo[]> {
    return (await this.ports.bus.call(Media.method.findStreams, { tenant, streamName: '' })).streams;
  }

  /** Publishes a new stream; any node may take it. */
  publish({ tenant, streamName }: StreamName, request: PublishRequest): MediaSession<Published> {
    const { protocol, claim, furtherNames = [], videoCodecs = [], heardStreamName = '', orphanMs = 0 } = request;
    const method = request.nodeId === undefined ? Media.method.publish : Media.method.publishOnNode;
    return this.#claim({ tenant, streamName }, request, async (sessionId) => {
      const { nodeId, answerSdp, codecs, notCarried, streams } = await this.ports.bus.call(method, {
        ...{ tenant, streamName, protocol, heardStreamName, orphanMs, nodeId: request.nodeId ?? '' },
        takesTalkBack: request.takesTalkBack ?? false,
        ...(claim && { claim }),
        ...{ furtherStreamNames: [...furtherNames], videoCodecs: [...videoCodecs] },
        ...this.#webRtc(sessionId, request),
      });
      return {
        nodeId,
        opened: { nodeId, answerSdp, codecs: agreed(codecs), notCarried, streams: streams.map(published) },
      };
    });
  }

  /**
   * Answers a further offer of an open publisher: videos that come or go, or an ICE restart. After an error, the
   * session goes on unchanged. Throws the WeirError of the bus; NOT_FOUND also before the session is open.
   */
  async renegotiate(
    { sessionId, nodeId }: Pick<MediaSession<Published>, 'sessionId' | 'nodeId'>,
    offerSdp: string,
  ): Promise<Renegotiated> {
    if (nodeId === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'The session is not open yet', { sessionId });
    const { answerSdp, streams, notCarried } = await this.ports.bus.call(Media.method.renegotiate, {
      ...{ nodeId, sessionId, offerSdp },
    });
    return { answerSdp, streams: streams.map(published), notCarried };
  }

  /** Goes on with a session of an owner that is gone. `opened` tells whether its media are connected. */
  adopt({ sessionId, nodeId, onEvent }: AdoptRequest): MediaSession<{ readonly connected: boolean }> {
    return this.#receive(nodeId, { sessionId, ...(onEvent && { onEvent }) }, async () => {
      const ownerId = this.ports.bus.instanceId;
      const { connected } = await this.ports.bus.call(Media.method.adoptSession, { nodeId, sessionId, ownerId });
      return { connected };
    });
  }

  play({ tenant, streamName, nodeId }: Located, request: PlayRequest): MediaSession<Played> {
    return this.#receive(nodeId, request, async (sessionId) => {
      const { answerSdp, codecs, notCarried, stream } = await this.ports.bus.call(Media.method.play, {
        ...{ nodeId, tenant, streamName, furtherStreamNames: [...(request.furtherNames ?? [])] },
        talksBack: request.talksBack ?? false,
        ...this.#webRtc(sessionId, request),
      });
      return { nodeId, answerSdp, codecs: agreed(codecs), notCarried, stream };
    });
  }

  /** Takes a player's answer to an event `offer`. Throws the WeirError of the bus. */
  async answer(
    { sessionId, nodeId }: Pick<MediaSession<Played>, 'sessionId' | 'nodeId'>,
    answerSdp: string,
  ): Promise<void> {
    if (nodeId === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'The session is not open yet', { sessionId });
    await this.ports.bus.call(Media.method.answerOffer, { nodeId, sessionId, answerSdp });
  }

  /** Makes the stream's node send its RTP to this process. */
  tap({ tenant, streamName, nodeId }: Located, request: TapRequest): Tap {
    const receiver = new TapReceiver({ ip: request.rtpAddress, log: this.ports.log });
    const open = async (sessionId: string): Promise<Tapped> => {
      const addresses = await receiver.bind();
      const { tracks, stream } = await this.ports.bus.call(MediaRtp.method.tap, {
        ...{ nodeId, tenant, streamName },
        ...this.#owned(sessionId, request),
        ...addresses,
        fromKeyFrame: request.fromKeyFrame ?? false,
        forWebrtc: request.forWebrtc ?? false,
      });
      return { tracks, stream };
    };
    const session = this.#receive(nodeId, request, open, () => receiver.close());
    return new Tap(session, receiver, () => this.#requestKeyFrame({ tenant, streamName, nodeId }));
  }

  /** Creates a stream from RTP that this process sends. */
  feed({ tenant, streamName }: StreamName, request: FeedRequest): Feed {
    const sockets = new FeedSockets({ ip: request.rtpAddress, log: this.ports.log });
    const { claim } = request;
    const open = async (sessionId: string) => {
      const { nodeId, rtpAddresses } = await this.ports.bus.call(MediaRtp.method.ingest, {
        ...{ tenant, streamName },
        ...this.#owned(sessionId, request),
        ...(claim && { claim }),
        source: { case: 'rtpFeed', value: { tracks: request.tracks.map((track) => ({ ...track })) } },
      });
      if (rtpAddresses.length !== request.tracks.length)
        throw new Error('The media core did not name an address for each track');
      return { nodeId, opened: await sockets.connect(rtpAddresses) };
    };
    return this.#claim({ tenant, streamName }, request, open, () => sockets.close());
  }

  /**
   * Creates a stream from a source that pushes to the media core or that the media core pulls. `connected` means that
   * media flow.
   */
  ingest({ tenant, streamName }: StreamName, request: IngestRequest): MediaSession<Ingested> {
    const { claim, deadlineMs } = request;
    return this.#claim({ tenant, streamName }, request, async (sessionId) => {
      const { nodeId, pushUrl } = await this.ports.bus.call(
        MediaRtp.method.ingest,
        {
          ...{ tenant, streamName },
          ...this.#owned(sessionId, request),
          ...(claim && { claim }),
          source: contractSource(request.source),
        },
        { ...(deadlineMs !== undefined && { deadlineMs }) },
      );
      return { nodeId, opened: { nodeId, pushUrl } };
    });
  }

  /** Sends a signal from the session to the other sessions of its stream. Never rejects. */
  async signal(
    { tenant, streamName, nodeId }: Located,
    sessionId: string,
    signal: MessageInitShape<typeof StreamSignalSchema>,
  ): Promise<void> {
    try {
      await this.ports.bus.call(Media.method.signal, { nodeId, tenant, streamName, sessionId, signal });
    } catch (error) {
      this.ports.log.warn({ err: error, nodeId, streamName, sessionId }, 'a signal did not reach the stream');
    }
  }

  /** Returns a PNG of the stream's current frame. */
  async snapshot({ tenant, streamName, nodeId }: Located): Promise<Buffer> {
    const { png } = await this.ports.bus.call(Media.method.snapshot, { nodeId, tenant, streamName });
    return Buffer.from(png);
  }

  /** Returns a URL with which an RTSP player plays the stream. It is valid only as long as the given credential. */
  async signPlayUrl(
    { tenant, streamName, nodeId }: Located,
    credential: MessageInitShape<typeof CredentialRefSchema>,
    expiresInMs: number,
  ): Promise<string> {
    const request = { nodeId, tenant, streamName, expiresInMs, credential };
    return (await this.ports.bus.call(MediaRtp.method.signRtspUrl, request)).url;
  }

  /** Returns the stats of sessions on one node, whoever owns them; sessions that the node doesn't have are left out. */
  statsOf(nodeId: string, sessionIds: readonly string[]): Promise<SessionStats[]> {
    return this.#sessions.statsOf(nodeId, sessionIds);
  }

  /** Ends a stream, even one of another owner. */
  async endStream(
    { nodeId, publisherSessionId }: Pick<StreamInfo, 'nodeId' | 'publisherSessionId'>,
    reason: EndReason,
  ): Promise<void> {
    await this.ports.bus.call(Media.method.closeSession, { nodeId, sessionId: publisherSessionId, reason });
  }

  onStreams(listener: StreamListener): Registration {
    return this.ports.bus.subscribe(MediaEvents.method.streamChanged, ({ stream, change }) => {
      if (stream !== undefined) tellOf(stream, change, listener);
    });
  }

  /** Stops without closing the sessions that are still open: another process may adopt them. */
  leave(): Promise<void> {
    return this.#sessions.leave();
  }

  /** Closes the sessions that are still open; after that, no events are reported. */
  close(): Promise<void> {
    return this.#sessions.close();
  }

  /** A session that receives a stream runs on the stream's node. */
  #receive<Opened>(
    nodeId: string,
    { sessionId = randomUUID(), onEvent }: SessionRequest,
    open: (sessionId: string) => Promise<Opened>,
    release?: () => void,
  ): MediaSession<Opened> {
    return this.#sessions.open({
      ...{ sessionId, nodeId, onEvent },
      ...(release && { release }),
      open: async () => ({ nodeId, opened: await open(sessionId) }),
      findUnanswered: () => Promise.resolve(nodeId),
    });
  }

  /**
   * A session that creates a stream runs on the node that took it. The registry knows that node by the stream's name.
   */
  #claim<Opened>(
    name: StreamName,
    { sessionId = randomUUID(), onEvent }: SessionRequest,
    open: (sessionId: string) => Promise<{ nodeId: string; opened: Opened }>,
    release?: () => void,
  ): MediaSession<Opened> {
    return this.#sessions.open({
      ...{ sessionId, nodeId: undefined, onEvent },
      ...(release && { release }),
      open: () => open(sessionId),
      findUnanswered: async () => {
        const stream = await this.#sessions.persistently(() => this.find(name));
        return stream?.publisherSessionId === sessionId ? stream.nodeId : undefined;
      },
    });
  }

  #requestKeyFrame(stream: Located): void {
    const { tenant, streamName, nodeId } = stream;
    this.ports.bus.call(MediaRtp.method.requestKeyFrame, { nodeId, tenant, streamName }).catch((error: unknown) => {
      this.ports.log.debug({ err: error, nodeId, streamName }, 'a key frame could not be asked for');
    });
  }

  #owned(sessionId: string, { labels }: SessionRequest) {
    return { sessionId, ownerId: this.ports.bus.instanceId, labels: { ...labels } };
  }

  #webRtc(sessionId: string, { offer, statsIntervalMs = 0, ...request }: WebRtcRequest) {
    return {
      ...this.#owned(sessionId, request),
      offerSdp: offer.sdp,
      bitrate: { minBps: BigInt(Math.round(offer.minBps)), maxBps: BigInt(Math.round(offer.maxBps)) },
      iceTransport: offer.tcpOnly ? IceTransport.TCP : IceTransport.ANY,
      statsIntervalMs,
    };
  }
}

const agreed = (codecs: Codecs | undefined): AgreedCodecs => {
  const { audio, video } = codecs ?? { audio: '', video: '' };
  return { audio, video };
};

const published = ({ streamName, codecs }: StreamOfReply): PublishedStream => ({ streamName, codecs: agreed(codecs) });

const contractSource = (source: Source): MessageInitShape<typeof IngestRequestSchema>['source'] => {
  switch (source.tag) {
    case 'push':
      return { case: 'rtspPush', value: { expiresInMs: source.expiresInMs } };
    case 'pull':
      return { case: 'rtspPull', value: { url: source.url } };
    default:
      return source satisfies never;
  }
};

const tellOf = (stream: StreamInfo, change: StreamChanged['change'], listener: StreamListener): void => {
  switch (change.case) {
    case 'started':
      return listener.started?.(stream);
    case 'viewers':
      return listener.viewers?.(stream);
    case 'ended':
      return listener.ended?.(stream);
    case undefined:
      return;
    default:
      // A newer node may report changes that this instance doesn't know.
      change satisfies never;
  }
};
