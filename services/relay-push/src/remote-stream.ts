import { createSocket } from 'node:dgram';
import { OutboundFailed, OutboundRefused, type OutboundGuard, type OutboundTarget } from '@weir/outbound';
import { awakeNowMs, contained, type Logger } from '@weir/platform';
import {
  newClient,
  nextClientDeadlineMs,
  stepClient,
  type ClientEffect,
  type ClientInput,
  type ClientSettings,
  type ClientState,
  type ClientStream,
} from '@weir/protocol-wcs';
import { parseAnswer, SdpError, type AnsweredMedia, type RemoteCandidate } from '@weir/sdp';
import { WebSocket, type RawData } from 'ws';
import type { AttemptEnd } from './attempt.js';
import { Peer, type AgreedSection, type PeerSection } from './peer/peer.js';
import type { Certificate } from './peer/transport.js';

/** What a push and a pull need to reach another server. */
export interface RemotePorts {
  readonly guard: OutboundGuard;
  readonly certificate: Certificate;
  /** Certificate authorities in PEM; undefined for the system's. */
  readonly ca: string | undefined;
  readonly schemes: readonly string[];
  readonly client: ClientSettings;
  readonly mediaTimeoutMs: number;
  readonly log: Pick<Logger, 'error'>;
}

export interface RemoteStreamOptions {
  readonly uri: string;
  readonly stream: ClientStream;
  readonly cname: string;
  readonly sections: readonly PeerSection[];
  readonly listener: RemoteStreamListener;
}

export interface RemoteStreamListener {
  /** `sections` is empty if the answer accepts nothing; `answered` has all sections of the answer. */
  agreed(sections: readonly AgreedSection[], answered: readonly AnsweredMedia[]): void;
  /** Media may be sent. */
  connected(): void;
  running(): void;
  muted(media: 'audio' | 'video', muted: boolean): void;
  rtp(packet: Buffer): void;
  rtcp(packet: Buffer): void;
  /** Called once. */
  ended(end: AttemptEnd): void;
}

/** More than any message of the protocol has. */
const MAX_FRAME_BYTES = 512 * 1024;
/** The most that the other server may leave unread, pongs included. A whole session sends far less. */
const MAX_UNREAD_BYTES = 1024 * 1024;
const ANY_PORT = [1, 65_535] as const;

/** A stream on another WCS server: a session in which relay-push is the client, and a WebRTC peer. */
export class RemoteStream {
  #state: ClientState;
  #socket: WebSocket | undefined;
  #peer: Peer | undefined;
  #target: OutboundTarget | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The exact cause of the end; the client machine knows only that the media failed. */
  #cause: AttemptEnd | undefined;
  #isOver = false;

  constructor(
    private readonly ports: RemotePorts,
    private readonly options: RemoteStreamOptions,
  ) {
    this.#state = newClient(options.stream, ports.client, awakeNowMs());
  }

  start(): void {
    this.#schedule();
    this.#open().catch((error: unknown) => this.#openFailed(error));
  }

  /** How long nothing has come on the media path. */
  get silentMs(): number {
    return this.#peer?.silentMs ?? 0;
  }

  stop(): void {
    this.#input({ tag: 'stop' });
  }

  /** Ends the stream for a reason that doesn't come from the server's session. */
  fail(cause: AttemptEnd): void {
    this.#cause ??= cause;
    this.#input({ tag: 'media-failed', detail: cause.tag });
  }

  async #open(): Promise<void> {
    const { guard, schemes, ca } = this.ports;
    const { uri } = this.options;
    const target = await guard.check(uri, { schemes });
    if (this.#isOver) return;
    this.#target = target;
    const socket = new WebSocket(uri, {
      lookup: target.lookup,
      perMessageDeflate: false,
      maxPayload: MAX_FRAME_BYTES,
      handshakeTimeout: this.ports.client.openDeadlineMs,
      followRedirects: false,
      ...(ca === undefined ? {} : { ca }),
    });
    this.#socket = socket;
    let detail = '';
    socket.on('open', () => this.#input({ tag: 'opened' }));
    socket.on(
      'message',
      contained(
        { log: this.ports.log, whose: 'a foreign server', giveUp: () => socket.terminate() },
        (data: RawData, isBinary: boolean) => {
          const text = Buffer.isBuffer(data) ? data.toString() : '';
          this.#input(isBinary ? { tag: 'binary-frame' } : { tag: 'frame', text });
        },
      ),
    );
    // `ws` has already queued a pong, whether or not the server reads.
    socket.on('ping', () => this.#cutOffSlowReader());
    socket.on('error', (error: Error & { code?: string }) => {
      detail = error.message;
      if (error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') this.#input({ tag: 'oversized-frame' });
    });
    socket.on('close', (code) => {
      if (this.#state.tag === 'opening') this.#input({ tag: 'open-failed', detail: detail || `closed (${code})` });
      else this.#input({ tag: 'closed', code });
    });
  }

  #openFailed(error: unknown): void {
    if (error instanceof OutboundRefused) {
      this.#cause ??=
        error.reason === 'malformed' || error.reason === 'scheme' || error.reason === 'ambiguous-host'
          ? { tag: 'bad-uri', detail: error.message }
          : { tag: 'address-refused', reason: error.reason, subject: error.subject };
    } else if (!(error instanceof OutboundFailed)) {
      this.#cause ??= { tag: 'bad-uri', detail: error instanceof Error ? error.message : String(error) };
    }
    this.#input({ tag: 'open-failed', detail: error instanceof Error ? error.message : String(error) });
  }

  #input(input: ClientInput): void {
    const { state, effects } = stepClient(this.#state, input, awakeNowMs());
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    this.#schedule();
  }

  #perform(effect: ClientEffect): void {
    switch (effect.tag) {
      case 'send':
        this.#socket?.send(effect.text);
        this.#cutOffSlowReader();
        return;
      case 'make-offer':
        this.#makeOffer().catch((error: unknown) =>
          this.fail({
            tag: 'media',
            end: 'ice-failed',
            detail: error instanceof Error ? error.message : String(error),
          }),
        );
        return;
      case 'apply-answer':
        this.#applyAnswer(effect.sdp).catch((error: unknown) =>
          this.fail({ tag: 'bad-answer', detail: error instanceof Error ? error.message : String(error) }),
        );
        return;
      case 'running':
        this.options.listener.running();
        return;
      case 'muted':
        this.options.listener.muted(effect.media, effect.muted);
        return;
      case 'close-socket':
        this.#closeSocket();
        return;
      case 'ended':
        this.#end(this.#cause ?? asAttemptEnd(effect.end));
        return;
      default:
        effect satisfies never;
    }
  }

