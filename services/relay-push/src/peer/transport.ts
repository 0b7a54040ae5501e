import { createHash, randomBytes } from 'node:crypto';
import {
  Candidate,
  candidatePriority,
  CipherContext,
  classes,
  Connection,
  DtlsClient,
  DtlsServer,
  HashAlgorithm,
  Message,
  methods,
  NamedCurveAlgorithm,
  SignatureAlgorithm,
  type DtlsSocket,
  type Transport as DatagramTransport,
} from 'werift';
import { isRtcp } from '@weir/frames';
import { awakeNowMs } from '@weir/platform';
import type { LocalTransport, RemoteCandidate, RemoteTransport } from '@weir/sdp';
import { SRTP_PROFILES, SrtpReceiver, SrtpSender, type SrtpProfile } from './srtp.js';

export type TransportEnd = 'ice-failed' | 'ice-lost' | 'dtls-failed' | 'dtls-timeout' | 'dtls-closed';

export interface TransportListener {
  /** ICE and DTLS are up, so media may be sent. */
  connected(): void;
  rtp(packet: Buffer): void;
  rtcp(packet: Buffer): void;
  /** Called at most once, and not after `close`. */
  ended(end: TransportEnd, detail: string): void;
}

/** One certificate serves the whole process: it identifies this process, not a connection. */
export type Certificate = Awaited<ReturnType<typeof CipherContext.createSelfSignedCertificateWithKey>> & {
  readonly fingerprint: string;
};

const hexPairs = (digest: Buffer): string => (digest.toString('hex').toUpperCase().match(/../g) ?? []).join(':');

const hashOf = (algorithm: string, certificate: Buffer): string =>
  hexPairs(createHash(algorithm.replace('-', '')).update(certificate).digest());

export const createCertificate = async (): Promise<Certificate> => {
  const made = await CipherContext.createSelfSignedCertificateWithKey(
    { signature: SignatureAlgorithm.ecdsa_3, hash: HashAlgorithm.sha256_4 },
    NamedCurveAlgorithm.secp256r1_23,
  );
  const base64 = made.certPem.replace(/-----[A-Z ]+-----|\s/g, '');
  return { ...made, fingerprint: hashOf('sha-256', Buffer.from(base64, 'base64')) };
};

export interface TransportOptions {
  readonly certificate: Certificate;
  readonly listener: TransportListener;
  /**
   * The same for all transports of a peer, because servers that don't bundle expect one pair of user name and password.
   */
  readonly usernameFragment: string;
  readonly password: string;
  /** The local address from which this process reaches the remote; the offer names no other. */
  readonly localAddress: string;
  readonly dtlsTimeoutMs: number;
}

/**
 * How often we send a connectivity check to show the remote that we are still there. The library sends one every four
 * to six seconds and never repeats a lost one. A server that waits 15 s for the next check, as weir does, would then
 * treat a cut of 10 s as our end.
 */
const SIGN_OF_LIFE_INTERVAL_MS = 1_000;
/** A path with a longer round trip isn't usable. */
const ANSWER_TIMEOUT_MS = 5_000;
/** A flight has several datagrams; within this time a repeated flight is answered only once. */
const FLIGHT_PAUSE_MS = 200;

const isSrtpProfile = (profile: number | undefined): profile is SrtpProfile =>
  Object.values(SRTP_PROFILES).some((known) => known === profile);

const isDtls = (packet: Buffer): boolean => packet[0] !== undefined && packet[0] > 19 && packet[0] < 64;
/** Whether the packet is an alert in an epoch that has keys. */
const isEncryptedAlert = (packet: Buffer): boolean =>
  packet.length > 13 && packet[0] === 21 && packet.readUInt16BE(3) > 0;
const isMedia = (packet: Buffer): boolean => packet[0] !== undefined && packet[0] > 127 && packet[0] < 192;

/** One path to the remote: a full ICE agent in the controlling role, DTLS over it, and the keys for SRTP. */
export class Transport {
  readonly #ice: Connection;
  #dtls: DtlsSocket | undefined;
  #sender: SrtpSender | undefined;
  #receiver: SrtpReceiver | undefined;
  #dtlsTimer: NodeJS.Timeout | undefined;
  #signOfLifeTimer: NodeJS.Timeout | undefined;
  #heardAtMs: number | undefined;
  readonly #tieBreaker = randomBytes(8).readBigUInt64BE();
  #isClosed = false;

