import { EndReason, ErrorCode, WeirError, type PlayRequest } from '@weir/contracts';
import {
  negotiateFurther,
  negotiatePlay,
  parseAnswer,
  parseOffer,
  routerCodecs,
  talkIn,
  writeAnswer,
  type AnswerSection,
  type Offer,
  type ReceiveSection,
  type RtpCodecCapability,
  type SendSection,
} from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { joinMetrics } from './metrics.js';
import { WebRtcPeer } from './peer.js';
import type { Session, SessionIdentity, SessionStatsInit } from './session.js';
import type { Stream, StreamListener } from './stream.js';
import type { TalkBack } from './talk-back.js';
import type { LentTrack, Track } from './track.js';
import { peerTimeouts, type WebRtcOptions } from './webrtc-publisher.js';
import {
  announced,
  codecNames,
  consume,
  homeWorkerOf,
  KNOWN_TIMEOUT_MS,
  leaseRouter,
  openTransports,
  playable,
  produce,
  refusing,
  sentRtp,
  used,
  type Played,
} from './webrtc-transports.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

/** A client that hasn't answered an offer for so long may get another one. */
const ANSWER_TIMEOUT_MS = 10_000;
/** How long all streams may be away while their publisher changes what it sends. */
const RENEWAL_MS = 1_000;
const MAX_STREAMS = 8;

type PlayedSection = Exclude<AnswerSection, { tag: 'receive' }>;

/** A medium of a stream on its way to the client. */
interface Sending {
  readonly stream: Stream;
  readonly kind: 'audio' | 'video';
  readonly lent: LentTrack;
  readonly consumer: mediasoup.Consumer;
  /** Whether the client knows of it: its offer has been answered. */
  isAnswered: boolean;
  isStarted: boolean;
}

/** What the client says itself. */
interface Talk {
  readonly section: ReceiveSection;
  readonly producer: Promise<mediasoup.Producer>;
  /** Undefined at first. */
  to: TalkBack | 'nobody' | undefined;
  end: () => void;
}

interface Connection {
  readonly lease: RouterLease;
  readonly transports: readonly (mediasoup.WebRtcTransport | undefined)[];
  readonly peer: WebRtcPeer;
}

/**
 * A client that gets several streams of one publisher on one connection. It follows the streams that begin and end: for
 * each change weir makes an offer, which the client answers.
 */
