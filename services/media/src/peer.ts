import { EndReason } from '@weir/contracts';
import type { types as mediasoup } from 'mediasoup';

export interface PeerTimeouts {
  /** ICE and DTLS must be up within this time. */
  connectMs: number;
}

/** The path is given up when ICE has been without a working pair, or DTLS closed by the client, for this long. */
const LOST_GRACE_MS = 2_000;

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

  /**
   * @param onConnected all transports are up; once
   * @param onLost the peer can't be reached any more, or never could; once, unless closed before
   */
  constructor(
    private readonly transports: readonly mediasoup.WebRtcTransport[],
    timeouts: PeerTimeouts,
    private readonly onConnected: () => void,
    private readonly onLost: (reason: EndReason) => void,
  ) {
    this.state = {
      tag: 'connecting',
      timer: setTimeout(() => this.lose(this.timeoutReason()), timeouts.connectMs),
    };
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
    for (const transport of this.transports) transport.close();
  }

  private onTransportChange(): void {
    if (this.state.tag === 'closed') return;
    if (this.transports.some(({ dtlsState }) => dtlsState === 'failed')) {
      this.lose(EndReason.DTLS_FAILED);
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

  private timeoutReason(): EndReason {
    const iceUp = this.transports.every(({ iceState }) => iceState === 'connected' || iceState === 'completed');
    return iceUp ? EndReason.DTLS_FAILED : EndReason.ICE_TIMEOUT;
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
