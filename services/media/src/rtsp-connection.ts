import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import {
  DEFAULT_SERVER_CONFIG,
  encodeInterleaved,
  encodeResponse,
  RtspDecoder,
  serverDeadlineMs,
  startServer,
  stepServer,
  type EndSessionReason,
  type HostAnswer,
  type OpenTrack,
  type RtspRequest as RtspRequestMessage,
  type RtspResponse,
  type ServerEffect,
  type ServerInput,
  type ServerState,
} from '@weir/protocol-rtsp';
import type { AnnouncedTrack, SdpTrack } from '@weir/sdp';
import { awakeNowMs, contained, type Logger } from '@weir/platform';
import { charged, fullAllowance } from '@weir/timing';
import { BoundedSocket } from './bounded-socket.js';
import type { Permit, RtspDecision, RtspRequest } from './rtsp-access.js';
import { bindPortPair, type PortPair } from './udp-ports.js';

/** Takes a publisher's media into a stream. */
export interface Recording {
  rtp(track: number, packet: Buffer): void;
  rtcp(track: number, packet: Buffer): void;
  /** `finished`: the pusher has ended its session, or its credential has ended. `lost`: its connection broke. */
  ended(how: 'finished' | 'lost'): void;
}

/** Sends a stream's media to a player. */
export interface Playback {
  start(deliver: (track: number, kind: 'rtp' | 'rtcp', packet: Buffer) => void): void;
  stop(): void;
}

/** What a connection needs from the media core. */
export interface RtspHost {
  authorise(request: RtspRequest, connection: RtspConnection): Promise<RtspDecision>;
  describe(path: string): Promise<HostAnswer & { tracks?: readonly AnnouncedTrack[] }>;
  record(
    path: string,
    tracks: readonly SdpTrack[],
    permit: Permit,
    connection: RtspConnection,
  ): Promise<Recording | HostAnswer>;
  play(path: string, connection: RtspConnection): Promise<Playback | HostAnswer>;
  /** Whether the address may send one more request. */
  allowsRequest(address: string): boolean;
  /** Logs that a client was refused or given up. */
  sayRefusal(message: string, fields: object, sent: object | undefined): void;
}

/** A player that reads more slowly than the stream runs is cut off when this much is unread. */
const MAX_UNREAD_MEDIA_BYTES = 4 * 1024 * 1024;
/** Answers are small: a well-behaved client never leaves this much unread. */
const MAX_UNREAD_ANSWER_BYTES = 64 * 1024;

/**
 * What a client may send that isn't media of its own stream. Set-up takes some ten requests, and a session a few in a
 * minute.
 */
const REQUESTS = { frameBurst: 500, framesPerSecond: 50 };

/** The connection of one RTSP client, pusher or player: it runs the protocol's state machine on a socket. */
export class RtspConnection {
  #state: ServerState;
  readonly #decoder = new RtspDecoder();
  #timer: NodeJS.Timeout | undefined;
  readonly #ports = new Map<number, PortPair>();
  /** The path of the last request that was permitted, and its permit. */
  #permitted: { path: string; permit: Permit } | undefined;
  #announced: readonly SdpTrack[] = [];
  #recording: Recording | undefined;
  #playback: Playback | undefined;
  #playing: readonly OpenTrack[] = [];
  #released = false;
  #lastRequest: RtspRequestMessage | undefined;
  /** Counts ended sessions, so that asynchronous work for an ended session is recognised. */
  #sessionsEnded = 0;

  readonly #out: BoundedSocket;
  #allowance = fullAllowance(REQUESTS, performance.now());

