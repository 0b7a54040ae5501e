import { create } from '@bufbuild/protobuf';
import {
  ErrorCode,
  IceTransport,
  StreamInfoSchema,
  WeirError,
  type BitrateLimits,
  type PlayRequest,
  type PublishRequest,
  type StreamInfo,
} from '@weir/contracts';
import {
  codecName,
  negotiatePlay,
  negotiatePublish,
  NoCommonCodecsError,
  parseOffer,
  routerCodecs,
  SdpError,
  writeAnswer,
  type AnswerSection,
  type Offer,
  type PlaySection,
  type PublishSection,
  type ReceiveSection,
  type SendSection,
} from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import type { MediaCore } from './core.js';
import { dialectKey } from './dialect.js';
import { joinMetrics } from './metrics.js';
import type { SessionNotifier } from './notifier.js';
import { WebRtcPeer, type PeerTimeouts } from './peer.js';
import { ProducedTrack } from './produced-track.js';
import type { RtpActivityRules } from './rtp-activity.js';
import { PlayerSession, PublisherSession } from './session.js';
import { produceStray } from './stray-media.js';
import type { Stream } from './stream.js';
import type { LentTrack, Transcoding } from './track.js';
import { StreamTranscoder } from './transcoder.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

export interface WebRtcOptions {
  nodeId: string;
  core: MediaCore;
  notifier: SessionNotifier;
  connectTimeoutMs: number;
  consentTimeoutMs: number;
  noMediaTimeoutMs: number;
  /** Without these rules every track is checked. */
  rtpActivity?: RtpActivityRules | undefined;
  maxBitrateBps: number;
}

export interface Answer {
  answerSdp: string;
  codecs: { audio: string; video: string };
  /** Media that the client sends or asks for in vain, for people to read. */
  notCarried: string[];
}

/**
 * Key frame requests within this time become one request, so that many joining players cost few key frames. It is
 * longer than the 300 ms for which Chromium ignores a second request, because an ignored request is repeated only after
 * a second.
 */
const KEY_FRAME_REQUEST_DELAY_MS = 400;

/** A player waits this long for the first pictures, if only they can tell whether the stream needs transcoding. */
export const KNOWN_TIMEOUT_MS = 1_000;

/** Serves WebRTC clients: makes transports, producers or consumers, and an answer from an offer. */
export class WebRtc {
  constructor(private readonly options: WebRtcOptions) {}

  /** Receives a stream from a WebRTC client. It claims the stream's name before it handles any media. */
  async publish(request: PublishRequest): Promise<Answer> {
    const { core } = this.options;
    core.assertFreshId(request.sessionId);
    const offer = refusing(() => parseOffer(request.offerSdp));
    const { sections, notCarried } = refusing(() => negotiatePublish(offer));
    const codecs = codecNames(sections);
    const info = create(StreamInfoSchema, {
      tenant: request.tenant,
      streamName: request.streamName,
      nodeId: this.options.nodeId,
      startedAtMs: BigInt(Date.now()),
      codecs,
      protocol: request.protocol,
      publisherSessionId: request.sessionId,
      labels: request.labels,
      notCarried,
    });
    await core.claim(info, request.claim);
    try {
      return { answerSdp: await this.receive(request, offer, sections, info), codecs, notCarried };
    } catch (error) {
      core.unclaim(info);
      throw error;
    }
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
    const answerSdp = await stream.use(() => this.send(request, offer, sections, stream));
    const { info } = stream;
    return { answerSdp, codecs: codecNames(sections), stream: info, notCarried: [...info.notCarried, ...notCarried] };
  }

  private async receive(
    request: PublishRequest,
    offer: Offer,
    sections: readonly PublishSection[],
    info: StreamInfo,
  ): Promise<string> {
    const worker = this.options.core.pickWorker();
    const home = await this.leaseRouter(worker, sections);
    const transports: mediasoup.WebRtcTransport[] = [];
    try {
      const answered = await this.openTransports(home, offer, sections, request.iceTransport, transports);
      const maxBps = Number(request.bitrate?.maxBps ?? 0n) || this.options.maxBitrateBps;
      await Promise.all(transports.map((transport) => transport.setMaxIncomingBitrate(maxBps)));
      const tracks: ProducedTrack[] = [];
      const transcoder = new StreamTranscoder({
        transcoders: this.options.core.transcoders,
        tracks: () => tracks,
        cname: request.sessionId,
        info,
      });
      for (const section of sections)
        if (section.tag === 'receive') tracks.push(await produce(section, answered, home, transcoder));
      const answerSdp = writeAnswer({
        offer,
        transports: announced(home.worker, answered),
        sections,
        bitrate: bitrateOf(request.bitrate),
        originId: Date.now(),
      });
      this.openPublisher(request, info, home, transports, tracks, transcoder);
      return answerSdp;
    } catch (error) {
      for (const transport of transports) transport.close();
      home.release();
      throw error;
    }
  }

  private openPublisher(
    request: PublishRequest,
    info: StreamInfo,
    home: RouterLease,
    transports: mediasoup.WebRtcTransport[],
    tracks: readonly ProducedTrack[],
    transcoder: StreamTranscoder,
  ): void {
    const session = new PublisherSession({
      identity: request,
      notifier: this.options.notifier,
      home,
      tracks,
      streamName: info.streamName,
      transcoder,
      noMediaTimeoutMs: this.options.noMediaTimeoutMs,
      rtpActivity: this.options.rtpActivity,
    });
    session.peer = new WebRtcPeer(
      transports,
      this.peerTimeouts,
      () => session.onPeerConnected(),
      (reason) => session.end(reason),
    );
    const { core } = this.options;
    core.addSession(session);
    session.stream = core.openStream(info, session, session);
  }

