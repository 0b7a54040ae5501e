import { EndReason } from '@weir/contracts';
import type { types as mediasoup } from 'mediasoup';

export interface PeerTimeouts {
  /** ICE and DTLS must be up within this time. */
  connectMs: number;
  /** A client that has been silent for this long is gone. This is noticed at most a sixth of the time later. */
  consentMs: number;
}

/** The path is given up when for this long ICE has had no working pair, or the client has closed DTLS. */
const LOST_GRACE_MS = 2_000;

const LOOKS_PER_CONSENT = 6;

/**
 * Tells whether the client of one transport still sends something. Consent (RFC 7675) keeps media from going to clients
 * that don't want them. Authenticated SRTP and SRTCP prove consent as well as a STUN check does, and some clients send
 * no checks. mediasoup's own consent counts only checks; its byte counter counts everything else. Silence is measured
 * in looks, not in time, so that a pause of this process doesn't count as silence of the client.
 */
export class ClientVoice {
  #receivedBytes: number | undefined;
  #silentLooks = 0;
  #hasSpoken = false;

  /** @param receivedBytes the bytes that have come so far, without STUN */
  look(receivedBytes: number): void {
    const isNews = this.#receivedBytes !== undefined && receivedBytes !== this.#receivedBytes;
    this.#receivedBytes = receivedBytes;
    if (isNews) this.#hasSpoken = true;
    this.#silentLooks = isNews ? 0 : this.#silentLooks + 1;
  }

  /** False for a client that has sent nothing since its handshake: it may have nothing to report. */
  get isLost(): boolean {
    return this.#hasSpoken && this.#silentLooks >= LOOKS_PER_CONSENT;
  }
}

type PeerState =
  | { tag: 'connecting'; timer: NodeJS.Timeout }
  | { tag: 'connected' }
  /** The path is broken. For a moment it may come back, or the client may say why it left. */
  | { tag: 'breaking'; timer: NodeJS.Timeout }
  | { tag: 'closed' };

/** The link on which a publisher's media come. */
export interface SourceLink {
  readonly connected: boolean;
  readonly broken: boolean;
  close(): void;
}

/** The connection to one WebRTC client: its transports, from the handshake until the path is lost. */
export class WebRtcPeer implements SourceLink {
  #state: PeerState;
  readonly #voices: ReadonlyMap<mediasoup.WebRtcTransport, ClientVoice>;
  #looker: NodeJS.Timeout | undefined;
  #isLooking = false;

  /**
   * @param onConnected called once, when all transports are up
   * @param onLost called once, when the peer is lost or never connects; not after `close`
   */
  constructor(
    private readonly transports: readonly mediasoup.WebRtcTransport[],
    private readonly timeouts: PeerTimeouts,
    private readonly onConnected: () => void,
    private readonly onLost: (reason: EndReason) => void,
  ) {
    this.#state = {
      tag: 'connecting',
      timer: setTimeout(() => void this.#loseUnconnected(), timeouts.connectMs),
    };
    this.#voices = new Map(transports.map((transport) => [transport, new ClientVoice()]));
    for (const transport of transports) {
      transport.on('icestatechange', () => this.#onTransportChange());
      transport.on('dtlsstatechange', () => this.#onTransportChange());
    }
  }

  get connected(): boolean {
    return this.#state.tag === 'connected';
  }

  /** The client can't be reached at this moment. */
  get broken(): boolean {
    return this.#state.tag === 'breaking' || this.#state.tag === 'closed';
  }

  close(): void {
    this.#enter({ tag: 'closed' });
    clearInterval(this.#looker);
    for (const transport of this.transports) transport.close();
  }

  #onTransportChange(): void {
    if (this.#state.tag === 'closed') return;
    if (this.transports.some(({ dtlsState }) => dtlsState === 'failed')) {
      void this.#loseUnconnected();
      return;
    }
    const broken = this.transports.some(
      ({ iceState, dtlsState }) => iceState === 'disconnected' || iceState === 'closed' || dtlsState === 'closed',
    );
    const up = this.transports.every(({ dtlsState }) => dtlsState === 'connected') && !broken;
    switch (this.#state.tag) {
      case 'connecting':
        if (!up) return;
        this.#enter({ tag: 'connected' });
        this.#looker = setInterval(() => void this.#look(), this.timeouts.consentMs / LOOKS_PER_CONSENT);
        this.onConnected();
        return;
      case 'connected':
        if (broken)
          this.#enter({ tag: 'breaking', timer: setTimeout(() => this.#lose(EndReason.ICE_LOST), LOST_GRACE_MS) });
        return;
      case 'breaking':
        if (up) this.#enter({ tag: 'connected' });
        return;
      default:
        this.#state satisfies never;
    }
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      for (const [transport, voice] of this.#voices) voice.look(await receivedBytes(transport));
      if ([...this.#voices.values()].some((voice) => voice.isLost)) this.#lose(EndReason.ICE_LOST);
    } catch {
      // The transport was just closed, or its worker doesn't answer. Neither says anything about the client.
    } finally {
      this.#isLooking = false;
    }
  }

  /**
   * Called when a handshake has failed or takes too long. A client whose packets arrive, but that gets none of ours,
   * sends STUN checks and never begins DTLS. So when nothing but STUN has come, ICE has failed, not DTLS.
   */
  async #loseUnconnected(): Promise<void> {
    const waiting = this.transports.filter(({ dtlsState }) => dtlsState !== 'connected');
    const received = await Promise.all(waiting.map((transport) => receivedBytes(transport).catch(() => 0)));
    this.#lose(received.some((bytes) => bytes > 0) ? EndReason.DTLS_FAILED : EndReason.ICE_TIMEOUT);
  }

  #lose(reason: EndReason): void {
    if (this.#state.tag === 'closed') return;
    this.close();
    this.onLost(reason);
  }

  #enter(state: PeerState): void {
    if ('timer' in this.#state) clearTimeout(this.#state.timer);
    this.#state = state;
  }
}

/** The bytes from a transport's client, without STUN: mediasoup doesn't count STUN on a port that clients share. */
async function receivedBytes(transport: mediasoup.WebRtcTransport): Promise<number> {
  const [stats] = await transport.getStats();
  return stats?.bytesReceived ?? 0;
}

/** The RTP that another service sends to this node's plain transports. It is connected from its first packet on. */
export class FeedLink implements SourceLink {
  #up = false;

  constructor(
    private readonly transports: readonly mediasoup.PlainTransport[],
    onConnected: () => void,
  ) {
    for (const transport of transports)
      transport.once('tuple', () => {
        if (this.#up) return;
        this.#up = true;
        onConnected();
      });
  }

  get connected(): boolean {
    return this.#up;
  }

  get broken(): boolean {
    return false;
  }

  close(): void {
    for (const transport of this.transports) transport.close();
  }
}