export class FollowingPlayer implements Session {
  readonly tag = 'player';
  readonly isSilent = false;
  readonly identity: SessionIdentity;
  readonly #names: readonly string[];
  #offer: Offer;
  readonly #sections: PlayedSection[] = [];
  /** What is sent, by the index of its section. */
  readonly #sendings = new Map<number, Sending>();
  readonly #viewers = new Map<Stream, StreamListener>();
  /** Media that the client can't get, of which the owner knows. */
  readonly #leftOut = new WeakSet<Track>();
  #connection: Connection | undefined;
  #talk: Talk | undefined;
  #stopFollowing: (() => void) | undefined;
  #answerTimer: NodeJS.Timeout | undefined;
  #renewalTimer: NodeJS.Timeout | undefined;
  /** Changes are made one after the other. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #hasNews = false;
  #isClosed = false;
  readonly #originId = Date.now();
  #version = 1;

  /** @param onOver called when the session has ended */
  constructor(
    private readonly request: PlayRequest,
    private readonly options: WebRtcOptions,
    private readonly onOver: () => void,
  ) {
    this.identity = request;
    this.#names = [...new Set([request.streamName, ...request.furtherStreamNames])];
    if (this.#names.length > MAX_STREAMS)
      throw new WeirError(ErrorCode.INVALID, `a player follows at most ${MAX_STREAMS} streams`);
    this.#offer = refusing(() => parseOffer(request.offerSdp));
  }

  get connected(): boolean {
    return this.#connection?.peer.connected ?? false;
  }

  get isOver(): boolean {
    return this.#isClosed;
  }

  standsOn(worker: MediaWorker): boolean {
    return this.#connection?.lease.worker === worker;
  }

  /** Begins the session. When it fails, nothing of it stays. */
  async open(): Promise<Played> {
    const { core } = this.options;
    const streams = this.#present;
    const [first, ...further] = streams;
    if (first === undefined)
      throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream', { streamName: this.#names[0] ?? '' });
    await Promise.all(streams.map((stream) => stream.known(KNOWN_TIMEOUT_MS)));
    const { sections, notCarried } = refusing(() => negotiatePlay(this.#offer, playable(first), further.map(playable)));
    const lease = await leaseRouter(core.pickWorker(homeWorkerOf(first)), sections);
    const opened: mediasoup.WebRtcTransport[] = [];
    try {
      const transports = await openTransports(lease, this.#offer, sections, this.request.iceTransport, opened);
      const talk = this.request.talksBack ? talkIn(this.#offer, sections) : undefined;
      const transport = talk && transports[talk.transportIndex];
      if (talk !== undefined && transport !== undefined) {
        const producer = produce(transport, talk, lease);
        producer.catch(() => undefined); // #talkTo tells why
        if (!talk.isStray) await producer;
        this.#talk = { section: talk, producer, to: undefined, end: () => undefined };
      }
      const peer = new WebRtcPeer(
        opened,
        peerTimeouts(this.options),
        () => this.#onConnected(),
        (reason) => this.end(reason),
      );
      this.#connection = { lease, transports, peer };
      for (const section of sections) {
        const stream = section.tag === 'send' ? streams[section.streamIndex] : undefined;
        if (section.tag !== 'send') this.#sections.push(section);
        else if (stream !== undefined) this.#sections.push(await this.#send(section, stream, false));
      }
      core.addSession(this);
    } catch (error) {
      this.#isClosed = true;
      this.#release();
      this.#connection?.peer.close();
      for (const transport of opened) transport.close();
      lease.release();
      throw error;
    }
    for (const sending of this.#sendings.values()) sending.isAnswered = true;
    this.#stopFollowing = core.follow(this.request.tenant, this.#names, () => this.#change());
    for (const stream of streams) this.#watch(stream);
    this.#talkTo(first, lease);
    joinMetrics.played(first.info.codecs?.video ?? '');
    // Streams may have come and gone while the transports were made.
    setImmediate(() => this.#change());
    return {
      answerSdp: this.#describe(),
      codecs: codecNames(used(sections)),
      stream: first.info,
      notCarried: [...streams.flatMap(({ info }) => info.notCarried), ...notCarried],
    };
  }

  /** Takes the client's answer to the last offer. */
  answer(sdp: string): Promise<void> {
    return this.#inOrder(async () => {
      if (this.#answerTimer === undefined) throw new WeirError(ErrorCode.INVALID, 'no offer waits for an answer');
      const { media } = refusing(() => parseAnswer(sdp));
      this.#offerIsOver();
      for (const [index, sending] of [...this.#sendings]) {
        if (sending.isAnswered) continue;
        const answered = media[index];
        if (answered?.accepted === true && (answered.direction === 'recvonly' || answered.direction === 'sendrecv')) {
          sending.isAnswered = true;
          this.#startWhenReady(sending);
        } else {
          this.#stop(index);
          this.#sections[index] = { tag: 'rejected', mediaIndex: index, reason: 'the client refused it' };
        }
      }
    });
  }

  end(reason: EndReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#release();
    this.#connection?.peer.close();
    this.#connection?.lease.release();
    this.options.notifier.ended(this.identity, reason);
    this.options.core.forget(this);
    this.onOver();
  }

  async stats(): Promise<SessionStatsInit> {
    return { sessionId: this.identity.sessionId, videoFps: this.#present[0]?.videoFps ?? 0 };
  }

  get #present(): Stream[] {
    return this.#names.flatMap((name) => this.options.core.findLocal(this.request.tenant, name) ?? []);
  }

  /** The publisher's client gets what this client says, as long as both are there. */
  #talkTo({ source: { talkBack } }: Stream, { router }: RouterLease): void {
    const talk = this.#talk;
    if (talk === undefined || talk.to === (talkBack ?? 'nobody')) return;
    talk.end();
    talk.to = talkBack ?? 'nobody';
    if (talkBack === undefined) return this.#notHeard("the client can't be talked to");
    const isWanted = () => !this.#isClosed && talk.to === talkBack;
    talk.producer
      .then(async (producer) => {
        if (!isWanted()) return;
        const { isHeard, end } = await talkBack.add(router, producer);
        talk.end = end;
        if (!isWanted()) end();
        else if (!isHeard) this.#notHeard('another one who talks to the client is heard until it leaves');
      })
      .catch((error: unknown) => {
        if (isWanted()) this.#notHeard(error instanceof Error ? error.message : String(error));
      });
  }

  #notHeard(reason: string): void {
    this.options.notifier.notCarried(this.identity, `the player's own audio isn't heard: ${reason}`);
  }

  #onConnected(): void {
    this.options.notifier.connected(this.identity);
    for (const sending of this.#sendings.values()) this.#startWhenReady(sending);
  }

  #startWhenReady(sending: Sending): void {
    if (!this.connected || !sending.isAnswered || sending.isStarted) return;
    sending.isStarted = true;
    sending.lent.start();
    // This also asks the source for a key frame.
    if (sending.consumer.paused) sending.consumer.resume().catch(() => undefined); // closed meanwhile
  }

  #watch(stream: Stream): void {
    if (this.#viewers.has(stream)) return;
    const viewer: StreamListener = {
      onStreamEnded: (reason) => this.#onStreamEnded(stream, reason),
      onVideoSize: () => undefined, // the client sees it
      onSignal: (signal) => this.options.notifier.signal(this.identity, signal),
    };
    this.#viewers.set(stream, viewer);
    stream.join(viewer);
  }

  #onStreamEnded(stream: Stream, reason: EndReason): void {
    this.#viewers.delete(stream);
    if (reason === EndReason.NODE_LOST || reason === EndReason.NODE_SHUTDOWN) this.end(reason);
    else this.#change();
  }

  #change(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#renewalTimer);
    if (this.#present.length === 0)
      this.#renewalTimer = setTimeout(() => {
        if (this.#present.length === 0) this.end(EndReason.STREAM_ENDED);
      }, RENEWAL_MS);
    void this.#inOrder(() => this.#follow()).catch((error: unknown) => {
      this.end(EndReason.UNSPECIFIED);
      throw error; // a defect, which the process logs
    });
  }

