import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import {
  CodecsSchema,
  EndReason,
  ErrorCode,
  IngestRequestSchema,
  isWeirError,
  NameClaimSchema,
  StreamInfoSchema,
  WeirError,
  type FeedTrack,
  type IngestRequest,
  type NameClaim,
  type RtpAddress,
  type StreamInfo,
  type SignRtspUrlRequest,
  type TapRequest,
} from '@weir/contracts';
import { credentialNameOf, credentialRefIn, type CredentialWatch } from '@weir/access';
import type { TrackDescription } from '@weir/frames';
import type { SdpTrack, StreamCodec } from '@weir/sdp';
import type { OutboundGuard } from '@weir/outbound';
import { parseRtspUrl } from '@weir/protocol-rtsp';
import type { Logger } from '@weir/platform';
import type { types as mediasoup } from 'mediasoup';
import type { MediaCore } from './core.js';
import { dialectKey } from './dialect.js';
import { IngestSession, type MediaCarrier } from './ingest.js';
import type { SessionNotifier } from './notifier.js';
import { FeedLink } from './peer.js';
import { ProducedTrack } from './produced-track.js';
import { rtspPath, streamNameOf, type Permit, type RtspAccess } from './rtsp-access.js';
import { RtspPull, type CameraTls } from './rtsp-pull.js';
import type { RtpActivityRules } from './rtp-activity.js';
import { PublisherSession } from './session.js';
import type { Stream } from './stream.js';
import { TapSession } from './taps.js';
import { sendProducer } from './sent-producer.js';
import {
  descriptionOf,
  routerCodecOf,
  trackInfo,
  TRANSCODED_ROUTER_CODECS,
  type LentTrack,
  type SentTrack,
  type Track,
} from './track.js';
import { StreamTranscoder } from './transcoder.js';
import { KNOWN_TIMEOUT_MS } from './webrtc.js';
import { MEDIA_SOCKET_BUFFERS } from './worker-pool.js';

export interface SourcesOptions {
  nodeId: string;
  core: MediaCore;
  notifier: SessionNotifier;
  access: RtspAccess;
  credentials: Pick<CredentialWatch, 'watch'>;
  guard: OutboundGuard;
  cameraTls: CameraTls;
  log: Logger;
  sourceGraceMs: number;
  noMediaTimeoutMs: number;
  /** Without these rules every track is checked. */
  rtpActivity?: RtpActivityRules | undefined;
  /** See NativeTrackOptions. */
  maxOwnFeeds: number;
  /** The address at which other services of the platform reach this node. */
  internalAddress: string;
}

export interface Ingested {
  nodeId: string;
  pushUrl?: string;
  rtpAddresses?: { ip: string; port: number }[];
}

const MAX_PUSH_WAIT_MS = 10 * 60_000;
/** A pulled source may stay away for this long before its stream ends. */
const PULL_GRACE_MS = 60_000;

type CredentialPermit = Extract<Permit, { tag: 'credential' }>;
type PushRefusal = 'not-found' | 'forbidden' | 'busy' | 'unavailable';

/** A session whose media a pusher sends to this node, or will send. */
interface Push {
  readonly session: IngestSession;
  /** The URL of a session that another service asked for. Undefined when the pusher itself asked, with a credential. */
  readonly pushUrl: string | undefined;
  /** The subject of the pusher's credential, if it came with one. */
  subject?: string;
  /** Stops watching the credential of a publisher that came on its own. */
  stopWatching?: () => void;
}

/** Streams that don't come by WebRTC, and taps: the contract's MediaRtp. */
export class Sources {
  /** By RTSP path. */
  readonly #pushes = new Map<string, Push>();

  constructor(private readonly options: SourcesOptions) {}

