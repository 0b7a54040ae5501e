import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket, WebSocketServer } from 'ws';
import { writeNack, writePictureLoss } from '@weir/frames';
import { createCertificate, type Certificate } from '../peer/transport.js';
import { OriginalPeer, type Kind } from './original-peer.js';

/** How the server behaves. */
export type Behaviour =
  | 'normal'
  /** Accepts the connection and sends nothing. */
  | 'mute'
  /** Establishes the session and never answers an offer. */
  | 'no-answer'
  | 'not-json'
  | 'huge-frame'
  | 'binary'
  | 'refuses'
  | 'busy'
  /** Closes the connection at the first request. */
  | 'hangs-up'
  /** Answers with text that isn't SDP. */
  | 'bad-sdp'
  /** Answers with candidates at an address that the outbound guard forbids. */
  | 'forbidden-candidate'
  /** Answers, but no media path ever comes up. */
  | 'no-media';

export interface PublishedHere {
  readonly name: string;
  /** Payloads by sequence number, as hex. */
  readonly received: Record<Kind, Map<number, string>>;
  readonly payloadTypes: Record<Kind, number | undefined>;
  readonly senderReports: number[];
  readonly peer: OriginalPeer;
  requestKeyFrame(): void;
  /** Ends the stream as the server's operator would. */
  end(status: 'UNPUBLISHED' | 'FAILED', info: string): void;
}

export interface PlayedHere {
  readonly name: string;
  readonly pictureLosses: number;
  readonly nacked: readonly number[];
  readonly peer: OriginalPeer;
  end(status: 'STOPPED' | 'FAILED', info: string): void;
}

const LARGEST_PING = Buffer.alloc(125);

interface Frame {
  readonly message: string;
  readonly data: readonly { mediaSessionId?: string; name?: string; sdp?: string; hasVideo?: boolean }[];
}

/** A server as the original's documentation describes it, with its own media. */
export class OriginalServer {
  behaviour: Behaviour = 'normal';
  /** Which of the arriving packets it drops and requests again. */
  loses: (kind: Kind, sequenceNumber: number) => boolean = () => false;
  losesLastFlight = false;
  /** Changes its answers before they are sent. */
  amends: (answer: string) => string = (answer) => answer;
  /** The streams that can be played on this server. */
  readonly streams = new Set<string>();
  readonly published = new Map<string, PublishedHere>();
  readonly played = new Map<string, PlayedHere>();
  readonly heard: string[] = [];
  readonly #peers = new Set<OriginalPeer>();

  private constructor(
    private readonly server: WebSocketServer,
    private readonly certificate: Certificate,
    private readonly scheme: 'ws' | 'wss' = 'ws',
  ) {
    server.on('connection', (socket) => this.#serve(socket));
  }

  static async start(port = 0): Promise<OriginalServer> {
    const server = new WebSocketServer({ host: '127.0.0.1', port });
    await new Promise((resolve) => server.once('listening', resolve));
    return new OriginalServer(server, await createCertificate());
  }

  /** Starts a server whose port speaks TLS. */
  static async startSecure(tls: { cert: string; key: string }): Promise<OriginalServer> {
    const https = createServer(tls);
    const server = new WebSocketServer({ server: https });
    server.once('close', () => https.close());
    await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve));
    return new OriginalServer(server, await createCertificate(), 'wss');
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get uri(): string {
    return `${this.scheme}://127.0.0.1:${this.port}`;
  }

  /** Stops reading from the clients that are connected now, and pings them until they are gone. */
  async pingUnread(): Promise<void> {
    await Promise.all(
      [...this.server.clients].map(async (socket) => {
        socket.pause();
        while (socket.readyState === WebSocket.OPEN) {
          for (let count = 0; count < 1_000; count++) socket.ping(LARGEST_PING);
          while (socket.readyState === WebSocket.OPEN && socket.bufferedAmount > 0) await sleep(2);
        }
      }),
    );
  }

