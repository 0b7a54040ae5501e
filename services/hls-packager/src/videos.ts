import { permits, type CredentialCarrier } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { ResourceName } from '@weir/hls';
import { type Admission, demandPlay } from './admission.js';
import type { HlsMetrics } from './metrics.js';
import type { Packaging } from './packaging.js';
import type { Packagings } from './packagings.js';
import type { StreamRequest } from './stream-request.js';
import type { Targets } from './targets.js';
import type { TicketKey } from './ticket-key.js';
import { TICKET, Tickets, SIGNATURE } from './tickets.js';
import { indexPath, targetOfStream, type VideoTarget } from './video-path.js';
import type { WaitingPlaces } from './waiting-places.js';

export interface VideosPorts {
  admission: Admission;
  targets: Targets;
  packagings: Packagings;
  ticketKey: TicketKey;
  places: WaitingPlaces;
  metrics: HlsMetrics;
  startTimeoutMs: number;
  blockTimeoutMs: number;
  maxWaitingPerStream: number;
}

/** The parts of a request that matter, and a signal that is aborted when its client is gone. */
export interface Viewer extends CredentialCarrier {
  readonly address: string;
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
}

/** Who asks for a playlist, by a credential or by a signed address. */
interface Watcher {
  readonly tenant: string;
  /** Differs for different credentials and addresses. */
  readonly digest: string;
  /** What must be in the addresses for this watcher. */
  readonly query: string | undefined;
  /** @throws WeirError FORBIDDEN */
  readonly demandPlay: (streamName: string) => void;
}

export interface Resource {
  readonly bytes: Uint8Array;
  /** Whether the ticket in its address was enough, so that shared caches may keep it. */
  readonly byTicket: boolean;
}

const notFound = (what: string): WeirError => new WeirError(ErrorCode.NOT_FOUND, what);
const notYet = (): WeirError => new WeirError(ErrorCode.UNAVAILABLE, 'The video did not come in time; ask again');
const noKeyFrameYet = (): WeirError =>
  new WeirError(
    ErrorCode.UNAVAILABLE,
    'No key frame has come since this stream was first asked for, and nothing can be shown before; ask again',
  );
const noKeyFrame = (): WeirError =>
  new WeirError(
    ErrorCode.UNAVAILABLE,
    'The last key frame of this stream is too long ago to begin with; ask again, and have its source send more of them',
  );

/** Answers the requests for `/videos` and `/stream`, and decides who may make them. */
export class Videos {
  constructor(private readonly ports: VideosPorts) {}

  /** It must be called before anything else of a request is checked. */
  async authenticate(viewer: CredentialCarrier): Promise<void> {
    await this.ports.admission.admit(viewer);
  }

  /** Begins to package a stream, unless it is packaged already, and returns the target of its playlist. */
  async start(viewer: CredentialCarrier, request: StreamRequest): Promise<VideoTarget> {
    const { principal } = await this.ports.admission.admit(viewer);
    const { tenant } = principal;
    if (request.tag === 'stream') {
      demandPlay(principal, tenant, request.name);
      const target = targetOfStream(request.name);
      // A robot of that name may use this path for another stream.
      const isPlain = (await this.ports.targets.streamNameOf(tenant, target)) === request.name;
      const certain: VideoTarget = isPlain ? target : { tag: 'stream', name: request.name };
      await this.#open(tenant, certain, request.name);
      return certain;
    }
    const { id, rtsp } = request;
    demandPlay(principal, rtsp.tenant, rtsp.streamName);
    const target = await this.ports.targets.targetOf(id, rtsp);
    if (target === undefined) throw new WeirError(ErrorCode.FORBIDDEN, 'The rtsp_url belongs to another robot');
    await this.#open(tenant, target, rtsp.streamName);
    return target;
  }