  #inOrder<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.#lastChange.then(work);
    this.#lastChange = done.catch(() => undefined); // the caller gets the error
    return done;
  }

  /** Compares what is sent with the existing streams, and offers the difference. */
  async #follow(): Promise<void> {
    const streams = this.#present;
    if (this.#isClosed || streams.length === 0) return;
    if (this.#answerTimer !== undefined) {
      this.#hasNews = true;
      return;
    }
    for (const stream of streams) this.#watch(stream);
    const [first] = streams;
    if (first !== undefined && this.#connection !== undefined) this.#talkTo(first, this.#connection.lease);
    const gone = [...this.#sendings].filter(([, { stream }]) => !streams.includes(stream)).map(([index]) => index);
    for (const index of gone) this.#stop(index);
    let hasMore = false;
    for (const [streamIndex, stream] of streams.entries())
      for (const kind of ['audio', 'video'] as const) hasMore = (await this.#add(stream, streamIndex, kind)) || hasMore;
    if (this.#isClosed || (gone.length === 0 && !hasMore)) return;
    this.#answerTimer = setTimeout(() => this.#offerIsOver(), ANSWER_TIMEOUT_MS);
    this.options.notifier.offer(this.identity, this.#describe());
  }

  #offerIsOver(): void {
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
    if (!this.#hasNews) return;
    this.#hasNews = false;
    this.#change();
  }

  /** @returns whether there is one more medium to offer */
  async #add(stream: Stream, streamIndex: number, kind: 'audio' | 'video'): Promise<boolean> {
    const track = stream.track(kind);
    const isSent = [...this.#sendings.values()].some((each) => each.stream === stream && each.kind === kind);
    const lease = this.#connection?.lease;
    if (track === undefined || isSent || lease === undefined || this.#isClosed) return false;
    const codec = track.webRtcCodec;
    const negotiated = negotiateFurther(this.#offer, this.#sections, { kind, codec, streamIndex });
    if (negotiated === undefined) {
      // A client that has offered no sound wants none.
      if (this.#offer.media.some((media) => media.kind === kind))
        this.#leaveOut(stream, track, 'the client has no codec or no section for it');
      return false;
    }
    const { section, offer } = negotiated;
    try {
      const present = lease.codecs as RtpCodecCapability[];
      lease.extend(routerCodecs([section], present) as mediasoup.RouterRtpCodecCapability[]);
      this.#sections[section.mediaIndex] = await this.#send(section, stream, true);
      this.#offer = offer;
      return true;
    } catch (error) {
      // A stream that has just ended brings the next change.
      if (this.#present.includes(stream) && !this.#isClosed)
        this.#leaveOut(stream, track, error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  #leaveOut({ info: { streamName } }: Stream, track: Track, reason: string): void {
    if (this.#leftOut.has(track)) return;
    this.#leftOut.add(track);
    const { mimeType } = track.webRtcCodec;
    this.options.notifier.notCarried(this.identity, `${streamName}: ${mimeType} can't be sent: ${reason}`);
  }

  async #send(section: SendSection, stream: Stream, paused: boolean): Promise<PlayedSection> {
    const connection = this.#connection;
    const track = stream.track(section.kind);
    const transport = connection?.transports[section.transportIndex];
    if (connection === undefined || track === undefined || transport === undefined)
      throw new Error('a negotiated section has no track');
    const lent = await stream.use(() => track.lend(connection.lease));
    try {
      const consumer = await consume(transport, lent.producerId, section, paused);
      if (this.#isClosed) throw new Error('the session has ended meanwhile');
      const { kind } = section;
      this.#sendings.set(section.mediaIndex, { stream, kind, lent, consumer, isAnswered: false, isStarted: false });
      const number = this.#names.indexOf(stream.info.streamName) + 1;
      return { ...section, sent: sentRtp(consumer, `${this.identity.sessionId}-${number}`, section) };
    } catch (error) {
      lent.release();
      throw error;
    }
  }

  #stop(index: number): void {
    const sending = this.#sendings.get(index);
    if (sending === undefined) return;
    this.#sendings.delete(index);
    sending.consumer.close();
    sending.lent.release();
    const section = this.#sections[index];
    if (section?.tag !== 'send') return;
    const { mediaIndex, transportIndex, codec } = section;
    this.#sections[index] = { tag: 'inactive', mediaIndex, transportIndex, codec };
  }

  #describe(): string {
    const connection = this.#connection;
    if (connection === undefined) throw new Error('a session has no transport');
    this.#version += 1;
    return writeAnswer({
      offer: this.#offer,
      transports: announced(connection.lease.worker, connection.transports),
      sections: this.#sections.map((section) => this.#withTalk(section)),
      ...{ originId: this.#originId, version: this.#version },
    });
  }

  #withTalk(section: PlayedSection): AnswerSection {
    const { section: talk } = this.#talk ?? {};
    return section.tag === 'send' && talk?.mediaIndex === section.mediaIndex
      ? { ...talk, sent: section.sent }
      : section;
  }

  #release(): void {
    this.#talk?.end();
    clearTimeout(this.#answerTimer);
    clearTimeout(this.#renewalTimer);
    this.#stopFollowing?.();
    for (const [stream, viewer] of this.#viewers) stream.leave(viewer);
    this.#viewers.clear();
    for (const index of [...this.#sendings.keys()]) this.#stop(index);
  }
}