  private async send(
    request: PlayRequest,
    offer: Offer,
    sections: readonly PlaySection[],
    stream: Stream,
  ): Promise<string> {
    const lease = await this.leaseRouter(this.options.core.pickWorker(homeWorkerOf(stream)), sections);
    const transports: mediasoup.WebRtcTransport[] = [];
    const lent: LentTrack[] = [];
    try {
      const answered = await this.openTransports(lease, offer, sections, request.iceTransport, transports);
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
      this.openPlayer(request, stream, lease, transports, lent, consumers);
      return answerSdp;
    } catch (error) {
      for (const transport of transports) transport.close();
      for (const track of lent) track.release();
      lease.release();
      throw error;
    }
  }

  private openPlayer(
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
      this.peerTimeouts,
      () => session.onPeerConnected(),
      (reason) => session.end(reason),
    );
    this.options.core.addSession(session);
    stream.join(session);
    joinMetrics.played(stream.info.codecs?.video ?? '');
  }

  private get peerTimeouts(): PeerTimeouts {
    return { connectMs: this.options.connectTimeoutMs, consentMs: this.options.consentTimeoutMs };
  }

  private leaseRouter(worker: MediaWorker, sections: readonly (PublishSection | PlaySection)[]): Promise<RouterLease> {
    const codecs = routerCodecs(sections) as mediasoup.RouterRtpCodecCapability[];
    return worker.leaseRouter(dialectKey(routerCodecs(sections)), codecs);
  }

  /** Makes and connects a transport for each transport of the offer. The caller closes those in `opened`. */
  private async openTransports(
    { router, worker }: RouterLease,
    offer: Offer,
    sections: readonly (PublishSection | PlaySection)[],
    iceTransport: IceTransport,
    opened: mediasoup.WebRtcTransport[],
  ): Promise<(mediasoup.WebRtcTransport | undefined)[]> {
    const tcpOnly = iceTransport === IceTransport.TCP;
    return Promise.all(
      offer.transports.map(async ({ dtlsParameters, mediaIndexes }) => {
        if (mediaIndexes.every((index) => sections[index]?.tag === 'rejected')) return undefined;
        const transport = await router.createWebRtcTransport({
          webRtcServer: worker.webRtcServer,
          enableUdp: !tcpOnly,
          enableTcp: true,
          preferUdp: true,
          iceConsentTimeout: 0, // WebRtcPeer listens for more than STUN
          initialAvailableOutgoingBitrate: 2_000_000,
        });
        opened.push(transport);
        worker.transportCount += 1;
        transport.observer.once('close', () => {
          worker.transportCount -= 1;
        });
        await transport.connect({ dtlsParameters: dtlsParameters as mediasoup.DtlsParameters });
        return transport;
      }),
    );
  }
}

const announced = (worker: MediaWorker, transports: readonly (mediasoup.WebRtcTransport | undefined)[]) =>
  transports.map(
    (transport) =>
      transport && {
        iceParameters: transport.iceParameters,
        iceCandidates: worker.candidatesOf(transport),
        dtlsParameters: transport.dtlsParameters,
      },
  );

const homeWorkerOf = (stream: Stream): MediaWorker | undefined =>
  (stream.track('video') ?? stream.track('audio'))?.homeWorker;

/** Turns an error in an offer into an error of the contract. */
function refusing<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof NoCommonCodecsError)
      throw new WeirError(ErrorCode.NO_COMMON_CODECS, error.message, {}, { cause: error });
    if (error instanceof SdpError)
      throw new WeirError(ErrorCode.INVALID, error.message, { sdp: error.code }, { cause: error });
    throw error;
  }
}

function codecNames(sections: readonly (PublishSection | PlaySection)[]): { audio: string; video: string } {
  const used = sections.filter((section) => section.tag === 'receive' || section.tag === 'send');
  const name = (kind: 'audio' | 'video') => {
    const section = used.find((candidate) => candidate.kind === kind);
    return section === undefined ? '' : codecName(section);
  };
  return { audio: name('audio'), video: name('video') };
}

async function produce(
  section: ReceiveSection,
  transports: readonly (mediasoup.WebRtcTransport | undefined)[],
  home: RouterLease,
  transcoding: Transcoding,
): Promise<ProducedTrack> {
  const transport = transports[section.transportIndex];
  if (transport === undefined) throw new Error('a negotiated section has no transport');
  const options: mediasoup.ProducerOptions = {
    kind: section.kind,
    rtpParameters: section.rtpParameters as mediasoup.RtpParameters,
    keyFrameRequestDelay: KEY_FRAME_REQUEST_DELAY_MS,
  };
  const producer = section.isStray ? produceStray(home.worker.worker, transport, options) : transport.produce(options);
  // The client sends nothing before it has the answer, so this doesn't wait for the producer of stray media.
  return new ProducedTrack(section.streamCodec, section.isStray ? producer : await producer, home, transcoding);
}

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

const bitrateOf = (limits: BitrateLimits | undefined): { minBps?: number; maxBps?: number } => ({
  minBps: Number(limits?.minBps ?? 0n),
  maxBps: Number(limits?.maxBps ?? 0n),
});