  async #makeOffer(): Promise<void> {
    const address = this.#target?.addresses[0]?.address;
    if (address === undefined) throw new Error('The server has no address');
    const { sections, cname } = this.options;
    const peer = await Peer.open({
      ...{ sections, cname },
      certificate: this.ports.certificate,
      localAddress: await localAddressTowards(address),
      connectTimeoutMs: this.ports.mediaTimeoutMs,
      listener: {
        connected: () => this.options.listener.connected(),
        rtp: (packet) => this.options.listener.rtp(packet),
        rtcp: (packet) => this.options.listener.rtcp(packet),
        ended: (end, detail) => this.#mediaEnded({ tag: 'media', end, detail }),
      },
    });
    if (this.#isOver) return peer.close();
    this.#peer = peer;
    const hasAudio = sections.some(({ kind }) => kind === 'audio');
    const hasVideo = sections.some(({ kind }) => kind === 'video');
    this.#input({ tag: 'offer', sdp: peer.offerSdp, hasAudio, hasVideo });
  }

  async #applyAnswer(sdp: string): Promise<void> {
    const peer = this.#peer;
    if (peer === undefined) return;
    try {
      const answer = parseAnswer(sdp);
      const agreed = await peer.connect(answer, (candidate) => this.#isPermitted(candidate));
      if (this.#isOver) return;
      if (agreed === 'no-permitted-address') this.fail({ tag: agreed });
      else this.options.listener.agreed(agreed, answer.media);
    } catch (error) {
      if (!(error instanceof SdpError)) throw error;
      this.fail({ tag: 'bad-answer', detail: error.message });
    }
  }

  /** A server that closes DTLS is about to say why, so this waits for its message. */
  #mediaEnded(cause: Extract<AttemptEnd, { tag: 'media' }>): void {
    if (cause.end !== 'dtls-closed') return this.fail(cause);
    setTimeout(() => {
      if (!this.#isOver) this.fail(cause);
    }, 1_000).unref();
  }

  /** The guard that checked the server also checks the answer's addresses, except those that the server itself has. */
  async #isPermitted({ address, port }: RemoteCandidate): Promise<boolean> {
    if (this.#target?.addresses.some((known) => known.address === address) === true) return true;
    try {
      await this.ports.guard.checkHost(address, port, { ports: [ANY_PORT] });
      return true;
    } catch (error) {
      if (error instanceof OutboundRefused || error instanceof OutboundFailed) return false;
      throw error;
    }
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const deadlineMs = nextClientDeadlineMs(this.#state);
    if (deadlineMs === Infinity) return;
    this.#timer = setTimeout(() => this.#input({ tag: 'tick' }), Math.max(0, deadlineMs - awakeNowMs()));
  }

  /** The relay then continues as after a broken connection. */
  #cutOffSlowReader(): void {
    if ((this.#socket?.bufferedAmount ?? 0) > MAX_UNREAD_BYTES) this.#socket?.terminate();
  }

  #closeSocket(): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    if (socket.readyState === WebSocket.CONNECTING) return socket.terminate();
    socket.close(1000);
    setTimeout(() => socket.terminate(), 1_000).unref();
  }

  #end(end: AttemptEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#closeSocket();
    const closed = this.#peer?.close() ?? Promise.resolve();
    closed.finally(() => this.options.listener.ended(end)).catch(() => undefined);
  }
}

const asAttemptEnd = (end: Extract<ClientEffect, { tag: 'ended' }>['end']): AttemptEnd => {
  switch (end.tag) {
    case 'stopped':
      return { tag: 'stopped' };
    case 'media-failed':
      return { tag: 'media', end: 'ice-failed', detail: end.detail };
    case 'unreachable':
    case 'closed':
    case 'lost':
    case 'refused':
    case 'ended-by-remote':
    case 'timed-out':
    case 'silent':
    case 'nonsense':
      return { tag: 'remote', end };
    default:
      return end satisfies never;
  }
};

/** The local address from which the system would send to `address`; connecting a UDP socket sends nothing. */
const localAddressTowards = (address: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.connect(9, address, () => {
      const local = socket.address().address;
      socket.close();
      resolve(local);
    });
  });
