import { ErrorCode, WeirError, type PlayRequest, type PublishRequest, type StreamInfo } from '@weir/contracts';
import {
  negotiatePlay,
  parseOffer,
  writeAnswer,
  type AnswerSection,
  type Offer,
  type PlaySection,
  type SendSection,
} from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
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
import { announced, codecNames, leaseRouter, openTransports, refusing, used } from './webrtc-transports.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

export type { WebRtcOptions } from './webrtc-publisher.js';

export interface Answer {
  answerSdp: string;
  codecs: { audio: string; video: string };
  /** Media that the client sends or asks for in vain, for people to read. */
  notCarried: string[];
}

/** A player waits this long for the first pictures, if only they can tell whether the stream needs transcoding. */
export const KNOWN_TIMEOUT_MS = 1_000;

/** Serves WebRTC clients: makes transports, producers or consumers, and an answer from an offer. */
export class WebRtc {
  /** Those whose sessions are open. */
  readonly #publishers = new Map<string, WebRtcPublisher>();

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

  /** Sends a stream of this node to a WebRTC client. */
  async play(request: PlayRequest): Promise<Answer & { stream: StreamInfo }> {
    const { core } = this.options;
    core.assertRoom();
    core.assertFreshId(request.sessionId);
    const stream = core.streamOf(request.tenant, request.streamName);
    const offer = refusing(() => parseOffer(request.offerSdp));
    await stream.known(KNOWN_TIMEOUT_MS);
    const { sections, notCarried } = refusing(() =>
      negotiatePlay(offer, { audio: stream.track('audio')?.webRtcCodec, video: stream.track('video')?.webRtcCodec }),
    );
    const answerSdp = await stream.use(() => this.#send(request, offer, sections, stream));
    const { info } = stream;
    return {
      answerSdp,
      codecs: codecNames(used(sections)),
      stream: info,
      notCarried: [...info.notCarried, ...notCarried],
    };
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

const homeWorkerOf = (stream: Stream): MediaWorker | undefined =>
  (stream.track('video') ?? stream.track('audio'))?.homeWorker;

const consume = (
  transport: mediasoup.WebRtcTransport,
  producerId: string,
  section: SendSection,
): Promise<mediasoup.Consumer> =>
  transport.consume({
    producerId,
    rtpCapabilities: section.rtpCapabilities as mediasoup.RtpCapabilities,
    // This makes mediasoup keep packets to send them again when the player asks for them by NACK.
    enableRtx: section.kind === 'video',
  });

function sentRtp(consumer: mediasoup.Consumer, sessionId: string, section: SendSection) {
  const ssrc = consumer.rtpParameters.encodings?.[0]?.ssrc;
  if (ssrc === undefined) throw new Error('mediasoup gave a consumer no SSRC');
  const streamId = sessionId.replace(/[^A-Za-z0-9-]/g, '');
  return { ssrc, cname: streamId, streamId, trackId: `${streamId}-${section.kind}` };
}