  /** Ends a stream's packaging. Returns whether there was one. */
  async stop(viewer: CredentialCarrier, target: VideoTarget): Promise<boolean> {
    const { principal } = await this.ports.admission.admit(viewer);
    const { tenant } = principal;
    const streamName = await this.#streamNameOf(tenant, target);
    demandPlay(principal, tenant, streamName);
    const packaging = this.ports.packagings.find(tenant, streamName);
    if (packaging === undefined || packaging.state === 'ended') return false;
    packaging.end('deleted');
    return true;
  }

  /** The packagings that the viewer may see: all of them, or only the target's. */
  async list(viewer: CredentialCarrier, target?: VideoTarget): Promise<Packaging[]> {
    const { principal } = await this.ports.admission.admit(viewer);
    const { tenant } = principal;
    const all = this.ports.packagings
      .list(tenant)
      .filter(({ streamName }) => permits(principal, 'play', tenant, streamName));
    if (target === undefined) return all;
    const streamName = await this.#streamNameOf(tenant, target);
    demandPlay(principal, tenant, streamName);
    const found = all.filter((packaging) => packaging.streamName === streamName);
    if (found.length === 0) throw notFound('This stream is not being packaged');
    return found;
  }

  /** The address of a stream's playlist that opens without a credential until a time: path and query. */
  async signedAddress(tenant: string, streamName: string, expiresAtMs: number): Promise<string> {
    const signature = (await this.#tickets()).issueSignature(tenant, streamName, Math.floor(expiresAtMs / 1_000));
    return `${indexPath({ tag: 'stream', name: streamName })}?${SIGNATURE}=${signature}`;
  }

  /** The multivariant playlist. Players ask for it first, so an ended stream begins again with it. */
  async index(viewer: Viewer, target: VideoTarget): Promise<string> {
    const { packaging, watcher } = await this.#playlistOf(viewer, target, (known) => known.state !== 'ended');
    if (!packaging.live.isReady) throw packaging.state === 'waiting' ? noKeyFrameYet() : notYet();
    if (!packaging.live.canBegin) throw noKeyFrame();
    return packaging.live.index(watcher.query);
  }

  async media(viewer: Viewer, target: VideoTarget): Promise<string> {
    const { packaging } = await this.#playlistOf(viewer, target, () => true);
    const { live } = packaging;
    // Players, even those that fetch parts, refuse a playlist without a finished segment as empty. So the first request
    // waits for the first segment, which is short.
    if (!live.hasSegment) await this.#waitForStart(viewer, packaging, 'segment');
    const directives = {
      msn: viewer.query.get('_HLS_msn') ?? undefined,
      part: viewer.query.get('_HLS_part') ?? undefined,
    };
    const decision = await this.#waiting(viewer, packaging, (timeoutMs) =>
      live.reload(directives, { timeoutMs, signal: viewer.signal }),
    );
    if (decision === 'bad-request')
      throw new WeirError(
        ErrorCode.INVALID,
        'The segment or part asked for is too far ahead; load the playlist again without _HLS_msn',
      );
    // While the source is away, nothing new comes, and that is no error.
    if (decision === 'late' && (packaging.state !== 'away' || !live.isReady)) throw notYet();
    return live.playlist(['YES', 'v2'].includes(viewer.query.get('_HLS_skip') ?? ''));
  }

