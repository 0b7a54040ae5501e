import type { Socket } from 'node:dgram';
import type { EndReason, StreamInfo, TappedTrack } from '@weir/contracts';
import { awakeNowMs, type Logger } from '@weir/platform';
import type { Ending, MediaSession } from './media-session.js';
import { bindUdp } from './udp-socket.js';

export type MediumKind = 'audio' | 'video';

export interface Tapped {
  readonly tracks: readonly TappedTrack[];
  /** As its node describes it now. */
  readonly stream: StreamInfo | undefined;
}

type PacketListener = (kind: MediumKind, packet: Buffer) => void;

/** Packets that come before somebody is there to take them. */
const MAX_EARLY_PACKETS = 2_000;

/** Two UDP ports of this process, and what comes to them until somebody takes it. */
export class TapReceiver {
  /** By `awakeNowMs()`. */
  lastPacketMs = awakeNowMs();
  #early: [MediumKind, Buffer][] = [];
  #listener: PacketListener | undefined;
  #sockets: Readonly<Record<MediumKind, Socket>> | undefined;
  #isClosed = false;

  constructor(private readonly ports: { readonly ip: string; readonly log: Logger }) {}

  /** Where to send each medium. */
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

  /** Hands over what has come, and everything that comes. */
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

/** A stream's RTP and RTCP on their way from its node to this process. Its sockets close when it ends. */
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

  /** For how long nothing has come, not counting the time for which this process was paused. */
  get silentMs(): number {
    return awakeNowMs() - this.receiver.lastPacketMs;
  }

  /** Hands over the packets that have come since the tap was opened, up to a bound, and everything that comes. */
  listen(listener: (kind: MediumKind, packet: Buffer) => void): void {
    this.receiver.listen(listener);
  }

  /** Of the stream's source; many requests at once become one. */
  requestKeyFrame(): void {
    this.askForKeyFrame();
  }

  close(reason?: EndReason): Promise<void> {
    return this.session.close(reason);
  }
}