  async ingest(request: IngestRequest): Promise<Ingested> {
    const { nodeId } = this.options;
    const { source } = request;
    switch (source.case) {
      case 'rtspPush': {
        const session = await this.#reserve(request, 'rtsp', this.options.sourceGraceMs);
        const expiresInMs = Math.min(Math.max(source.value.expiresInMs, 1_000), MAX_PUSH_WAIT_MS);
        session.expectWithin(expiresInMs);
        const pushUrl = this.options.access.signedUrl(request, 'publish', expiresInMs);
        this.#pushes.set(rtspPath(request), { session, pushUrl });
        return { nodeId, pushUrl };
      }
      case 'rtspPull': {
        const url = parseRtspUrl(source.value.url);
        if (url === undefined) throw new WeirError(ErrorCode.INVALID, 'the source has no rtsp:// or rtsps:// URL');
        const session = await this.#reserve(request, 'rtsp', PULL_GRACE_MS);
        session.expectWithin(PULL_GRACE_MS);
        const { guard, cameraTls: tls, log } = this.options;
        new RtspPull({ url, session, guard, tls, log });
        return { nodeId };
      }
      case 'rtpFeed':
        return { nodeId, rtpAddresses: await this.#feed(request, source.value.tracks) };
      case undefined:
        throw new WeirError(ErrorCode.INVALID, 'the request names no source');
      default:
        return source satisfies never;
    }
  }

  pushUrlOf(path: string): string | undefined {
    return this.#pushes.get(path)?.pushUrl;
  }

  /**
   * Begins with a pusher's media. A pusher with the same URL or subject as its predecessor takes over at once, because
   * the predecessor's connection may have died without a FIN. Nobody else can take the name from a pusher that still
   * sends.
   */
  async beginPush(path: string, announced: readonly SdpTrack[], permit: Permit): Promise<IngestSession | PushRefusal> {
    const push = await this.#pushFor(path, permit);
    if (typeof push === 'string') return push;
    const begun = push.session.begin(announced);
    // Other media need a new stream. It begins here for a publisher that came on its own, else in the asking service.
    if (begun === 'changed' && push.pushUrl === undefined) return this.beginPush(path, announced, permit);
    if (begun !== 'begun') return 'unavailable';
    if (permit.tag === 'credential') this.#standsOn(push, permit);
    return push.session;
  }

  /** A publisher that came on its own ends its stream when it finishes. Any other pusher may come back. */
  pushEnded(path: string, session: IngestSession, carrier: MediaCarrier, how: 'finished' | 'lost'): void {
    const push = this.#pushes.get(path);
    if (how === 'finished' && push?.session === session && push.pushUrl === undefined) session.end(EndReason.CLIENT);
    else session.lost(carrier, 'the pusher has closed its connection');
  }

  tap(request: TapRequest) {
    const { core } = this.options;
    core.assertRoom();
    const stream = core.streamOf(request.tenant, request.streamName);
    return stream.use(() => this.#tapStream(request, stream));
  }

  async #tapStream(request: TapRequest, stream: Stream) {
    const { core, notifier } = this.options;
    // Sound is useful only together with a picture, so the video's packets of the past are sent first.
    const wanted = [
      { track: stream.track('video'), address: request.video },
      { track: stream.track('audio'), address: request.audio },
    ].flatMap(({ track, address }) => (track === undefined || address === undefined ? [] : [{ track, address }]));
    const sent: { track: Track; description: TrackDescription; sent: SentTrack }[] = [];
    if (request.forWebrtc) await stream.known(KNOWN_TIMEOUT_MS);
    try {
      let after = Promise.resolve();
      for (const { track, address } of wanted) {
        const options = { fromKeyFrame: request.fromKeyFrame, after };
        const isTranscoded = request.forWebrtc && track.needsTranscoding;
        const begun = isTranscoded
          ? await this.#sendTranscoded(track, checkedAddress(address))
          : await track.sendTo(checkedAddress(address), options);
        const description = isTranscoded ? descriptionOf(track.webRtcCodec) : track.description;
        sent.push({ track, description, sent: begun });
        after = begun.caughtUp;
      }
      // The stream may have ended meanwhile.
      core.streamOf(request.tenant, request.streamName);
      const session: TapSession = new TapSession({
        identity: { sessionId: request.sessionId, ownerId: request.ownerId, statsIntervalMs: 0 },
        stream,
        sent: sent.map((each) => each.sent),
        notifier,
        onClosed: () => core.forget(session),
      });
      core.addSession(session);
      stream.join(session);
    } catch (error) {
      for (const each of sent) each.sent.close();
      throw error;
    }
    for (const { track } of sent) track.requestKeyFrame();
    return {
      tracks: sent.map(({ description, sent: { payloadType, ssrc } }) => ({
        track: trackInfo(description),
        payloadType,
        ssrc,
      })),
      stream: stream.info,
    };
  }

  /** Sends the track in the transcoded form that WebRTC players get. */
  async #sendTranscoded(track: Track, address: { ip: string; port: number }): Promise<SentTrack> {
    const worker = this.options.core.pickWorker(track.homeWorker);
    const lease = await worker.leaseRouter(dialectKey(TRANSCODED_ROUTER_CODECS), TRANSCODED_ROUTER_CODECS);
    let lent: LentTrack | undefined;
    try {
      lent = await track.lend(lease);
      const sent = await sendProducer(lease.router, lent.producerId, address);
      lent.start();
      const { release } = lent;
      return {
        ...sent,
        close: () => {
          sent.close();
          release();
          lease.release();
        },
      };
    } catch (error) {
      lent?.release();
      lease.release();
      throw error;
    }
  }

  requestKeyFrame(tenant: string, streamName: string): void {
    this.options.core.streamOf(tenant, streamName).track('video')?.requestKeyFrame();
  }