  constructor(private readonly options: TransportOptions) {
    const isIpv6 = options.localAddress.includes(':');
    this.#ice = new Connection(true, {
      iceLite: false,
      useTcp: false,
      useIpv4: !isIpv6,
      useIpv6: isIpv6,
      additionalHostAddresses: [options.localAddress],
      // There is one socket, which isn't bound to an address: the system picks the source address for each candidate.
      filterCandidatePair: ({ protocol }) => protocol.localIp === options.localAddress,
    });
    // Otherwise the library would ask its default, a public STUN server, for our address.
    this.#ice.stunServer = undefined;
    this.#ice.localUsername = options.usernameFragment;
    this.#ice.localPassword = options.password;
    this.#ice.onData.subscribe((packet) => this.#receive(packet));
    this.#ice.stateChanged.subscribe((state) => {
      if (state === 'failed' && this.#dtls?.connected === true)
        this.#end('ice-lost', 'The path to the server has failed');
    });
  }

  async gather(): Promise<LocalTransport> {
    await this.#ice.gatherCandidates();
    return {
      usernameFragment: this.options.usernameFragment,
      password: this.options.password,
      fingerprint: this.options.certificate.fingerprint,
      candidates: this.#ice.localCandidates
        .filter(({ host }) => host === this.options.localAddress)
        .map(({ foundation, priority, host, port, type }) => ({ foundation, priority, address: host, port, type })),
    };
  }

  /** Starts ICE and DTLS with the permitted ones of the remote's candidates. */
  connect(remote: RemoteTransport, candidates: readonly RemoteCandidate[]): void {
    this.#ice.setRemoteParams({
      iceLite: remote.iceLite,
      usernameFragment: remote.usernameFragment,
      password: remote.password,
    });
    this.#startDtls(remote);
    this.#connectIce(candidates).catch((error: unknown) => {
      this.#end('ice-failed', error instanceof Error ? error.message : String(error));
    });
  }

  get rttMs(): number | undefined {
    const seconds = this.#ice.nominated?.rtt;
    return seconds === undefined ? undefined : seconds * 1_000;
  }

  /** How long nothing has come from the remote, neither media nor an answer to a check; 0 before ICE is up. */
  get silentMs(): number {
    return this.#heardAtMs === undefined ? 0 : awakeNowMs() - this.#heardAtMs;
  }

  /** Returns the protected packet, which may be sent several times; undefined before `connected`. */
  protectRtp(header: Buffer, payload: Buffer): Buffer | undefined {
    return this.#sender?.protectRtp(header, payload);
  }

  sendProtected(packet: Buffer): void {
    // Always resolves, whatever happens to the datagram.
    void this.#ice.send(packet);
  }

  sendRtcp(packet: Buffer): void {
    if (this.#sender !== undefined) void this.#ice.send(this.#sender.protectRtcp(packet));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#dtlsTimer);
    clearInterval(this.#signOfLifeTimer);
    await this.#ice.close();
  }

  async #connectIce(candidates: readonly RemoteCandidate[]): Promise<void> {
    for (const { foundation, priority, address, port, type } of candidates)
      await this.#ice.addRemoteCandidate(new Candidate(foundation, 1, 'udp', priority, address, port, type));
    await this.#ice.addRemoteCandidate(undefined);
    await this.#ice.connect();
    if (this.#isClosed) return;
    this.#heard();
    this.#signOfLifeTimer = setInterval(() => void this.#check(), SIGN_OF_LIFE_INTERVAL_MS);
    this.#dtlsTimer = setTimeout(
      () => this.#end('dtls-timeout', 'The server did not finish the DTLS handshake'),
      this.options.dtlsTimeoutMs,
    );
    if (this.#dtls instanceof DtlsClient) await this.#dtls.connect();
  }

  /**
   * DTLS listens before ICE is done, because the remote may send its first flight as soon as it has received our check.
   */
  #startDtls(remote: RemoteTransport): void {
    const { certPem, keyPem, signatureHash } = this.options.certificate;
    const common = {
      ...{ cert: certPem, key: keyPem, signatureHash },
      transport: this.#datagrams(remote.setup !== 'passive'),
      srtpProfiles: [SRTP_PROFILES.aesGcm, SRTP_PROFILES.aesCmSha1],
      extendedMasterSecret: true,
    };
    // A server without `a=setup` is the DTLS client, as the original is.
    const dtls =
      remote.setup === 'passive' ? new DtlsClient(common) : new DtlsServer({ ...common, certificateRequest: true });
    this.#dtls = dtls;
    dtls.onConnect.once(() => this.#secured(dtls, remote));
    dtls.onError.subscribe((error) => this.#end('dtls-failed', error.message));
    dtls.onClose.subscribe(() => this.#end('dtls-closed', 'The server closed the DTLS connection'));
  }

  #secured(dtls: DtlsSocket, remote: RemoteTransport): void {
    clearTimeout(this.#dtlsTimer);
    const certificate = dtls.remoteCertificate;
    const isKnown =
      certificate !== undefined &&
      remote.fingerprints.some(({ algorithm, value }) => hashOf(algorithm, certificate) === value);
    if (!isKnown) return this.#end('dtls-failed', "The server's certificate is not the one it named");
    const profile = dtls.srtp.srtpProfile;
    if (!isSrtpProfile(profile)) return this.#end('dtls-failed', 'No SRTP profile was agreed on');
    const keys = dtls.extractSessionKeys(16, profile === SRTP_PROFILES.aesGcm ? 12 : 14);
    this.#sender = new SrtpSender({ profile, masterKey: keys.localKey, masterSalt: keys.localSalt });
    this.#receiver = new SrtpReceiver({ profile, masterKey: keys.remoteKey, masterSalt: keys.remoteSalt });
    this.options.listener.connected();
  }

  /** Sends one connectivity check and doesn't repeat it. The library decides when the remote counts as gone. */
  async #check(): Promise<void> {
    const { localUsername, remoteUsername, remotePassword, nominated } = this.#ice;
    if (nominated === undefined) return;
    const check = new Message(methods.BINDING, classes.REQUEST)
      .setAttribute('USERNAME', `${remoteUsername}:${localUsername}`)
      .setAttribute('PRIORITY', candidatePriority('prflx'))
      .setAttribute('ICE-CONTROLLING', this.#tieBreaker);
    const { protocol, remoteAddr } = nominated;
    const once = { retransmissions: 0, responseTimeout: ANSWER_TIMEOUT_MS };
    await protocol.request(check, remoteAddr, Buffer.from(remotePassword), once).then(
      () => this.#heard(),
      () => undefined,
    );
  }

  #heard(): void {
    this.#heardAtMs = awakeNowMs();
  }

  #receive(packet: Buffer): void {
    if (this.#receiver === undefined || !isMedia(packet)) return;
    const isControl = isRtcp(packet);
    const plain = isControl ? this.#receiver.unprotectRtcp(packet) : this.#receiver.unprotectRtp(packet);
    if (plain === undefined) return;
    this.#heard();
    if (isControl) this.options.listener.rtcp(plain);
    else this.options.listener.rtp(plain);
  }

  /**
   * The datagrams of the handshake. A server's last flight may be lost, and the library doesn't send it again; so this
   * sends it again when the client repeats its own. Once connected, only encrypted alerts come through, so that no
   * outsider can close or renegotiate the connection.
   */
  #datagrams(isServer: boolean): DatagramTransport {
    let lastFlight: Buffer[] = [];
    let isFlightOver = false;
    let repeatedAtMs = 0;
    const datagrams: DatagramTransport = {
      type: 'ice',
      address: { address: this.options.localAddress, family: 'IPv4', port: 0 },
      closed: false,
      onData: () => undefined,
      send: (data) => {
        if (isFlightOver) lastFlight = [];
        isFlightOver = false;
        lastFlight.push(data);
        return this.#ice.send(data);
      },
      close: () => Promise.resolve(),
    };
    this.#ice.onData.subscribe((packet) => {
      if (!isDtls(packet) || this.#isClosed) return;
      if (this.#sender === undefined) {
        isFlightOver = true;
        datagrams.onData(packet, ['', 0]);
      } else if (isEncryptedAlert(packet)) {
        datagrams.onData(packet, ['', 0]);
      } else if (isServer && Date.now() - repeatedAtMs >= FLIGHT_PAUSE_MS) {
        repeatedAtMs = Date.now();
        for (const datagram of lastFlight) void this.#ice.send(datagram);
      }
    });
    return datagrams;
  }

  #end(end: TransportEnd, detail: string): void {
    if (this.#isClosed) return;
    this.options.listener.ended(end, detail);
  }
}
