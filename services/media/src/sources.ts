import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import {
  EndReason,
  ErrorCode,
  IngestRequestSchema,
  isWeirError,
  NameClaimSchema,
  StreamInfoSchema,
  WeirError,
  type IngestRequest,
  type NameClaim,
  type StreamInfo,
  type SignRtspUrlRequest,
  type TapRequest,
} from '@weir/contracts';
import { credentialNameOf, credentialRefIn, type CredentialWatch } from '@weir/access';
import type { SdpTrack } from '@weir/sdp';
import type { OutboundGuard } from '@weir/outbound';
import { parseRtspUrl } from '@weir/protocol-rtsp';
import type { Logger } from '@weir/platform';
import { openFeed, type FeedOptions } from './feed.js';
import { IngestSession, type MediaCarrier } from './ingest.js';
import { rtspPath, streamNameOf, type Permit, type RtspAccess } from './rtsp-access.js';
import { RtspPull, type CameraTls } from './rtsp-pull.js';
import { openTap } from './tap.js';

export interface SourcesOptions extends FeedOptions {
  nodeId: string;
  access: RtspAccess;
  credentials: Pick<CredentialWatch, 'watch'>;
  guard: OutboundGuard;
  cameraTls: CameraTls;
  log: Logger;
  sourceGraceMs: number;
  /** See NativeTrackOptions. */
  maxOwnFeeds: number;
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
        return {
          nodeId,
          rtpAddresses: await openFeed(request, this.#infoOf(request, 'rtp'), source.value.tracks, this.options),
        };
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
    return openTap(request, this.options);
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