  /** @throws WeirError NOT_FOUND */
  signPlayUrl({ tenant, streamName, expiresInMs, credential }: SignRtspUrlRequest): string {
    this.options.core.streamOf(tenant, streamName);
    return this.options.access.signedUrl({ tenant, streamName }, 'play', expiresInMs, credentialRefIn(credential));
  }

  async #pushFor(path: string, permit: Permit): Promise<Push | PushRefusal> {
    const push = this.#pushes.get(path);
    switch (permit.tag) {
      case 'signed-url':
        return push ?? 'not-found';
      case 'credential': {
        if (push === undefined) return this.#publish(path, permit);
        const isSuccessor = push.subject === permit.subject;
        if (!isSuccessor && !push.session.waiting) return 'busy';
        try {
          await this.options.core.assertMayClaim(push.session.info, claimOf(permit));
          return push;
        } catch (error) {
          return refusalOf(error);
        }
      }
      default:
        return permit satisfies never;
    }
  }

  /** Makes a session for a publisher that came on its own. This node owns it. */
  async #publish(path: string, permit: CredentialPermit): Promise<Push | PushRefusal> {
    const { nodeId, sourceGraceMs } = this.options;
    const name = streamNameOf(path);
    if (name === undefined) return 'not-found';
    const sessionId = `rtsp-${randomUUID()}`;
    const request = create(IngestRequestSchema, { ...name, sessionId, ownerId: nodeId, claim: claimOf(permit) });
    try {
      const push: Push = { session: await this.#reserve(request, 'rtsp', sourceGraceMs), pushUrl: undefined };
      this.#pushes.set(path, push);
      return push;
    } catch (error) {
      return refusalOf(error);
    }
  }

  /** The stream ends with its pusher's credential, also while the connection is lost and may come back. */
  #standsOn(push: Push, { subject, credential }: CredentialPermit): void {
    push.subject = subject;
    if (push.pushUrl !== undefined) return;
    push.stopWatching?.();
    push.stopWatching = this.options.credentials.watch([credential], () => push.session.end(EndReason.CLIENT));
  }

  async #reserve(request: IngestRequest, protocol: string, graceMs: number): Promise<IngestSession> {
    const { core, notifier, log } = this.options;
    const info = this.#infoOf(request, protocol);
    const identity = { sessionId: request.sessionId, ownerId: request.ownerId, statsIntervalMs: 0 };
    const session = new IngestSession({
      identity,
      info,
      notifier,
      transcoders: core.transcoders,
      log,
      graceMs,
      maxOwnFeeds: this.options.maxOwnFeeds,
      nowMs: () => performance.now(),
      open: (opened) => core.openStream(info, opened, opened),
      onClosed: (closed) => {
        const path = rtspPath(info);
        const push = this.#pushes.get(path);
        if (push?.session === closed) {
          this.#pushes.delete(path);
          push.stopWatching?.();
        }
        core.forget(closed);
        core.unclaim(info);
      },
    });
    core.assertFreshId(identity.sessionId);
    await core.claim(info, request.claim);
    core.addSession(session);
    return session;
  }

  /** Receives RTP from another service of the platform in producers. */
  async #feed(request: IngestRequest, tracks: readonly FeedTrack[]): Promise<{ ip: string; port: number }[]> {
    const { core, notifier, internalAddress, noMediaTimeoutMs } = this.options;
    const codecs = tracks.map(feedCodec);
    if (codecs.length === 0 || codecs.length > 2)
      throw new WeirError(ErrorCode.INVALID, 'a feed has one or two tracks');
    const info = this.#infoOf(request, 'rtp');
    info.codecs = create(CodecsSchema, {
      audio: codecs.find(({ kind }) => kind === 'audio')?.name ?? '',
      video: codecs.find(({ kind }) => kind === 'video')?.name ?? '',
    });
    const router = codecs.map(({ routerCodec }) => routerCodec);
    const home = await core.pickWorker().leaseRouter(
      dialectKey(router),
      router.toSorted((a, b) => a.kind.localeCompare(b.kind)),
    );
    const transports: mediasoup.PlainTransport[] = [];
    try {
      const produced: ProducedTrack[] = [];
      const { transcoders } = core;
      const cname = request.sessionId;
      const transcoder = new StreamTranscoder({ transcoders, tracks: () => produced, cname, info });
      for (const [index, { streamCodec, payloadType, ssrc }] of codecs.entries()) {
        const transport = await home.router.createPlainTransport({
          listenInfo: { protocol: 'udp', ip: internalAddress, ...MEDIA_SOCKET_BUFFERS },
          rtcpMux: true,
          comedia: true,
        });
        transports.push(transport);
        const producer = await transport.produce({
          kind: streamCodec.kind,
          rtpParameters: {
            codecs: [
              {
                mimeType: streamCodec.mimeType as mediasoup.RtpCodecParameters['mimeType'],
                clockRate: streamCodec.clockRate,
                ...(streamCodec.channels === undefined ? {} : { channels: streamCodec.channels }),
                parameters: streamCodec.parameters,
                payloadType,
                rtcpFeedback: streamCodec.kind === 'video' ? [{ type: 'nack', parameter: 'pli' }] : [],
              },
            ],
            encodings: [{ ssrc: ssrc || 1_000 + index }],
            rtcp: { cname },
          },
        });
        produced.push(new ProducedTrack(streamCodec, producer, home, transcoder));
      }
      const identity = { sessionId: request.sessionId, ownerId: request.ownerId, statsIntervalMs: 0 };
      const session: PublisherSession = new PublisherSession({
        identity,
        notifier,
        home,
        streamName: request.streamName,
        noMediaTimeoutMs,
        rtpActivity: this.options.rtpActivity,
        onClosed: () => core.forget(session),
      });
      session.link = new FeedLink(transports, () => session.onConnected());
      core.assertFreshId(identity.sessionId);
      await core.claim(info, request.claim);
      core.addSession(session);
      session.publish({ tracks: produced, transcoder }, (source) => core.openStream(info, source, source));
      return transports.map(({ tuple }) => ({ ip: internalAddress, port: tuple.localPort }));
    } catch (error) {
      for (const transport of transports) transport.close();
      home.release();
      throw error;
    }
  }

  #infoOf(request: IngestRequest, protocol: string): StreamInfo {
    return create(StreamInfoSchema, {
      tenant: request.tenant,
      streamName: request.streamName,
      nodeId: this.options.nodeId,
      startedAtMs: BigInt(Date.now()),
      codecs: {},
      protocol,
      publisherSessionId: request.sessionId,
      labels: request.labels,
    });
  }
}

