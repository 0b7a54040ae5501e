import { randomBytes } from 'node:crypto';
import {
  SdpError,
  writeOffer,
  type Answer,
  type AnsweredMedia,
  type OwnCodec,
  type OwnSection,
  type RemoteCandidate,
} from '@weir/sdp';
import { Transport, type Certificate, type TransportEnd } from './transport.js';

export interface PeerSection {
  readonly kind: 'audio' | 'video';
  readonly direction: 'sendonly' | 'recvonly';
  readonly codecs: readonly OwnCodec[];
  /** The SSRC of the media that are sent. */
  readonly ssrc?: number;
}

export interface PeerListener {
  /** Called once, when every path is up. */
  connected(): void;
  rtp(packet: Buffer): void;
  rtcp(packet: Buffer): void;
  /** Called at most once, and not after `close`. */
  ended(end: TransportEnd, detail: string): void;
}

export interface PeerOptions {
  readonly certificate: Certificate;
  readonly localAddress: string;
  readonly cname: string;
  readonly sections: readonly PeerSection[];
  readonly listener: PeerListener;
  /** The time limit for ICE and DTLS together. */
  readonly connectTimeoutMs: number;
}

/** A section that the server has accepted with at least one common codec, and the path of its media. */
export interface AgreedSection {
  readonly kind: 'audio' | 'video';
  readonly media: AnsweredMedia;
  readonly path: Transport;
}

const WANTED_DIRECTIONS = {
  sendonly: ['recvonly', 'sendrecv'],
  recvonly: ['sendonly', 'sendrecv'],
} as const;

/** A WebRTC peer that makes the offer. Each medium has its own path until the server answers that they share one. */
export class Peer {
  readonly #used = new Set<Transport>();
  readonly #connected = new Set<Transport>();
  #isOver = false;

  private constructor(
    private readonly options: PeerOptions,
    private readonly transports: readonly Transport[],
    readonly offerSdp: string,
  ) {}

  static async open(options: PeerOptions): Promise<Peer> {
    const { sections, cname, certificate, localAddress } = options;
    const usernameFragment = randomBytes(6).toString('hex');
    const password = randomBytes(16).toString('hex');
    const made: { peer?: Peer } = {};
    const transports = sections.map(() => {
      const transport: Transport = new Transport({
        ...{ certificate, localAddress, usernameFragment, password },
        dtlsTimeoutMs: options.connectTimeoutMs,
        listener: {
          connected: () => {
            if (made.peer !== undefined) made.peer.#pathUp(transport);
          },
          rtp: (packet) => options.listener.rtp(packet),
          rtcp: (packet) => options.listener.rtcp(packet),
          ended: (end, detail) => {
            if (made.peer !== undefined) made.peer.#over(end, detail);
          },
        },
      });
      return transport;
    });
    try {
      const locals = await Promise.all(transports.map((transport) => transport.gather()));
      const offered = sections.flatMap((section, index): OwnSection[] => {
        const transport = locals[index];
        if (transport === undefined) return [];
        const { ssrc, ...rest } = section;
        return [{ ...rest, transport, ...(ssrc === undefined ? {} : { sent: { ssrc, cname } }) }];
      });
      const originId = String(randomBytes(6).readUIntBE(0, 6));
      made.peer = new Peer(options, transports, writeOffer({ originId, sections: offered }));
      return made.peer;
    } catch (error) {
      await Promise.all(transports.map((transport) => transport.close()));
      throw error;
    }
  }

  /** Connects to the permitted candidates of the answer; to none if no section has a common codec. Throws SdpError. */
  async connect(
    answer: Answer,
    isPermitted: (candidate: RemoteCandidate) => Promise<boolean>,
  ): Promise<readonly AgreedSection[] | 'no-permitted-address'> {
    const accepted = this.options.sections.flatMap((section, index) => {
      const media = answer.media[index];
      const isWanted =
        media?.accepted === true && WANTED_DIRECTIONS[section.direction].some((d) => d === media.direction);
      if (media === undefined || !isWanted || media.kind !== section.kind) return [];
      const hasCodec = media.codecs.some((codec) => section.codecs.some((own) => own.name === codec.name));
      return [{ kind: section.kind, media, hasCodec }];
    });
    if (!accepted.some(({ hasCodec }) => hasCodec)) return [];
    const agreed: AgreedSection[] = [];
    const starts: (() => void)[] = [];
    // The server waits for every path that it has accepted, even for one that can't carry any media.
    for (const { kind, media, hasCodec } of accepted) {
      const carrier = answer.media[media.transportOf] ?? media;
      const path = this.transports[answer.media.indexOf(carrier)];
      const remote = carrier.transport ?? media.transport;
      if (path === undefined || remote === undefined)
        throw new SdpError('malformed', 'The answer has a section without a transport');
      if (hasCodec) agreed.push({ kind, media, path });
      if (this.#used.has(path)) continue;
      const candidates: RemoteCandidate[] = [];
      for (const candidate of remote.candidates) if (await isPermitted(candidate)) candidates.push(candidate);
      if (candidates.length === 0) return 'no-permitted-address';
      this.#used.add(path);
      starts.push(() => path.connect(remote, candidates));
    }
    if (this.#isOver) return agreed;
    for (const start of starts) start();
    await Promise.all(this.transports.filter((path) => !this.#used.has(path)).map((path) => path.close()));
    return agreed;
  }

  /** The silence of the path that has been silent for longest. */
  get silentMs(): number {
    return Math.max(0, ...[...this.#used].map((path) => path.silentMs));
  }

  async close(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.transports.map((transport) => transport.close()));
  }

  #pathUp(path: Transport): void {
    this.#connected.add(path);
    if (!this.#isOver && this.#connected.size === this.#used.size) this.options.listener.connected();
  }

  #over(end: TransportEnd, detail: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.options.listener.ended(end, detail);
  }
}
