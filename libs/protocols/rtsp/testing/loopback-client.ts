import type { Buffer } from 'node:buffer';
import { connect, type Socket } from 'node:net';
import type { SdpTrack } from '@weir/sdp';
import { clientDeadlineMs, startClient, stepClient } from '../src/client-machine.js';
import type {
  ClientConfig,
  ClientEffect,
  ClientEndReason,
  ClientInput,
  ClientState,
  ClientStep,
  ClientTrackTransport,
} from '../src/client-state.js';
import { encodeInterleaved, encodeRequest, encodeResponse, RtspDecoder } from '../src/codec.js';
import { parseRtspUrl, type RtspUrl } from '../src/url.js';
import { UdpPair } from './loopback-server.js';
import { Transcript } from './transcript.js';

export type MediaListener = (track: number, kind: 'rtp' | 'rtcp', data: Buffer) => void;

/**
 * The smallest host of the client machine: it connects anywhere on loopback and takes the tracks that it can describe
 * again.
 */
export class LoopbackClient {
  readonly transcript = new Transcript();
  readonly connects: { readonly url: RtspUrl; readonly cause: string }[] = [];
  readonly requests: string[] = [];
  tracks: readonly SdpTrack[] = [];
  packets = 0;
  isStarted = false;
  ended: ClientEndReason | undefined;
  #state: ClientState;
  #socket: Socket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ports = new Map<number, UdpPair>();
  #transports = new Map<number, ClientTrackTransport>();
  #onMedia: MediaListener;

  constructor(url: string, config: Partial<ClientConfig> = {}, onMedia: MediaListener = () => undefined) {
    const parsed = parseRtspUrl(url);
    if (!parsed) throw new Error(`no RTSP URL: ${url}`);
    this.#onMedia = onMedia;
    const first = startClient({ url: parsed, cnonce: 'fedcba9876543210', ...config }, Date.now());
    this.#state = first.state;
    this.#apply(first);
  }

  get phase(): ClientState['phase'] {
    return this.#state.phase;
  }

  input(input: ClientInput): void {
    this.#apply(stepClient(this.#state, input, Date.now()));
  }

  send(track: number, kind: 'rtp' | 'rtcp', data: Buffer): void {
    const transport = this.#transports.get(track);
    if (!transport || !this.isStarted) return;
    if (transport.tag === 'tcp') this.#socket?.write(encodeInterleaved(transport.channels[kind], data));
    else if (transport.serverPorts) this.#ports.get(track)?.send(kind, data, transport.serverPorts);
  }

  async close(): Promise<void> {
    this.input({ tag: 'stop' });
    await Promise.resolve();
  }

  #apply({ state, effects }: ClientStep): void {
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    clearTimeout(this.#timer);
    const deadlineMs = clientDeadlineMs(this.#state);
    if (deadlineMs === undefined) return;
    this.#timer = setTimeout(() => this.input({ tag: 'tick' }), Math.max(0, deadlineMs - Date.now()) + 1);
  }

  #later(input: ClientInput): void {
    queueMicrotask(() => this.input(input));
  }

  #perform(effect: ClientEffect): void {
    switch (effect.tag) {
      case 'connect':
        this.connects.push(effect);
        this.#connect(effect.url);
        break;
      case 'disconnect':
        this.#disconnect();
        break;
      case 'send': {
        const { message } = effect;
        const bytes = message.tag === 'request' ? encodeRequest(message) : encodeResponse(message);
        this.transcript.bytes('client', bytes);
        if (message.tag === 'request') this.requests.push(message.method);
        this.#socket?.write(bytes);
        break;
      }
      case 'select-tracks':
        this.tracks = effect.tracks;
        this.#later({
          tag: 'selected',
          tracks: effect.tracks.flatMap(({ kind }, index) => (kind === 'other' ? [] : [index])),
        });
        break;
      case 'open-ports':
        void this.#open(effect.track);
        break;
      case 'track-ready':
        this.#transports.set(effect.track, effect.transport);
        break;
      case 'started':
        this.isStarted = true;
        break;
      case 'rtp':
        this.packets += 1;
        this.#onMedia(effect.track, 'rtp', effect.data);
        break;
      case 'rtcp':
        this.#onMedia(effect.track, 'rtcp', effect.data);
        break;
      case 'end':
        this.ended = effect.reason;
        this.isStarted = false;
        this.#disconnect();
        break;
      default: {
        const never: never = effect;
        throw new Error(`unknown effect ${String(never)}`);
      }
    }
  }

  #connect(url: RtspUrl): void {
    const socket = connect(url.port, url.host);
    const decoder = new RtspDecoder();
    const isCurrent = (): boolean => this.#socket === socket;
    this.#socket = socket;
    socket.on('connect', () => isCurrent() && this.input({ tag: 'connected' }));
    socket.on('data', (bytes) => {
      this.transcript.bytes('server', bytes);
      for (const event of decoder.push(bytes)) {
        if (!isCurrent()) return;
        this.input({ tag: 'received', event });
      }
    });
    socket.on('error', () => isCurrent() && this.input({ tag: 'connect-failed', cause: 'unreachable' }));
    socket.on('close', () => isCurrent() && this.input({ tag: 'disconnected' }));
  }

  #disconnect(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.end();
    for (const pair of this.#ports.values()) pair.close();
    this.#ports.clear();
    this.#transports.clear();
  }

  async #open(track: number): Promise<void> {
    const pair = await UdpPair.bind((kind, data) => {
      this.input({ tag: 'heard' });
      if (kind === 'rtp') this.packets += 1;
      this.#onMedia(track, kind, data);
    });
    this.#ports.set(track, pair);
    this.input({ tag: 'ports-opened', ports: pair.ports });
  }
}
