import { randomBytes } from 'node:crypto';
import {
  Candidate,
  Connection,
  DtlsClient,
  isDtls,
  isMedia,
  isRtcp,
  RtpHeader,
  RtpPacket,
  SrtcpSession,
  SrtpSession,
  type RtcpPacket,
  RtcpPacketConverter,
} from 'werift';
import type { Certificate } from '../peer/transport.js';
import { originalAnswer } from './answers.js';

export type Kind = 'audio' | 'video';

export interface OriginalPeerOptions {
  readonly certificate: Certificate;
  readonly offer: string;
  readonly direction: 'recvonly' | 'sendonly';
  /** Whether to drop a packet that has arrived. */
  readonly loses?: (kind: Kind, sequenceNumber: number) => boolean;
  /** Whether to drop the DTLS server's last flight of the handshake the first time it comes. */
  readonly losesLastFlight?: boolean;
  readonly onRtp?: (kind: Kind, packet: RtpPacket) => void;
  readonly onRtcp?: (kind: Kind, packet: RtcpPacket) => void;
  readonly onConnected?: () => void;
}

/** All datagrams of one flight arrive within this time. */
const LAST_FLIGHT_MS = 100;

interface Path {
  readonly kind: Kind;
  readonly ice: Connection;
  readonly ssrc: number;
  srtp: SrtpSession | undefined;
  srtcp: SrtcpSession | undefined;
}

/** The media of the original server: full ICE, a path for each medium, DTLS client, AES-CM. All of this is werift's. */
export class OriginalPeer {
  readonly #paths: readonly Path[];
  /** Whether connectivity checks get no answer, as on a link that was cut. */
  isSilent = false;
  #accepted = 0;
  #connected = 0;
  #checks = 0;