const claimOf = ({ credential, publishPatterns }: CredentialPermit): NameClaim =>
  create(NameClaimSchema, { claimer: credentialNameOf(credential), publishPatterns: [...publishPatterns] });

/** The answer to a pusher whose claim failed. @throws any error that isn't a WeirError */
function refusalOf(error: unknown): PushRefusal {
  if (!isWeirError(error)) throw error;
  switch (error.code) {
    case ErrorCode.ALREADY_EXISTS:
      return 'busy';
    case ErrorCode.FORBIDDEN:
      return 'forbidden';
    case ErrorCode.INVALID:
      return 'not-found';
    default:
      return 'unavailable';
  }
}

function checkedAddress({ ip, port }: RtpAddress): { ip: string; port: number } {
  if (port < 1 || port > 65_535) throw new WeirError(ErrorCode.INVALID, 'no UDP port', { port: String(port) });
  return { ip, port };
}

const FEED_CODECS: Readonly<Record<string, StreamCodec>> = {
  opus: { kind: 'audio', mimeType: 'audio/opus', clockRate: 48_000, channels: 2, parameters: { useinbandfec: 1 } },
  PCMU: { kind: 'audio', mimeType: 'audio/PCMU', clockRate: 8_000, channels: 1, parameters: {} },
  PCMA: { kind: 'audio', mimeType: 'audio/PCMA', clockRate: 8_000, channels: 1, parameters: {} },
  G722: { kind: 'audio', mimeType: 'audio/G722', clockRate: 8_000, channels: 1, parameters: {} },
  VP8: { kind: 'video', mimeType: 'video/VP8', clockRate: 90_000, parameters: {} },
  VP9: { kind: 'video', mimeType: 'video/VP9', clockRate: 90_000, parameters: { 'profile-id': 0 } },
  H264: {
    kind: 'video',
    mimeType: 'video/H264',
    clockRate: 90_000,
    parameters: { 'packetization-mode': 1, 'level-asymmetry-allowed': 1, 'profile-level-id': '42e01f' },
  },
};

function feedCodec({ track, payloadType, ssrc }: FeedTrack) {
  const name = track?.codec ?? '';
  const known = FEED_CODECS[name];
  if (known === undefined || payloadType < 0 || payloadType > 127)
    throw new WeirError(ErrorCode.NO_COMMON_CODECS, `a feed carries ${Object.keys(FEED_CODECS).join(', ')}`, {
      codec: name,
    });
  const profile = track?.parameters['profile-level-id'];
  const streamCodec: StreamCodec =
    name === 'H264' && profile !== undefined && /^[0-9a-fA-F]{6}$/.test(profile)
      ? { ...known, parameters: { ...known.parameters, 'profile-level-id': profile } }
      : known;
  const routerCodec = routerCodecOf(streamCodec, payloadType);
  return { name, kind: streamCodec.kind, streamCodec, payloadType, ssrc, routerCodec };
}
