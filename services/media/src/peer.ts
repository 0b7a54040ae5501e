import { EndReason } from '@weir/contracts';
import type { types as mediasoup } from 'mediasoup';

export interface PeerTimeouts {
  /** ICE and DTLS must be up within this time. */
  connectMs: number;
  /** A client that has been silent for this long is gone. It is noticed a sixth of this time later at most. */
  consentMs: number;
}

/** The path is given up when ICE has been without a working pair, or DTLS closed by the client, for this long. */
const LOST_GRACE_MS = 2_000;

const LOOKS_PER_CONSENT = 6;

/**
 * Whether the client of one transport still sends something. Consent (RFC 7675) keeps media from going to clients that
 * don't want them. Authenticated SRTP and SRTCP prove it as well as a STUN check does, and some clients send no checks.
 * mediasoup's own consent counts checks alone; its byte counter counts everything else. Silence is measured in looks, not
 * in time, so that a pause of this process isn't counted as a client's silence.
 */
export class ClientVoice {
  private receivedBytes: number | undefined;
  private silentLooks = 0;
  private hasSpoken = false;

  /** @param receivedBytes what has come so far, STUN left out */
  look(receivedBytes: number): void {
    const isNews = this.receivedBytes !== undefined && receivedBytes !== this.receivedBytes;
    this.receivedBytes = receivedBytes;
    if (isNews) this.hasSpoken = true;
    this.silentLooks = isNews ? 0 : this.silentLooks + 1;
  }

  /** A client that has sent nothing at all since its handshake may have nothing to report, so it isn't judged. */
  get isLost(): boolean {
    return this.hasSpoken && this.silentLooks >= LOOKS_PER_CONSENT;
  }
}

type PeerState =
  | { tag: 'connecting'; timer: NodeJS.Timeout }
  | { tag: 'connected' }
  /** The path has broken; it has a moment to come back, and the client one to say why. */
  | { tag: 'breaking'; timer: NodeJS.Timeout }
  | { tag: 'closed' };

/** How a publisher's media come here. */
export interface SourceLink {
  readonly connected: boolean;
  readonly broken: boolean;
  close(): void;
}

/** The connection to one WebRTC client: its transports, from the handshake to the loss of the path. */
export class WebRtcPeer implements SourceLink {
  private state: PeerState;
  private readonly voices: ReadonlyMap<mediasoup.WebRtcTransport, ClientVoice>;
  private looker: NodeJS.Timeout | undefined;
  private isLooking = false;

  /**
   * @param onConnected all transports are up; once
   * @param onLost the peer can't be reached any more, or never could; once, unless closed before
   */
  constructor(
    private readonly transports: readonly mediasoup.WebRtcTransport[],
    private readonly timeouts: PeerTimeouts,
    private readonly onConnected: () => void,
    private readonly onLost: (reason: EndReason) => void,
  ) {
    this.state = {
      tag: 'connecting',
      timer: setTimeout(() => void this.loseUnconnected(), timeouts.connectMs),
    };
    this.voices = new Map(transports.map((transport) => [transport, new ClientVoice()]));
    for (const transport of transports) {
      transport.on('icestatechange', () => this.onTransportChange());
      transport.on('dtlsstatechange', () => this.onTransportChange());
    }
  }

  get connected(): boolean {
    return this.state.tag === 'connected';
  }

  /** The client can't be reached at this moment. */
  get broken(): boolean {
    return this.state.tag === 'breaking' || this.state.tag === 'closed';
  }

  close(): void {
    this.enter({ tag: 'closed' });
    clearInterval(this.looker);
    for (const transport of this.transports) transport.close();
  }

  private onTransportChange(): void {
    if (this.state.tag === 'closed') return;
    if (this.transports.some(({ dtlsState }) => dtlsState === 'failed')) {
      void this.loseUnconnected();
      return;
    }
    const broken = this.transports.some(
      ({ iceState, dtlsState }) => iceState === 'disconnected' || iceState === 'closed' || dtlsState === 'closed',
    );
    const up = this.transports.every(({ dtlsState }) => dtlsState === 'connected') && !broken;
    switch (this.state.tag) {
      case 'connecting':
        if (!up) return;
        this.enter({ tag: 'connected' });
        this.looker = setInterval(() => void this.look(), this.timeouts.consentMs / LOOKS_PER_CONSENT);
        this.onConnected();
        return;
      case 'connected':
        if (broken)
          this.enter({ tag: 'breaking', timer: setTimeout(() => this.lose(EndReason.ICE_LOST), LOST_GRACE_MS) });
        return;
      case 'breaking':
        if (up) this.enter({ tag: 'connected' });
        return;
      default:
        this.state satisfies never;
    }
  }

  private async look(): Promise<void> {
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      for (const [transport, voice] of this.voices) voice.look(await receivedBytes(transport));
      if ([...this.voices.values()].some((voice) => voice.isLost)) this.lose(EndReason.ICE_LOST);
    } catch {
      // The transport has just been closed, or its worker doesn't answer: neither says anything about the client.
    } finally {
      this.isLooking = false;
    }
  }

  /**
   * A handshake has failed or takes too long. When packets arrive from the client but none reach it, it sends STUN checks
   * and never begins with DTLS: that is a failure of ICE, not of DTLS.
   */
  private async loseUnconnected(): Promise<void> {
    const waiting = this.transports.filter(({ dtlsState }) => dtlsState !== 'connected');
    const received = await Promise.all(waiting.map((transport) => receivedBytes(transport).catch(() => 0)));
    this.lose(received.some((bytes) => bytes > 0) ? EndReason.DTLS_FAILED : EndReason.ICE_TIMEOUT);
  }

  private lose(reason: EndReason): void {
    if (this.state.tag === 'closed') return;
    this.close();
    this.onLost(reason);
  }

  private enter(state: PeerState): void {
    if ('timer' in this.state) clearTimeout(this.state.timer);
    this.state = state;
  }
}

/** What has come from a transport's client, STUN left out: mediasoup doesn't count what comes to a port of many clients. */
async function receivedBytes(transport: mediasoup.WebRtcTransport): Promise<number> {
  const [stats] = await transport.getStats();
  return stats?.bytesReceived ?? 0;
}

/** RTP that another service sends to plain transports of ours; it is connected from its first packet on. */
export class FeedLink implements SourceLink {
  private up = false;

  constructor(
    private readonly transports: readonly mediasoup.PlainTransport[],
    onConnected: () => void,
  ) {
    for (const transport of transports)
      transport.once('tuple', () => {
        if (this.up) return;
        this.up = true;
        onConnected();
      });
  }

  get connected(): boolean {
    return this.up;
  }

  get broken(): boolean {
    return false;
  }

  close(): void {
    for (const transport of this.transports) transport.close();
  }
}