  /** @param limitedWith the address whose clients are limited together. */
  constructor(
    private readonly socket: Socket,
    private readonly limitedWith: string,
    private readonly host: RtspHost,
    private readonly log: Logger,
    private readonly onClosed: () => void,
  ) {
    socket.setNoDelay(true);
    this.#out = new BoundedSocket(socket, () =>
      log.info({ address: remoteAddressOf(socket) }, 'an rtsp client does not read and is cut off'),
    );
    this.#state = startServer(
      {
        ...DEFAULT_SERVER_CONFIG,
        sessionId: randomBytes(12).toString('hex'),
        nonce: randomBytes(16).toString('hex'),
      },
      awakeNowMs(),
    );
    socket.on(
      'data',
      this.#contained((bytes: Buffer) => this.#read(bytes)),
    );
    socket.on(
      'error',
      this.#contained((error: Error) => {
        this.log.debug({ error: error.message }, 'rtsp connection broke');
        this.#input({ tag: 'disconnected' });
      }),
    );
    socket.on('close', () => {
      this.#contained(() => this.#input({ tag: 'disconnected' }))();
      this.onClosed();
    });
    this.#arm();
  }

  stop(cause: 'stream-ended' | 'replaced' | 'revoked' | 'shutdown'): void {
    this.#input({ tag: 'stop', cause });
  }

  #contained<Args extends readonly unknown[]>(handle: (...args: Args) => void): (...args: Args) => void {
    const giveUp = () => this.socket.destroy();
    return contained({ log: this.log, whose: 'an rtsp client', giveUp }, handle);
  }

  /** Each element is decoded only when the ones before it are answered, so a client that is cut off costs no more. */
  #read(bytes: Buffer): void {
    if (this.socket.destroyed) return;
    for (const event of this.#decoder.read(bytes)) {
      if (event.tag === 'request') this.#lastRequest = event;
      const isMedia = event.tag === 'interleaved' && this.#recording !== undefined;
      if (!isMedia && !this.#isAllowed()) {
        this.host.sayRefusal('RTSP client cut off: it asks too often', this.#about, undefined);
        this.socket.destroy();
        return;
      }
      this.#input({ tag: 'received', event });
      if (this.socket.destroyed) return;
    }
  }

  #isAllowed(): boolean {
    const allowance = charged(this.#allowance, 1, REQUESTS, performance.now());
    if (allowance === undefined || !this.host.allowsRequest(this.limitedWith)) return false;
    this.#allowance = allowance;
    return true;
  }

  #input(input: ServerInput): void {
    const { state, effects } = stepServer(this.#state, input, awakeNowMs());
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const deadlineMs = serverDeadlineMs(this.#state);
    if (deadlineMs === undefined) return;
    this.#timer = setTimeout(
      this.#contained(() => this.#input({ tag: 'tick' })),
      Math.max(0, deadlineMs - awakeNowMs()) + 1,
    );
  }

  #perform(effect: ServerEffect): void {
    switch (effect.tag) {
      case 'send':
        this.#sayRefusal(effect.response);
        this.#out.send(
          encodeResponse(effect.response),
          this.#playback === undefined ? MAX_UNREAD_ANSWER_BYTES : MAX_UNREAD_MEDIA_BYTES,
        );
        break;
      case 'authorise':
        this.#answer(effect.id, this.#authorise(effect));
        break;
      case 'describe':
        this.#answer(effect.id, this.host.describe(effect.path));
        break;
      case 'announce':
        this.#announced = effect.tracks;
        this.#answer(effect.id, Promise.resolve({ tag: 'accepted' }));
        break;
      case 'open-track':
        this.#answer(effect.id, this.#open(effect));
        break;
      case 'close-track':
        this.#closePorts(effect.track);
        break;
      case 'start-record':
        this.#answer(effect.id, this.#record(effect.path));
        break;
      case 'start-play':
        this.#playing = effect.tracks;
        this.#answer(effect.id, this.#play(effect.path));
        break;
      case 'release-media':
        this.#released = true;
        break;
      case 'pause-play':
        this.#stopPlayback();
        break;
      case 'rtp':
        this.#recording?.rtp(effect.track, effect.data);
        break;
      case 'rtcp':
        this.#recording?.rtcp(effect.track, effect.data);
        break;
      case 'end-session':
        this.#endSession(isFinal(effect.reason) ? 'finished' : 'lost');
        break;
      case 'close':
        clearTimeout(this.#timer);
        this.#sayGivenUp();
        this.#out.end();
        break;
      default:
        effect satisfies never;
    }
  }

  #sayRefusal({ status, reason }: RtspResponse): void {
    const request = this.#lastRequest;
    // A 401 to a request without credentials tells the client the scheme; it isn't a refusal.
    if (status < 400 || (status === 401 && request?.headers.get('authorization') === undefined)) return;
    this.host.sayRefusal('RTSP request refused', { ...this.#about, status, reason }, request && shown(request));
  }

  #sayGivenUp(): void {
    const { phase } = this.#state;
    if (phase.tag !== 'closed' || phase.reason.tag === 'disconnected' || phase.reason.tag === 'stopped') return;
    const fields = { ...this.#about, reason: phase.reason.tag };
    this.host.sayRefusal('RTSP client given up', fields, this.#lastRequest && shown(this.#lastRequest));
  }

  get #about(): object {
    return { address: remoteAddressOf(this.socket), method: this.#lastRequest?.method, url: this.#lastRequest?.url };
  }

  #answer(id: number, answer: Promise<HostAnswer>): void {
    answer.then(
      (given) => this.#input({ tag: 'answered', id, answer: given }),
      (error: unknown) => {
        this.log.warn({ err: error }, 'rtsp request failed');
        this.#input({ tag: 'answered', id, answer: { tag: 'refused', refusal: 'unavailable' } });
      },
    );
  }

  async #authorise(effect: Extract<ServerEffect, { tag: 'authorise' }>): Promise<HostAnswer> {
    const decision = await this.host.authorise(effect, this);
    if (decision.tag === 'refused') return decision;
    this.#permitted = { path: effect.path, permit: decision.permit };
    return { tag: 'accepted' };
  }

  async #open(effect: Extract<ServerEffect, { tag: 'open-track' }>): Promise<HostAnswer> {
    if (effect.transport.tag === 'tcp') return { tag: 'opened' };
    const sessionsEnded = this.#sessionsEnded;
    const pair = await bindPortPair(this.socket.localAddress?.replace(/^::ffff:/, '') ?? '0.0.0.0');
    if (this.#sessionsEnded !== sessionsEnded) {
      pair.rtp.close();
      pair.rtcp.close();
      return { tag: 'refused', refusal: 'unavailable' };
    }
    this.#closePorts(effect.track);
    this.#ports.set(effect.track, pair);
    const address = remoteAddressOf(this.socket);
    const receive = (kind: 'rtp' | 'rtcp') => (data: Buffer, from: { address: string }) => {
      if (from.address !== address) return; // only the client itself may send the media
      this.#input({ tag: 'heard' });
      this.#recording?.[kind](effect.track, data);
    };
    for (const kind of ['rtp', 'rtcp'] as const) {
      pair[kind].on('message', this.#contained(receive(kind)));
      pair[kind].on('error', (error) => this.log.debug({ error: error.message }, 'rtsp media port failed'));
    }
    return { tag: 'opened', serverPorts: { rtp: pair.rtp.address().port, rtcp: pair.rtcp.address().port } };
  }

  async #record(path: string): Promise<HostAnswer> {
    if (this.#permitted?.path !== path) return { tag: 'refused', refusal: 'forbidden' };
    const sessionsEnded = this.#sessionsEnded;
    const recording = await this.host.record(path, this.#announced, this.#permitted.permit, this);
    if ('tag' in recording) return recording;
    if (this.#sessionsEnded !== sessionsEnded) {
      recording.ended('lost');
      return { tag: 'refused', refusal: 'unavailable' };
    }
    this.#recording = recording;
    return { tag: 'accepted' };
  }

  async #play(path: string): Promise<HostAnswer> {
    const playback = await this.host.play(path, this);
    if ('tag' in playback) return playback;
    this.#stopPlayback();
    if (this.#state.phase.tag === 'closed') return { tag: 'refused', refusal: 'unavailable' };
    this.#playback = playback;
    playback.start((track, kind, packet) => this.#deliver(track, kind, packet));
    return { tag: 'play-ready', origins: [] };
  }

  #deliver(track: number, kind: 'rtp' | 'rtcp', packet: Buffer): void {
    const open = this.#playing.find((candidate) => candidate.track === track);
    if (open === undefined || !this.#released) return;
    if (open.transport.tag === 'udp') {
      this.#ports.get(track)?.[kind].send(packet, open.transport.clientPorts[kind], remoteAddressOf(this.socket));
      return;
    }
    this.#out.send(encodeInterleaved(open.transport.channels[kind], packet), MAX_UNREAD_MEDIA_BYTES);
  }

  #endSession(how: 'finished' | 'lost'): void {
    this.#sessionsEnded += 1;
    this.#stopPlayback();
    const recording = this.#recording;
    this.#recording = undefined;
    recording?.ended(how);
    for (const track of [...this.#ports.keys()]) this.#closePorts(track);
  }

  #stopPlayback(): void {
    const playback = this.#playback;
    this.#playback = undefined;
    this.#released = false;
    playback?.stop();
  }

  #closePorts(track: number): void {
    const pair = this.#ports.get(track);
    this.#ports.delete(track);
    pair?.rtp.close();
    pair?.rtcp.close();
  }
}

const shown = ({ headers, body }: RtspRequestMessage): object => ({
  headers: Object.fromEntries(headers.entries),
  ...(body.length > 0 && { body: body.toString() }),
});

/** Whether the client won't come back, or isn't allowed to. */
const isFinal = (reason: EndSessionReason): boolean =>
  reason.tag === 'teardown' || (reason.tag === 'stopped' && reason.cause === 'revoked');

const remoteAddressOf = (socket: Socket): string => (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