  async resource(viewer: Viewer, target: VideoTarget, name: ResourceName): Promise<Resource> {
    const { packaging, byTicket } = await this.#ofResource(viewer, target, name);
    const outcome = await this.#waiting(viewer, packaging, (timeoutMs) =>
      packaging.live.resource(name, { timeoutMs, signal: viewer.signal }),
    );
    if (outcome === 'gone') throw notFound('There is no such segment, or no longer');
    if (outcome === 'late') throw notYet();
    return { bytes: outcome, byTicket };
  }

  async #ofResource(
    viewer: Viewer,
    target: VideoTarget,
    name: ResourceName,
  ): Promise<{ packaging: Packaging; byTicket: boolean }> {
    const ticket = viewer.query.get(TICKET) ?? '';
    const tenant = Tickets.tenantOf(ticket);
    if (tenant !== undefined) {
      const packaging = this.ports.packagings.at(tenant, target);
      if (packaging !== undefined) {
        const tickets = await this.ports.ticketKey.tickets();
        if (tickets.verify(ticket, tenant, packaging.streamName, name)) return { packaging, byTicket: true };
      }
    }
    const { principal } = await this.ports.admission.admit(viewer);
    const packaging = this.ports.packagings.at(principal.tenant, target);
    if (packaging === undefined) throw notFound('There is no such segment, or no longer');
    demandPlay(principal, packaging.tenant, packaging.streamName);
    return { packaging, byTicket: false };
  }

  async #playlistOf(
    viewer: Viewer,
    target: VideoTarget,
    isUsable: (known: Packaging) => boolean,
  ): Promise<{ packaging: Packaging; watcher: Watcher }> {
    const beganMs = performance.now();
    const watcher = await this.#watcher(viewer, target);
    const { tenant } = watcher;
    const known = this.ports.packagings.at(tenant, target);
    const streamName = known?.streamName ?? (await this.ports.targets.streamNameOf(tenant, target));
    watcher.demandPlay(streamName);
    const packaging = known !== undefined && isUsable(known) ? known : await this.#open(tenant, target, streamName);
    packaging.asked();
    packaging.viewers.saw(`${watcher.digest} ${viewer.address}`);
    if (!packaging.live.isReady) {
      await this.#waitForStart(viewer, packaging, 'part');
      if (packaging.live.isReady) this.ports.metrics.started(performance.now() - beganMs);
    }
    return { packaging, watcher };
  }

  async #watcher(viewer: Viewer, target: VideoTarget): Promise<Watcher> {
    // Clients of other services append their own query with a second question mark.
    const signature = viewer.query.get(SIGNATURE)?.split('?', 1)[0];
    if (signature === undefined || target.tag !== 'stream') {
      const { principal, digest, query } = await this.ports.admission.admit(viewer);
      const { tenant } = principal;
      return { tenant, digest, query, demandPlay: (streamName) => demandPlay(principal, tenant, streamName) };
    }
    const tenant = (await this.#tickets()).verifySignature(signature, target.name, Date.now());
    if (tenant === undefined)
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'The address is not valid or has expired; ask for a new one');
    return { tenant, digest: signature, query: `${SIGNATURE}=${signature}`, demandPlay: () => undefined };
  }

  async #open(tenant: string, target: VideoTarget, streamName: string): Promise<Packaging> {
    const tickets = await this.#tickets();
    return this.ports.packagings.open(
      tenant,
      target,
      streamName,
      (resource) => `${TICKET}=${tickets.issue(tenant, streamName, resource)}`,
    );
  }

  #tickets(): Promise<Tickets> {
    return this.ports.ticketKey.tickets().catch((cause: unknown) => {
      throw new WeirError(ErrorCode.UNAVAILABLE, "URLs can't be signed now; try again later", {}, { cause });
    });
  }

  #streamNameOf(tenant: string, target: VideoTarget): Promise<string> | string {
    return this.ports.packagings.at(tenant, target)?.streamName ?? this.ports.targets.streamNameOf(tenant, target);
  }

  async #waitForStart(viewer: Viewer, packaging: Packaging, what: 'part' | 'segment'): Promise<void> {
    const options = { timeoutMs: this.ports.startTimeoutMs, signal: viewer.signal };
    await this.#waiting(viewer, packaging, () => packaging.live.ready(what, options));
  }

  #waiting<Result>(
    viewer: Viewer,
    packaging: Packaging,
    work: (timeoutMs: number) => Promise<Result>,
  ): Promise<Result> {
    if (packaging.live.waiting >= this.ports.maxWaitingPerStream) {
      throw new WeirError(ErrorCode.UNAVAILABLE, 'Too many requests are waiting for this stream; ask again later');
    }
    return this.ports.places.during(viewer.address, () => work(this.ports.blockTimeoutMs));
  }
}
