import { Buffer } from 'node:buffer';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { AnnouncedTrack, SdpTrack } from '@weir/sdp';
import { encodeInterleaved, encodeResponse, RtspDecoder } from '../src/codec.js';
import { serverDeadlineMs, startServer, stepServer } from '../src/server-machine.js';
import type {
  HostAnswer,
  OpenTrack,
  ServerConfig,
  ServerEffect,
  ServerInput,
  ServerState,
} from '../src/server-state.js';
import type { PortPair } from '../src/transport-header.js';
import type { AccessPolicy } from './access.js';
import { Transcript } from './transcript.js';

export interface LoopbackOptions {
  readonly config?: Partial<ServerConfig>;
  readonly authorise?: AccessPolicy;
  /** Drops what a player would receive over UDP, as a firewall does. */
  readonly udpIsBlocked?: boolean;
}

export interface ReflectedStream {
  readonly tracks: readonly SdpTrack[];
  readonly players: Set<Connection>;
  packets: number;
  rtcpPackets: number;
}

/** The smallest host of the server machine: what a publisher sends goes to every player of that path. */
export class LoopbackServer {
  readonly streams = new Map<string, ReflectedStream>();
  readonly connections: Connection[] = [];
  #server: Server;

  private constructor(
    server: Server,
    readonly options: LoopbackOptions,
  ) {
    this.#server = server;
  }

  static async listen(options: LoopbackOptions = {}): Promise<LoopbackServer> {
    const server = createServer({ noDelay: true });
    const loopback = new LoopbackServer(server, options);
    server.on('connection', (socket) => loopback.connections.push(new Connection(socket, loopback)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return loopback;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return address.port;
  }

  url(path: string, user = ''): string {
    return `rtsp://${user}127.0.0.1:${this.port}/${path}`;
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.input({ tag: 'stop', cause: 'shutdown' });
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }
}

export class Connection {
  readonly transcript = new Transcript();
  readonly effects: ServerEffect['tag'][] = [];
  /** The first reason that end-session or close gave. */
  ended: string | undefined;
  #state: ServerState;
  #decoder = new RtspDecoder();
  #timer: NodeJS.Timeout | undefined;
  #ports = new Map<number, UdpPair>();
  #playing: { readonly stream: ReflectedStream; readonly tracks: readonly OpenTrack[] } | undefined;
  #released = false;
  #publishing: string | undefined;
  #announced: readonly SdpTrack[] = [];

  constructor(
    readonly socket: Socket,
    readonly server: LoopbackServer,
  ) {
    this.#state = startServer(
      { sessionId: '5E55107', nonce: '0123456789abcdef', ...server.options.config },
      Date.now(),
    );
    socket.on('data', (bytes) => {
      this.transcript.bytes('client', bytes);
      for (const event of this.#decoder.push(bytes)) this.input({ tag: 'received', event });
    });
    socket.on('error', () => this.input({ tag: 'disconnected' }));
    socket.on('close', () => this.input({ tag: 'disconnected' }));
    this.#arm();
  }

  get phase(): ServerState['phase'] {
    return this.#state.phase;
  }

  input(input: ServerInput): void {
    const { state, effects } = stepServer(this.#state, input, Date.now());
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    this.#arm();
  }

  deliver(track: number, kind: 'rtp' | 'rtcp', data: Buffer): void {
    const open = this.#playing?.tracks.find((candidate) => candidate.track === track);
    if (!open || !this.#released) return;
    if (open.transport.tag === 'tcp') {
      this.socket.write(encodeInterleaved(open.transport.channels[kind], data));
    } else if (!this.server.options.udpIsBlocked) {
      this.#ports.get(track)?.send(kind, data, open.transport.clientPorts);
    }
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const deadlineMs = serverDeadlineMs(this.#state);
    if (deadlineMs === undefined) return;
    this.#timer = setTimeout(() => this.input({ tag: 'tick' }), Math.max(0, deadlineMs - Date.now()) + 1);
  }

  #answer(id: number, answer: HostAnswer): void {
    queueMicrotask(() => this.input({ tag: 'answered', id, answer }));
  }

  #perform(effect: ServerEffect): void {
    this.effects.push(effect.tag);
    switch (effect.tag) {
      case 'send': {
        const bytes = encodeResponse(effect.response);
        this.transcript.bytes('server', bytes);
        if (this.socket.writable) this.socket.write(bytes);
        break;
      }
      case 'authorise':
        this.#answer(effect.id, this.server.options.authorise?.(effect, Date.now()) ?? { tag: 'accepted' });
        break;
      case 'describe':
        this.#answer(effect.id, this.#describe(effect.path));
        break;
      case 'announce':
        this.#announced = effect.tracks;
        this.#answer(effect.id, this.#claim(effect.path));
        break;
      case 'open-track':
        void this.#open(effect);
        break;
      case 'close-track':
        this.#ports.get(effect.track)?.close();
        this.#ports.delete(effect.track);
        break;
      case 'start-record':
        this.#record(effect.id, effect.path);
        break;
      case 'start-play':
        this.#play(effect);
        break;
      case 'release-media':
        this.#released = true;
        break;
      case 'pause-play':
        this.#stopPlaying();
        break;
      case 'rtp':
      case 'rtcp':
        this.#reflect(effect.track, effect.tag, effect.data);
        break;
      case 'end-session':
        this.ended ??= effect.reason.tag;
        this.#release();
        break;
      case 'close':
        this.ended ??= effect.reason.tag;
        clearTimeout(this.#timer);
        this.socket.end();
        break;
      default: {
        const never: never = effect;
        throw new Error(`unknown effect ${String(never)}`);
      }
    }
  }

  #describe(path: string): HostAnswer {
    const stream = this.server.streams.get(path);
    if (!stream) return { tag: 'refused', refusal: 'not-found' };
    return { tag: 'described', sessionName: path, tracks: stream.tracks.filter(isMedia) };
  }

  #claim(path: string): HostAnswer {
    return this.server.streams.has(path) ? { tag: 'refused', refusal: 'busy' } : { tag: 'accepted' };
  }

  async #open(effect: Extract<ServerEffect, { tag: 'open-track' }>): Promise<void> {
    const ssrc = 0x1234 + effect.track;
    if (effect.transport.tag === 'tcp') return this.#answer(effect.id, { tag: 'opened', ssrc });
    const pair = await UdpPair.bind((kind, data) => {
      this.input({ tag: 'heard' });
      if (effect.purpose === 'record') this.#reflect(effect.track, kind, data);
    });
    this.#ports.set(effect.track, pair);
    this.#answer(effect.id, { tag: 'opened', serverPorts: pair.ports, ssrc });
  }

  #record(id: number, path: string): void {
    const claim = this.#claim(path);
    if (claim.tag === 'accepted') {
      this.server.streams.set(path, { tracks: this.#announced, players: new Set(), packets: 0, rtcpPackets: 0 });
      this.#publishing = path;
    }
    this.#answer(id, claim);
  }

  #play(effect: Extract<ServerEffect, { tag: 'start-play' }>): void {
    const stream = this.server.streams.get(effect.path);
    if (!stream) return this.#answer(effect.id, { tag: 'refused', refusal: 'not-found' });
    this.#playing = { stream, tracks: effect.tracks };
    stream.players.add(this);
    this.#answer(effect.id, { tag: 'play-ready', origins: [] });
  }

  #reflect(track: number, kind: 'rtp' | 'rtcp', data: Buffer): void {
    const stream = this.#publishing === undefined ? undefined : this.server.streams.get(this.#publishing);
    if (!stream) return;
    if (kind === 'rtp') stream.packets += 1;
    else stream.rtcpPackets += 1;
    for (const player of stream.players) player.deliver(track, kind, data);
  }