  /** Ends all connections abruptly, as a crash does. */
  async kill(): Promise<void> {
    for (const socket of this.server.clients) socket.terminate();
    for (const peer of this.#peers) await peer.close();
    this.#peers.clear();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  #serve(socket: WebSocket): void {
    const send = (message: string, ...data: unknown[]) => socket.send(JSON.stringify({ message, data }));
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString()) as Frame;
      if (frame.message !== 'pong' && frame.message !== 'ping') this.heard.push(frame.message);
      this.#answer(frame, socket, send).catch((error: unknown) => console.error(error));
    });
  }

  async #answer(
    { message, data }: Frame,
    socket: WebSocket,
    send: (message: string, ...data: unknown[]) => void,
  ): Promise<void> {
    if (this.behaviour === 'mute') return;
    const { mediaSessionId = '', name = '', sdp = '' } = data[0] ?? {};
    const status = (text: string, info?: string) =>
      send('notifyStreamStatusEvent', { mediaSessionId, name, status: text, ...(info === undefined ? {} : { info }) });
    switch (message) {
      case 'ping':
        return send('pong');
      case 'connection':
        if (this.behaviour === 'not-json') return socket.send('<html>');
        if (this.behaviour === 'binary') return socket.send(Buffer.alloc(10));
        if (this.behaviour === 'huge-frame') return socket.send(`{"message":"${'x'.repeat(700_000)}"}`);
        send('getUserData', { status: 'ESTABLISHED', authToken: '/1.2.3.4:5/6.7.8.9:10' });
        return send('getVersion', '5.2.1000');
      case 'publishStream':
      case 'playStream': {
        if (this.behaviour === 'no-answer') return;
        if (this.behaviour === 'hangs-up') return socket.close(4000);
        if (this.behaviour === 'refuses') return status('FAILED', 'Restricted access');
        if (this.behaviour === 'busy') return status('FAILED', 'Stream name is already in use');
        if (this.behaviour === 'bad-sdp') return send('setRemoteSDP', mediaSessionId, 'v=0\r\nm=video', true);
        const isPublished = message === 'publishStream';
        if (isPublished && this.published.has(name)) return status('FAILED', 'Stream name is already in use');
        if (!isPublished && !this.streams.has(name)) return status('FAILED', 'Stream not found');
        const { peer, ...own } = isPublished
          ? await this.#publish(name, sdp, socket, status)
          : await this.#play(name, sdp, socket, status);
        const answer = this.amends(own.answer);
        if (this.behaviour === 'forbidden-candidate')
          return send('setRemoteSDP', mediaSessionId, answer.replaceAll('127.0.0.1', '10.9.8.7'), true);
        send('setRemoteSDP', mediaSessionId, answer, true);
        if (this.behaviour !== 'no-media') peer.connect(answer);
        return;
      }
      case 'unPublishStream':
        return status('UNPUBLISHED', 'Stopped by publisher stop');
      case 'stopStream':
        return status('STOPPED', 'Stopped by user');
      default:
        return;
    }
  }

  async #publish(name: string, offer: string, socket: WebSocket, status: (text: string, info?: string) => void) {
    const received = { audio: new Map<number, string>(), video: new Map<number, string>() };
    const payloadTypes: Record<Kind, number | undefined> = { audio: undefined, video: undefined };
    const senderReports: number[] = [];
    const highest = { audio: -1, video: -1 };
    const ssrcs = { audio: 0, video: 0 };
    const asked = new Set<number>();
    const { peer, answer } = await OriginalPeer.open({
      ...{ certificate: this.certificate, offer, direction: 'recvonly' },
      loses: (kind, sequenceNumber) => !asked.has(sequenceNumber) && this.loses(kind, sequenceNumber),
      losesLastFlight: this.losesLastFlight,
      onConnected: () => status('PUBLISHING'),
      onRtp: (kind, { header, payload }) => {
        received[kind].set(header.sequenceNumber, payload.toString('hex'));
        payloadTypes[kind] = header.payloadType;
        ssrcs[kind] = header.ssrc;
        const missing: number[] = [];
        if (highest[kind] >= 0 && header.sequenceNumber > highest[kind])
          for (let number = highest[kind] + 1; number < header.sequenceNumber; number += 1) missing.push(number);
        for (const number of missing) asked.add(number);
        if (missing.length > 0) peer.sendRtcp(kind, writeNack(1, header.ssrc, missing));
        highest[kind] = Math.max(highest[kind], header.sequenceNumber);
      },
      onRtcp: (_kind, packet) => {
        if (packet.type === 200) senderReports.push(Date.now());
      },
    });
    this.#peers.add(peer);
    const forget = () => {
      if (this.published.get(name) === here) this.published.delete(name);
      this.#peers.delete(peer);
      // The end of the test may have closed it already.
      peer.close().catch(() => undefined);
    };
    const here: PublishedHere = {
      ...{ name, received, payloadTypes, senderReports, peer },
      requestKeyFrame: () => peer.sendRtcp('video', writePictureLoss(1, ssrcs.video)),
      end: (text, info) => {
        status(text, info);
        forget();
      },
    };
    socket.on('close', forget);
    this.published.set(name, here);
    return { peer, answer };
  }

  async #play(name: string, offer: string, socket: WebSocket, status: (text: string, info?: string) => void) {
    const state = { pictureLosses: 0, nacked: [] as number[] };
    const { peer, answer } = await OriginalPeer.open({
      ...{ certificate: this.certificate, offer, direction: 'sendonly' },
      onConnected: () => status('PLAYING'),
      onRtcp: (_kind, packet) => {
        const { feedback } = packet as { feedback?: { lost?: number[] } };
        if (packet.type === 206) state.pictureLosses += 1;
        if (packet.type === 205) state.nacked.push(...(feedback?.lost ?? []));
      },
    });
    this.#peers.add(peer);
    const forget = () => {
      if (this.played.get(name) === here) this.played.delete(name);
      this.#peers.delete(peer);
      // The end of the test may have closed it already.
      peer.close().catch(() => undefined);
    };
    const here: PlayedHere = {
      name,
      peer,
      get pictureLosses() {
        return state.pictureLosses;
      },
      get nacked() {
        return state.nacked;
      },
      end: (text, info) => {
        status(text, info);
        forget();
      },
    };
    socket.on('close', forget);
    this.played.set(name, here);
    return { peer, answer };
  }
}
