import type { Socket } from 'node:dgram';
import type { EndReason, StreamInfo, TappedTrack } from '@weir/contracts';
import { awakeNowMs, type Logger } from '@weir/platform';
import type { Ending, MediaSession } from './media-session.js';
import { bindUdp } from './udp-socket.js';

export type MediumKind = 'audio' | 'video';

export interface Tapped {
  readonly tracks: readonly TappedTrack[];
  /** The stream as its node describes it now. */
  readonly stream: StreamInfo | undefined;
}

type PacketListener = (kind: MediumKind, packet: Buffer) => void;

/** How many packets are kept until a listener takes them. */
const MAX_EARLY_PACKETS = 2_000;

/** Two UDP ports of this process. Packets are kept until a listener takes them. */
export class TapReceiver {
  /** Measured by `awakeNowMs()`. */
  lastPacketMs = awakeNowMs();
  #early: [MediumKind, Buffer][] = [];
  #listener: PacketListener | undefined;
  #sockets: Readonly<Record<MediumKind, Socket>> | undefined;
  #isClosed = false;

  constructor(private readonly ports: { readonly ip: string; readonly log: Logger }) {}

  /** Opens the ports and returns where to send each medium. */
  async bind(): Promise<Readonly<Record<MediumKind, { readonly ip: string; readonly port: number }>>> {
    const { ip } = this.ports;
    const video = await bindUdp(ip);
    const audio = await bindUdp(ip).catch((error: unknown) => {
      video.close();
      throw error;
    });
    this.#sockets = { audio, video };
    this.#receive('audio', audio);
    this.#receive('video', video);
    const addresses = { audio: { ip, port: audio.address().port }, video: { ip, port: video.address().port } };
    if (this.#isClosed) this.#closeSockets();
    return addresses;
  }

  /** Passes on the packets that have arrived and all later ones. */
  listen(listener: PacketListener): void {
    const early = this.#early;
    this.#early = [];
    this.#listener = listener;
    for (const [kind, packet] of early) this.#take(kind, packet);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#early = [];
    this.#closeSockets();
  }

  #closeSockets(): void {
    this.#sockets?.audio.close();
    this.#sockets?.video.close();
  }

  #receive(kind: MediumKind, socket: Socket): void {
    socket.on('message', (packet) => {
      this.lastPacketMs = awakeNowMs();
      this.#take(kind, packet);
    });
    socket.on('error', (error) => this.ports.log.warn({ err: error, kind }, 'an RTP socket failed'));
  }

  #take(kind: MediumKind, packet: Buffer): void {
    if (this.#isClosed) return;
    if (this.#listener !== undefined) this.#listener(kind, packet);
    else if (this.#early.length < MAX_EARLY_PACKETS) this.#early.push([kind, packet]);
  }
}

/** Receives a stream's RTP and RTCP from its node. Its sockets close when it ends. */
export class Tap implements MediaSession<Tapped> {
  constructor(
    private readonly session: MediaSession<Tapped>,
    private readonly receiver: TapReceiver,
    private readonly askForKeyFrame: () => void,
  ) {}

  get sessionId(): string {
    return this.session.sessionId;
  }

  get nodeId(): string | undefined {
    return this.session.nodeId;
  }

  get isOpen(): boolean {
    return this.session.isOpen;
  }

  get opened(): Promise<Tapped> {
    return this.session.opened;
  }

  get ended(): Promise<Ending> {
    return this.session.ended;
  }

  /** How long no packet has arrived, not counting the time during which this process was paused. */
  get silentMs(): number {
    return awakeNowMs() - this.receiver.lastPacketMs;
  }

  /** Passes on the packets that have arrived since the tap was opened, up to a limit, and all later ones. */
  listen(listener: (kind: MediumKind, packet: Buffer) => void): void {
    this.receiver.listen(listener);
  }

  /** Asks the stream's source for a key frame; many requests at the same time become one. */
  requestKeyFrame(): void {
    this.askForKeyFrame();
  }

  close(reason?: EndReason): Promise<void> {
    return this.session.close(reason);
  }
}