  #stopPlaying(): void {
    this.#playing?.stream.players.delete(this);
    this.#playing = undefined;
    this.#released = false;
  }

  #release(): void {
    this.#stopPlaying();
    for (const pair of this.#ports.values()) pair.close();
    this.#ports.clear();
    if (this.#publishing === undefined) return;
    const players = this.server.streams.get(this.#publishing)?.players ?? [];
    this.server.streams.delete(this.#publishing);
    this.#publishing = undefined;
    for (const player of [...players]) player.input({ tag: 'stop', cause: 'stream-ended' });
  }
}

function isMedia(track: SdpTrack): track is SdpTrack & AnnouncedTrack {
  return track.kind !== 'other';
}

/** An even RTP port and the next one for RTCP. */
export class UdpPair {
  private constructor(
    readonly ports: PortPair,
    readonly rtp: UdpSocket,
    readonly rtcp: UdpSocket,
  ) {}

  static async bind(received: (kind: 'rtp' | 'rtcp', data: Buffer) => void): Promise<UdpPair> {
    for (let port = 42_000 + 2 * Math.floor(Math.random() * 5000); ; port = port > 60_000 ? 42_000 : port + 2) {
      const rtp = await boundSocket(port);
      const rtcp = rtp && (await boundSocket(port + 1));
      if (rtp && rtcp) {
        rtp.on('message', (data) => received('rtp', data));
        rtcp.on('message', (data) => received('rtcp', data));
        return new UdpPair({ rtp: port, rtcp: port + 1 }, rtp, rtcp);
      }
      rtp?.close();
    }
  }

  send(kind: 'rtp' | 'rtcp', data: Buffer, to: PortPair): void {
    this[kind].send(data, to[kind], '127.0.0.1');
  }

  close(): void {
    this.rtp.close();
    this.rtcp.close();
  }
}

async function boundSocket(port: number): Promise<UdpSocket | undefined> {
  const socket = createSocket('udp4');
  socket.bind(port, '127.0.0.1');
  const bound = await Promise.race([
    once(socket, 'listening').then(() => true),
    new Promise<false>((resolve) => socket.once('error', () => resolve(false))),
  ]);
  return bound ? socket : undefined;
}
