import { createSocket, type Socket } from 'node:dgram';

/** A key frame of a large picture comes at once. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

/** A UDP port for RTP and RTCP to and from a media node. */
export class RtpSocket {
  private constructor(
    private readonly socket: Socket,
    readonly ip: string,
    readonly port: number,
  ) {}

  /** @param peer where packets go to, and from where alone they come; without it they come from anywhere */
  static open(ip: string, peer?: { readonly ip: string; readonly port: number }): Promise<RtpSocket> {
    return new Promise((resolve, reject) => {
      const type = ip.includes(':') ? 'udp6' : 'udp4';
      const socket = createSocket({ type, recvBufferSize: RECEIVE_BUFFER_BYTES });
      const opened = () => {
        socket.off('error', reject);
        // An ICMP error of a datagram: what matters is told by the session's events.
        socket.on('error', () => undefined);
        resolve(new RtpSocket(socket, ip, socket.address().port));
      };
      socket.once('error', reject);
      socket.bind(0, ip, () => {
        if (peer === undefined) opened();
        else socket.connect(peer.port, peer.ip, opened);
      });
    });
  }

  onPacket(listener: (packet: Buffer) => void): void {
    this.socket.on('message', listener);
  }

  /** To the peer. */
  send(packet: Buffer): void {
    this.socket.send(packet);
  }

  close(): void {
    this.socket.removeAllListeners('message');
    this.socket.close();
  }
}
