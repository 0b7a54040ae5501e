import { randomBytes } from 'node:crypto';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { OutboundRefused, type OutboundGuard, type OutboundTarget } from '@weir/outbound';
import {
  clientDeadlineMs,
  DEFAULT_CLIENT_CONFIG,
  encodeRequest,
  encodeResponse,
  formatRtspUrl,
  retryDelayMs,
  RtspDecoder,
  startClient,
  stepClient,
  type ClientEffect,
  type ClientEndReason,
  type ClientInput,
  type ClientState,
  type ClientStep,
  type RtspUrl,
} from '@weir/protocol-rtsp';
import type { SdpTrack } from '@weir/sdp';
import { awakeNowMs, contained, type Logger } from '@weir/platform';
import { EndReason } from '@weir/contracts';
import { BoundedSocket } from './bounded-socket.js';
import { usableTracks, type IngestSession, type MediaCarrier } from './ingest.js';
import { bindPortPair, type PortPair } from './udp-ports.js';

export interface RtspPullOptions {
  url: RtspUrl;
  session: IngestSession;
  guard: Pick<OutboundGuard, 'checkHost'>;
  tls: CameraTls;
  log: Logger;
}

/** Which certificates of cameras `rtsps://` trusts. */
export interface CameraTls {
  /** Whether to refuse a certificate that no trusted authority has signed. Most cameras sign their own. */
  readonly verify: boolean;
  /** The certificates (PEM) of the trusted authorities, instead of the system's. */
  readonly ca: string | undefined;
}

/** A source that leaves this much of our few requests unread is no RTSP server. */
const MAX_UNREAD_BYTES = 64 * 1024;

/**
 * Plays a camera's RTSP URL into a stream, on one connection for any number of viewers. After a fault it tries again,
 * with back-off. The session ends when another attempt can't help (a forbidden address, a refusal of the first
 * attempt).
 */
export class RtspPull implements MediaCarrier {
  #attempt = 0;
  #connection: PullConnection | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #hasPlayed = false;

  constructor(private readonly options: RtspPullOptions) {
    options.session.takeFrom(this);
    this.#connect();
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#connection?.stop();
  }