  private constructor(private readonly options: OriginalPeerOptions) {
    const usernameFragment = `90e14ad0-fdb2-11e8-bce2-${randomBytes(12).toString('hex')}`;
    const password = randomBytes(13).toString('hex');
    this.#paths = (['audio', 'video'] as const).map((kind) => {
      const ice = new Connection(false, {
        iceLite: false,
        useTcp: false,
        useIpv4: true,
        useIpv6: false,
        additionalHostAddresses: ['127.0.0.1'],
        filterCandidatePair: ({ protocol }) => protocol.localIp === '127.0.0.1',
        filterStunResponse: () => {
          if (this.#connected > 0) this.#checks += 1;
          return !this.isSilent;
        },
      });
      ice.stunServer = undefined;
      ice.localUsername = usernameFragment;
      ice.localPassword = password;
      return { kind, ice, ssrc: randomBytes(4).readUInt32BE(0), srtp: undefined, srtcp: undefined };
    });
  }

  static async open(options: OriginalPeerOptions): Promise<{ peer: OriginalPeer; answer: string }> {
    const peer = new OriginalPeer(options);
    await Promise.all(peer.#paths.map(({ ice }) => ice.gatherCandidates()));
    const [audio, video] = peer.#paths;
    const portOf = (path: Path | undefined) =>
      path?.ice.localCandidates.find(({ host }) => host === '127.0.0.1')?.port ?? 0;
    const whole = originalAnswer({
      direction: options.direction,
      usernameFragment: audio?.ice.localUsername ?? '',
      password: audio?.ice.localPassword ?? '',
      fingerprint: options.certificate.fingerprint,
      address: '127.0.0.1',
      ports: { audio: portOf(audio), video: portOf(video) },
      ssrcs: { audio: audio?.ssrc ?? 0, video: video?.ssrc ?? 0 },
    });
    const isOffered = (section: string) => !section.startsWith('m=') || options.offer.includes(section.slice(0, 7));
    return {
      peer,
      answer: whole
        .split(/^(?=m=)/m)
        .filter(isOffered)
        .join(''),
    };
  }

  /** The number of connectivity checks that have come since the handshake. */
  get checks(): number {
    return this.#checks;
  }

  /** Connects every section that the answer, in the form in which it was sent, accepts. */
  connect(answer: string): void {
    const sections = this.options.offer.split('\r\nm=').slice(1);
    const accepted = this.#paths.flatMap((path) => {
      const section = sections.find((text) => text.startsWith(path.kind));
      return section === undefined || answer.includes(`\r\nm=${path.kind} 0 `) ? [] : [{ path, section }];
    });
    this.#accepted = accepted.length;
    for (const { path, section } of accepted) this.#connect(path, section);
  }

  send(
    kind: Kind,
    packet: { payloadType: number; sequenceNumber: number; timestamp: number; marker?: boolean; payload: Buffer },
  ): void {
    const path = this.#paths.find((candidate) => candidate.kind === kind);
    if (path?.srtp === undefined) return;
    const { payload, ...rest } = packet;
    const header = new RtpHeader({ ...rest, ssrc: path.ssrc, version: 2 });
    void path.ice.send(path.srtp.encrypt(payload, header));
  }

  sendRtcp(kind: Kind, packet: Buffer): void {
    const path = this.#paths.find((candidate) => candidate.kind === kind);
    if (path?.srtcp !== undefined) void path.ice.send(path.srtcp.encrypt(packet));
  }

  async close(): Promise<void> {
    await Promise.all(this.#paths.map(({ ice }) => ice.close()));
  }

  #connect(path: Path, section: string): void {
    const { ice } = path;
    const valueOf = (name: string) => new RegExp(`a=${name}:(.*)`).exec(section)?.[1] ?? '';
    ice.setRemoteParams({ iceLite: false, usernameFragment: valueOf('ice-ufrag'), password: valueOf('ice-pwd') });
    const candidates = [...section.matchAll(/a=candidate:(.*)/g)].map(([, text = '']) => Candidate.fromSdp(text));
    const { certPem, keyPem, signatureHash } = this.options.certificate;
    const datagrams: ConstructorParameters<typeof DtlsClient>[0]['transport'] = {
      type: 'ice',
      address: { address: '127.0.0.1', family: 'IPv4', port: 0 },
      closed: false,
      onData: () => undefined,
      send: (data) => ice.send(data),
      close: () => Promise.resolve(),
    };
    let lostAtMs: number | undefined;
    ice.onData.subscribe((data) => {
      // The last flight has ChangeCipherSpec and a handshake record in the next epoch.
      const isLastFlight = isDtls(data) && (data[0] === 20 || data.readUInt16BE(3) > 0);
      if (isLastFlight && this.options.losesLastFlight === true) {
        lostAtMs ??= Date.now();
        if (Date.now() - lostAtMs < LAST_FLIGHT_MS) return;
      }
      if (isDtls(data)) datagrams.onData(data, ['', 0]);
      else if (isMedia(data)) this.#receive(path, data);
    });
    const dtls = new DtlsClient({
      ...{ cert: certPem, key: keyPem, signatureHash, transport: datagrams },
      srtpProfiles: [0x0001],
      extendedMasterSecret: true,
    });
    dtls.onConnect.once(() => {
      const { localKey, localSalt, remoteKey, remoteSalt } = dtls.extractSessionKeys(16, 14);
      const keys = {
        ...{ localMasterKey: localKey, localMasterSalt: localSalt },
        ...{ remoteMasterKey: remoteKey, remoteMasterSalt: remoteSalt },
      };
      path.srtp = new SrtpSession({ keys, profile: 0x0001 });
      path.srtcp = new SrtcpSession({ keys, profile: 0x0001 });
      this.#connected += 1;
      if (this.#connected === this.#accepted) this.options.onConnected?.();
    });
    const start = async () => {
      for (const candidate of candidates) await ice.addRemoteCandidate(candidate);
      await ice.addRemoteCandidate(undefined);
      await ice.connect();
      await dtls.connect();
    };
    // A test that ends early closes the peer before it is connected.
    start().catch(() => undefined);
  }

  #receive(path: Path, data: Buffer): void {
    if (path.srtp === undefined || path.srtcp === undefined) return;
    if (isRtcp(data)) {
      for (const packet of RtcpPacketConverter.deSerialize(path.srtcp.decrypt(data)))
        this.options.onRtcp?.(path.kind, packet);
      return;
    }
    if (this.options.loses?.(path.kind, data.readUInt16BE(2)) === true) return;
    this.options.onRtp?.(path.kind, RtpPacket.deSerialize(path.srtp.decrypt(data)));
  }
}
