import { ErrorCode, WeirError, type PlayRequest, type PublishRequest } from '@weir/contracts';
import { negotiatePlay, parseOffer, writeAnswer, type AnswerSection, type Offer, type PlaySection } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { FollowingPlayer } from './following-player.js';
import { joinMetrics } from './metrics.js';
import { WebRtcPeer } from './peer.js';
import { PlayerSession } from './session.js';
import type { Stream } from './stream.js';
import type { LentTrack } from './track.js';
import {
  peerTimeouts,
  WebRtcPublisher,
  type Published,
  type Renegotiated,
  type WebRtcOptions,
} from './webrtc-publisher.js';
import {
  announced,
  codecNames,
  consume,
  homeWorkerOf,
  KNOWN_TIMEOUT_MS,
  leaseRouter,
  openTransports,
  playable,
  refusing,
  sentRtp,
  used,
  type Played,
} from './webrtc-transports.js';
import type { RouterLease } from './worker-pool.js';

export type { WebRtcOptions } from './webrtc-publisher.js';

/** Serves WebRTC clients: makes transports, producers or consumers, and an answer from an offer. */
export class WebRtc {
  /** The publishers whose sessions are open. */
  readonly #publishers = new Map<string, WebRtcPublisher>();
  readonly #followers = new Map<string, FollowingPlayer>();

  constructor(private readonly options: WebRtcOptions) {}

  /** Receives one stream or several from a WebRTC client. It claims their names before it handles any media. */
  async publish(request: PublishRequest): Promise<Published> {
    const publisher: WebRtcPublisher = new WebRtcPublisher(request, this.options, () =>
      this.#publishers.delete(request.sessionId),
    );
    const published = await publisher.open();
    if (!publisher.isOver) this.#publishers.set(request.sessionId, publisher);
    return published;
  }

  /** Answers a further offer of a publisher. @throws WeirError NOT_FOUND and those of `publish` */
  async renegotiate(sessionId: string, offerSdp: string): Promise<Renegotiated> {
    const publisher = this.#publishers.get(sessionId);
    if (publisher === undefined)
      throw new WeirError(ErrorCode.NOT_FOUND, 'no such publisher on this media node', { sessionId });
    return publisher.renegotiate(offerSdp);
  }

  /** Sends a stream of this node, or several of one publisher, to a WebRTC client. */
  async play(request: PlayRequest): Promise<Played> {
    const { core } = this.options;
    core.assertRoom();
    core.assertFreshId(request.sessionId);
    if (request.furtherStreamNames.length > 0) return this.#playSeveral(request);
    const stream = core.streamOf(request.tenant, request.streamName);
    const offer = refusing(() => parseOffer(request.offerSdp));
    await stream.known(KNOWN_TIMEOUT_MS);
    const { sections, notCarried } = refusing(() => negotiatePlay(offer, playable(stream)));
    const answerSdp = await stream.use(() => this.#send(request, offer, sections, stream));
    const { info } = stream;
    return {
      answerSdp,
      codecs: codecNames(used(sections)),
      stream: info,
      notCarried: [...info.notCarried, ...notCarried],
    };
  }

  /** Takes a player's answer to an offer. @throws WeirError NOT_FOUND, INVALID */
  async answer(sessionId: string, answerSdp: string): Promise<void> {
    const player = this.#followers.get(sessionId);
    if (player === undefined)
      throw new WeirError(ErrorCode.NOT_FOUND, 'no such player on this media node', { sessionId });
    await player.answer(answerSdp);
  }

  async #playSeveral(request: PlayRequest): Promise<Played> {
    const player: FollowingPlayer = new FollowingPlayer(request, this.options, () =>
      this.#followers.delete(request.sessionId),
    );
    const played = await player.open();
    if (!player.isOver) this.#followers.set(request.sessionId, player);
    return played;
  }

  async #send(request: PlayRequest, offer: Offer, sections: readonly PlaySection[], stream: Stream): Promise<string> {
    const lease = await leaseRouter(this.options.core.pickWorker(homeWorkerOf(stream)), sections);
    const transports: mediasoup.WebRtcTransport[] = [];
    const lent: LentTrack[] = [];
    try {
      const answered = await openTransports(lease, offer, sections, request.iceTransport, transports);
      const consumers: mediasoup.Consumer[] = [];
      const answerSections: AnswerSection[] = [];
      for (const section of sections) {
        if (section.tag !== 'send') {
          answerSections.push(section);
          continue;
        }
        const track = stream.track(section.kind);
        const transport = answered[section.transportIndex];
        if (track === undefined || transport === undefined) throw new Error('a negotiated section has no track');
        const lentTrack = await track.lend(lease);
        lent.push(lentTrack);
        const consumer = await consume(transport, lentTrack.producerId, section);
        consumers.push(consumer);
        answerSections.push({ ...section, sent: sentRtp(consumer, request.sessionId, section) });
      }
      const answerSdp = writeAnswer({
        offer,
        transports: announced(lease.worker, answered),
        sections: answerSections,
        originId: Date.now(),
      });
      // The stream may have ended while the transports were made.
      this.options.core.streamOf(request.tenant, request.streamName);
      this.#openPlayer(request, stream, lease, transports, lent, consumers);
      return answerSdp;
    } catch (error) {
      for (const transport of transports) transport.close();
      for (const track of lent) track.release();
      lease.release();
      throw error;
    }
  }

  #openPlayer(
    request: PlayRequest,
    stream: Stream,
    lease: RouterLease,
    transports: mediasoup.WebRtcTransport[],
    lent: readonly LentTrack[],
    consumers: readonly mediasoup.Consumer[],
  ): void {
    const session: PlayerSession = new PlayerSession({
      identity: request,
      notifier: this.options.notifier,
      stream,
      lease,
      lent,
      consumers,
      onClosed: () => this.options.core.forget(session),
    });
    session.peer = new WebRtcPeer(
      transports,
      peerTimeouts(this.options),
      () => session.onConnected(),
      (reason) => session.end(reason),
    );
    this.options.core.addSession(session);
    stream.join(session);
    joinMetrics.played(stream.info.codecs?.video ?? '');
  }
}