  #connect(): void {
    this.#connection = new PullConnection(this.options, {
      started: () => {
        this.#hasPlayed = true;
        this.#attempt = 0;
      },
      ended: (reason) => this.#onEnded(reason),
    });
  }

  #onEnded(reason: ClientEndReason): void {
    this.#connection = undefined;
    if (this.#stopped) return;
    const { session, log } = this.options;
    const detail = describeEnd(reason);
    this.#attempt += 1;
    const delayMs = retryDelayMs(this.#hasPlayed ? afterPlaying(reason) : reason, this.#attempt, Math.random());
    if (delayMs === undefined || (!this.#hasPlayed && !isFault(reason))) {
      session.end(EndReason.SOURCE_FAILED, detail);
      return;
    }
    log.info(
      { streamName: session.info.streamName, detail, delayMs, attempt: this.#attempt },
      'pull will be tried again',
    );
    session.lost(this, detail);
    this.#timer = setTimeout(() => this.#connect(), delayMs);
  }
}

/** A fault may pass by itself. Every other reason is an answer of the source. */
const isFault = ({ tag }: ClientEndReason): boolean =>
  tag === 'unreachable' || tag === 'closed-by-server' || tag === 'timed-out' || tag === 'media-silent';

/**
 * A server refuses when its camera is away. So a source that has played before and now refuses is asked again as soon
 * as one that can't be reached. A source that wants another password isn't: some lock out a client that tries too
 * often.
 */
const afterPlaying = (reason: ClientEndReason): ClientEndReason =>
  reason.tag === 'refused' || reason.tag === 'no-tracks' ? { tag: 'unreachable' } : reason;

function describeEnd(reason: ClientEndReason): string {
  switch (reason.tag) {
    case 'refused':
      return `the source refused ${reason.method} with status ${reason.status}`;
    case 'timed-out':
      return `the source did not answer in time (${reason.during})`;
    case 'malformed':
      return `the source does not speak RTSP (${reason.code})`;
    case 'guarded':
      return 'the address of the source is not allowed; see WEIR_OUTBOUND_ALLOW';
    case 'unreachable':
      return "the source can't be reached";
    case 'untrusted':
      return 'nobody who is trusted vouches for the certificate of the source; see WEIR_RTSPS_VERIFY';
    case 'unauthorised':
      return 'the source wants a user and password, or others';
    case 'no-tracks':
      return 'the source has no media that can be used';
    case 'unsupported-transport':
      return 'the source offers no transport that can be used';
    case 'too-many-redirects':
      return 'the source redirects too often';
    case 'media-silent':
      return 'the source sends no media';
    case 'closed-by-server':
      return 'the source closed the connection';
    case 'stopped':
      return 'stopped';
    default:
      return reason satisfies never;
  }
}

interface PullEvents {
  started(): void;
  ended(reason: ClientEndReason): void;
}

/** One attempt: it runs the protocol's state machine on its sockets. */
class PullConnection {
  #state: ClientState;
  #socket: BoundedSocket | undefined;
  #generation = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #ports = new Map<number, PortPair>();
  #places = new Map<number, number>();
  #announced: readonly SdpTrack[] = [];
  /** The only address that media may come from: the one that the guard allowed and the connection uses. */
  #serverAddress = '';

  constructor(
    private readonly options: RtspPullOptions,
    private readonly events: PullEvents,
  ) {
    const first = startClient(
      { ...DEFAULT_CLIENT_CONFIG, url: options.url, cnonce: randomBytes(12).toString('hex') },
      awakeNowMs(),
    );
    this.#state = first.state;
    // The first effects may end the attempt. They run after the creator has stored this object.
    queueMicrotask(() => this.#apply(first));
  }

  stop(): void {
    this.#input({ tag: 'stop' });
  }

  #contained<Args extends readonly unknown[]>(handle: (...args: Args) => void): (...args: Args) => void {
    const giveUp = () => this.#socket?.socket.destroy();
    return contained({ log: this.options.log, whose: 'the source of a pull', giveUp }, handle);
  }

  #input(input: ClientInput): void {
    this.#apply(stepClient(this.#state, input, awakeNowMs()));
  }

  #apply({ state, effects }: ClientStep): void {
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    clearTimeout(this.#timer);
    const deadlineMs = clientDeadlineMs(this.#state);
    if (deadlineMs === undefined) return;
    this.#timer = setTimeout(
      this.#contained(() => this.#input({ tag: 'tick' })),
      Math.max(0, deadlineMs - awakeNowMs()) + 1,
    );
  }

  #perform(effect: ClientEffect): void {
    const { session } = this.options;
    switch (effect.tag) {
      case 'connect':
        void this.#connect(effect.url);
        break;
      case 'disconnect':
        this.#disconnect();
        break;
      case 'send':
        this.#socket?.send(
          effect.message.tag === 'request' ? encodeRequest(effect.message) : encodeResponse(effect.message),
          MAX_UNREAD_BYTES,
        );
        break;
      case 'select-tracks': {
        this.#announced = effect.tracks;
        const usable = usableTracks(effect.tracks);
        this.#places = new Map(usable.map(({ announcedIndex }, place) => [announcedIndex, place]));
        const tracks = usable.map((track) => track.announcedIndex);
        queueMicrotask(this.#contained(() => this.#input({ tag: 'selected', tracks })));
        break;
      }
      case 'open-ports':
        void this.#openPorts(effect.track);
        break;
      case 'track-ready':
        break;
      case 'started':
        if (session.begin(this.#announced) === 'begun') this.events.started();
        else queueMicrotask(() => this.stop());
        break;
      case 'rtp':
        session.rtp(this.#places.get(effect.track) ?? -1, effect.data);
        break;
      case 'rtcp':
        session.rtcp(this.#places.get(effect.track) ?? -1, effect.data);
        break;
      case 'end':
        clearTimeout(this.#timer);
        this.#disconnect();
        this.events.ended(effect.reason);
        break;
      default:
        effect satisfies never;
    }
  }

  async #connect(url: RtspUrl): Promise<void> {
    this.#generation += 1;
    const generation = this.#generation;
    const isCurrent = () => this.#generation === generation;
    let target;
    try {
      target = await this.options.guard.checkHost(url.host, url.port, { scheme: url.scheme });
    } catch (error) {
      if (isCurrent())
        this.#input({ tag: 'connect-failed', cause: error instanceof OutboundRefused ? 'guarded' : 'unreachable' });
      return;
    }
    if (!isCurrent()) return;
    const socket = this.#open(url, target);
    const decoder = new RtspDecoder();
    const about = { streamName: this.options.session.info.streamName, url: formatRtspUrl(url) };
    this.#socket = new BoundedSocket(socket, () =>
      this.options.log.info(about, 'the source of a pull does not read and is cut off'),
    );
    socket.once(url.scheme === 'rtsps' ? 'secureConnect' : 'connect', () => {
      this.#serverAddress = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
      if (isCurrent()) this.#input({ tag: 'connected' });
    });
    socket.on(
      'data',
      this.#contained((bytes: Buffer) => {
        for (const event of decoder.push(bytes)) {
          if (!isCurrent()) return;
          this.#input({ tag: 'received', event });
        }
      }),
    );
    socket.on('error', (error) => {
      this.options.log.info({ ...about, error: error.message }, 'pull connection broke');
      const isUntrusted = socket instanceof TLSSocket && Boolean(socket.authorizationError);
      if (isCurrent()) this.#input({ tag: 'connect-failed', cause: isUntrusted ? 'untrusted' : 'unreachable' });
    });
    socket.on('close', () => {
      if (isCurrent()) this.#input({ tag: 'disconnected' });
    });
  }

  #open({ scheme, host, port }: RtspUrl, { lookup }: OutboundTarget): Socket {
    if (scheme === 'rtsp') return connect({ host, port, lookup });
    const { verify, ca } = this.options.tls;
    return connectTls({
      ...{ host, port, lookup, rejectUnauthorized: verify },
      ...(isIP(host) === 0 && { servername: host }),
      ...(ca !== undefined && { ca }),
    });
  }

  async #openPorts(track: number): Promise<void> {
    const generation = this.#generation;
    const pair = await bindPortPair('0.0.0.0').catch(() => undefined);
    if (this.#generation !== generation) {
      pair?.rtp.close();
      pair?.rtcp.close();
      return;
    }
    if (pair !== undefined) {
      this.#ports.set(track, pair);
      for (const kind of ['rtp', 'rtcp'] as const) {
        pair[kind].on('error', (error) => this.options.log.debug({ error: error.message }, 'pull media port failed'));
        pair[kind].on(
          'message',
          this.#contained((data: Buffer, from: { address: string }) => {
            if (from.address !== this.#serverAddress) return;
            this.#input({ tag: 'heard' });
            this.options.session[kind](this.#places.get(track) ?? -1, data);
          }),
        );
      }
    }
    this.#input({
      tag: 'ports-opened',
      ports: pair && { rtp: pair.rtp.address().port, rtcp: pair.rtcp.address().port },
    });
  }

  #disconnect(): void {
    this.#generation += 1;
    this.#socket?.end();
    this.#socket = undefined;
    for (const pair of this.#ports.values()) {
      pair.rtp.close();
      pair.rtcp.close();
    }
    this.#ports.clear();
  }
}
