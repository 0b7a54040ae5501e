import type { Socket } from 'node:dgram';
import type { RtpAddress, TrackInfo } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import type { MediaSession } from './media-session.js';
import { connectUdp } from './udp-socket.js';

/** A track that this process will send as RTP. */
export interface FedTrack {
  readonly payloadType: number;
  readonly ssrc: number;
  readonly track: Pick<TrackInfo, 'kind' | 'codec' | 'clockRate' | 'channels' | 'parameters'>;
}

/** The path of one track into the media core. */
export interface FeedPath {
  /** Sends an RTP or RTCP packet. */
  send(packet: Buffer): void;
  /** Listens to the media core's RTCP. */
  onPacket(listener: (packet: Buffer) => void): void;
}

/** A stream that this process provides as RTP. The paths are in the order of its tracks and close when it ends. */
export type Feed = MediaSession<readonly FeedPath[]>;

/** The UDP sockets of a feed, each connected to the address that the media core named. */
export class FeedSockets {
  readonly #sockets: Socket[] = [];
  #isClosed = false;

  constructor(private readonly ports: { readonly ip: string; readonly log: Logger }) {}

  async connect(addresses: readonly RtpAddress[]): Promise<readonly FeedPath[]> {
    return Promise.all(addresses.map((address) => this.#connect(address)));
  }

  close(): void {
    this.#isClosed = true;
    for (const socket of this.#sockets.splice(0)) socket.close();
  }

  async #connect(to: RtpAddress): Promise<FeedPath> {
    const socket = await connectUdp(this.ports.ip, to);
    // The node has stopped listening; the end of the session reports that.
    socket.on('error', (error) => this.ports.log.debug({ err: error }, 'a packet of a feed was not taken'));
    this.#sockets.push(socket);
    if (this.#isClosed) this.close();
    return {
      send: (packet) => {
        if (!this.#isClosed) socket.send(packet);
      },
      onPacket: (listener) => {
        socket.on('message', (packet) => {
          if (!this.#isClosed) listener(packet);
        });
      },
    };
  }
}
