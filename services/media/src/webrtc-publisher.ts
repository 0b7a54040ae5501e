import { isDeepStrictEqual } from 'node:util';
import { create } from '@bufbuild/protobuf';
import { ErrorCode, StreamInfoSchema, WeirError, type PublishRequest, type StreamInfo } from '@weir/contracts';
import {
  DEFAULT_VIDEO_CODECS,
  negotiateBothWays,
  negotiatePublish,
  negotiateTalkBack,
  parseOffer,
  routerCodecs,
  sentIn,
  writeAnswer,
  type AnswerSection,
  type Offer,
  type PublishPreferences,
  type ReceiveSection,
  type RtpCodecCapability,
  type SendSection,
  type TwoWaySection,
  type VideoCodecName,
} from '@weir/sdp';
import type { Logger } from '@weir/platform';
import type { types as mediasoup } from 'mediasoup';
import { ClientLinks } from './client-links.js';
import type { MediaCore } from './core.js';
import { HeardStream } from './heard-stream.js';
import type { SessionNotifier } from './notifier.js';
import { WebRtcPeer, type PeerTimeouts } from './peer.js';
import { ProducedTrack } from './produced-track.js';
import type { RtpActivityRules } from './rtp-activity.js';
import { PublisherSession, type PublishedMedia, type PublishedSource } from './session.js';
import { TalkBack } from './talk-back.js';
import { StreamTranscoder } from './transcoder.js';
import {
  announced,
  codecNames,
  homeWorkerOf,
  leaseRouter,
  openTransports,
  produce,
  refusing,
} from './webrtc-transports.js';
import type { RouterLease } from './worker-pool.js';

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
  log: Logger;
}

export const peerTimeouts = ({ connectTimeoutMs, consentTimeoutMs }: WebRtcOptions): PeerTimeouts => ({
  connectMs: connectTimeoutMs,
  consentMs: consentTimeoutMs,
});

interface CodecNames {
  audio: string;
  video: string;
}

export interface Renegotiated {
  answerSdp: string;
  /** The session's streams, in the order of their names. */
  streams: { streamName: string; codecs: CodecNames }[];
  /** Media that the client sends in vain, for people to read. */
  notCarried: string[];
}

export interface Published extends Renegotiated {
  /** The codecs of the first stream. */
  codecs: CodecNames;
}

/** A stream is named for its video, and an offer has no more media sections. */
const MAX_STREAMS = 8;

interface OpenStream {
  source: PublishedSource;
  sections: readonly ReceiveSection[];
}

/**
 * Receives what one WebRTC client publishes: its audio and first video as one stream, and each further video as a
 * stream of its own. A later offer may add and remove media and restart ICE.
 */
export class WebRtcPublisher {
  readonly #names: readonly string[];
  readonly #preferences: PublishPreferences;
  #links: ClientLinks | undefined;
  #home: RouterLease | undefined;
  #session: PublisherSession | undefined;
  /** What the client gets on the same connection, if anything. */
  #heard: HeardStream | undefined;
  /** How the client is talked to, if it is at all. */
  #talkBack: TalkBack | undefined;
  /** By the index of the stream's name. */
  readonly #streams = new Map<number, OpenStream>();
  /** The index of the name that each section has had, by the section's index. */
  readonly #nameIndexes = new Map<number, number>();
  readonly #originId = Date.now();
  #answers = 0;
  /** Offers are answered one after the other. */
  #lastAnswer: Promise<unknown> = Promise.resolve();

  /** @param onOver called when the session has ended */
  constructor(
    private readonly request: PublishRequest,
    private readonly options: WebRtcOptions,
    private readonly onOver: () => void,
  ) {
    this.#names = [request.streamName, ...request.furtherStreamNames];
    if (this.#names.length > MAX_STREAMS || new Set(this.#names).size !== this.#names.length)
      throw new WeirError(
        ErrorCode.INVALID,
        `the names of a session's streams are different, and at most ${MAX_STREAMS}`,
      );
    this.#preferences = { videos: this.#names.length, ...videoCodecsOf(request) };
  }

  get isOver(): boolean {
    return this.#session?.isOver ?? false;
  }

  /** Begins the session. When it fails, nothing of it stays. */
  async open(): Promise<Published> {
    const { core } = this.options;
    core.assertFreshId(this.request.sessionId);
    const offer = refusing(() => parseOffer(this.request.offerSdp));
    const { sections, notCarried } = this.#negotiate(offer, this.#preferences);
    const planned = this.#plan(sections);
    const infos = new Map<number, StreamInfo>();
    try {
      await this.#claim([...planned.keys()], planned, notCarried, infos);
      const answerSdp = await this.#receive(offer, sections, planned, infos);
      return { answerSdp, notCarried, streams: this.#listed, codecs: codecNames(planned.get(0) ?? []) };
    } catch (error) {
      for (const info of infos.values()) core.unclaim(info);
      throw error;
    }
  }

  /** Answers a further offer. An offer that can't be used changes nothing. */
  renegotiate(offerSdp: string): Promise<Renegotiated> {
    const answer = this.#lastAnswer.then(() => this.#answerAnew(offerSdp));
    this.#lastAnswer = answer.catch(() => undefined); // the caller gets the error
    return answer;
  }

  async #receive(
    offer: Offer,
    sections: readonly TwoWaySection[],
    planned: ReadonlyMap<number, ReceiveSection[]>,
    infos: ReadonlyMap<number, StreamInfo>,
  ): Promise<string> {
    const { request, options } = this;
    const heard = options.core.findLocal(request.tenant, request.heardStreamName);
    const home = await leaseRouter(options.core.pickWorker(heard && homeWorkerOf(heard)), sections);
    const transports: mediasoup.WebRtcTransport[] = [];
    const media = new Map<number, PublishedMedia>();
    try {
      const opened = await openTransports(home, offer, sections, request.iceTransport, transports);
      this.#home = home;
      this.#links = new ClientLinks(offer, opened);
      for (const [index, ofStream] of planned) media.set(index, await this.#produce(ofStream, offer, infos.get(index)));
      await this.#limitBitrate(planned);
      this.#talkBack = await this.#openTalkBack(home, offer, sections);
      const answerSdp = this.#writeAnswer(offer, sections, opened);
      this.#openSession(home, transports, planned, infos, media);
      this.#hear(home, offer, sections);
      return answerSdp;
    } catch (error) {
      this.#talkBack?.close();
      for (const { tracks } of media.values()) for (const track of tracks) track.close();
      for (const transport of transports) transport.close();
      home.release();
      throw error;
    }
  }

  #openSession(
    home: RouterLease,
    transports: readonly mediasoup.WebRtcTransport[],
    planned: ReadonlyMap<number, ReceiveSection[]>,
    infos: ReadonlyMap<number, StreamInfo>,
    media: ReadonlyMap<number, PublishedMedia>,
  ): void {
    const { request, options } = this;
    const { core } = options;
    const session: PublisherSession = new PublisherSession({
      identity: request,
      notifier: options.notifier,
      home,
      streamName: request.streamName,
      noMediaTimeoutMs: options.noMediaTimeoutMs,
      rtpActivity: options.rtpActivity,
      onClosed: () => {
        this.#heard?.close();
        core.forget(session);
        this.onOver();
      },
    });
    session.link = new WebRtcPeer(
      transports,
      peerTimeouts(options),
      () => {
        session.onConnected();
        this.#heard?.onConnected();
      },
      (reason) => session.end(reason),
    );
    session.talkBack = this.#talkBack;
    core.addSession(session);
    this.#session = session;
    for (const [index, ofStream] of planned) this.#begin(session, index, ofStream, infos.get(index), media.get(index));
  }

  async #answerAnew(offerSdp: string): Promise<Renegotiated> {
    const session = this.#session;
    const home = this.#home;
    const links = this.#links;
    if (session === undefined || home === undefined || links === undefined || session.isOver) throw this.#gone();
    const parsed = refusing(() => parseOffer(offerSdp));
    const { offer, transports } = links.onLinks(parsed);
    const earlier = { routerCodecs: home.codecs as RtpCodecCapability[] };
    const { sections, notCarried } = this.#negotiate(offer, { ...this.#preferences, earlier });
    for (const section of sections)
      if (section.tag !== 'rejected' && transports[section.transportIndex] === undefined)
        throw new WeirError(ErrorCode.INVALID, 'The offer adds a transport; new media must use BUNDLE');
    const planned = this.#plan(sections);
    const added = [...planned.keys()].filter((index) => !this.#streams.has(index));
    const changed = [...planned.keys()].filter((index) => this.#needsNewStream(index, planned.get(index) ?? []));
    const infos = new Map<number, StreamInfo>();
    try {
      await this.#claim(added, planned, notCarried, infos);
      await links.restartIce(offer);
      home.extend(routerCodecs(sections, earlier.routerCodecs) as mediasoup.RouterRtpCodecCapability[]);
      for (const [index, { source }] of [...this.#streams])
        if (!planned.has(index) || changed.includes(index)) {
          session.withdraw(source);
          this.#streams.delete(index);
        }
      await this.#claim(changed, planned, notCarried, infos);
      // Before the streams begin: those who watch look for it then.
      session.talkBack = this.#talkBack ??= await this.#openTalkBack(home, offer, sections);
      if (session.isOver) this.#talkBack?.close();
      for (const [index, info] of infos) {
        const ofStream = planned.get(index) ?? [];
        const media = await this.#produce(ofStream, offer, info);
        if (session.isOver) {
          for (const track of media.tracks) track.close();
          throw this.#gone();
        }
        this.#begin(session, index, ofStream, info, media);
      }
      await this.#limitBitrate(planned);
    } catch (error) {
      for (const [index, info] of infos) if (!this.#streams.has(index)) this.options.core.unclaim(info);
      throw error;
    }
    links.accepted(offer);
    this.#hear(home, offer, sections);
    const answerSdp = this.#writeAnswer(offer, sections, transports);
    return { answerSdp, notCarried, streams: this.#listed };
  }

  #negotiate(offer: Offer, preferences: PublishPreferences) {
    const { heardStreamName, takesTalkBack } = this.request;
    const oneWay = takesTalkBack ? negotiateTalkBack : negotiatePublish;
    return refusing(() => (heardStreamName === '' ? oneWay : negotiateBothWays)(offer, preferences));
  }

  async #openTalkBack(
    home: RouterLease,
    offer: Offer,
    sections: readonly TwoWaySection[],
  ): Promise<TalkBack | undefined> {
    if (!this.request.takesTalkBack) return undefined;
    const [section] = sections.flatMap((each) => sentIn(each) ?? []);
    const transport = section && this.#transportOf(offer, section);
    return transport && TalkBack.open(home, transport, section);
  }

  #transportOf(offer: Offer, { transportIndex }: Pick<SendSection, 'transportIndex'>) {
    return this.#links?.transportOf(offer.transports[transportIndex]?.mediaIndexes ?? []);
  }

  /** Sends the client what it is to hear, in these sections. */
  #hear(home: RouterLease, offer: Offer, sections: readonly TwoWaySection[]): void {
    const { heardStreamName: streamName, tenant } = this.request;
    const session = this.#session;
    if (streamName === '' || session === undefined || session.isOver) return;
    const { core, log, notifier } = this.options;
    const transportOf = (section: SendSection) => this.#transportOf(offer, section);
    this.#heard ??= new HeardStream({
      ...{ core, log, tenant, streamName, home, transportOf },
      isConnected: () => session.connected,
      notCarried: (reason) => notifier.notCarried(this.request, reason),
    });
    this.#heard.setSections(sections.flatMap((section) => sentIn(section) ?? []));
  }

  /**
   * Divides the received sections among the names: audio and the first video belong to the first name, each further
   * video to a name of its own. A section keeps its name, and a new video gets the first name without a video.
   */
  #plan(sections: readonly TwoWaySection[]): Map<number, ReceiveSection[]> {
    const received = sections.filter((section) => section.tag === 'receive');
    const videos = new Map<number, ReceiveSection>();
    const isHere = ({ mediaIndex }: ReceiveSection) =>
      [...this.#streams.values()].some(({ sections: those }) => those.some((each) => each.mediaIndex === mediaIndex));
    const inOrder = received
      .filter(({ kind }) => kind === 'video')
      .sort((a, b) => Number(isHere(b)) - Number(isHere(a)));
    for (const video of inOrder) {
      const own = this.#nameIndexes.get(video.mediaIndex);
      const free = [...this.#names.keys()].find((index) => !videos.has(index));
      const index = own === undefined || videos.has(own) ? free : own;
      if (index !== undefined) videos.set(index, video);
    }
    const planned = new Map<number, ReceiveSection[]>();
    for (const index of this.#names.keys()) {
      const video = videos.get(index);
      const audio = index === 0 ? received.filter(({ kind }) => kind === 'audio') : [];
      const ofStream = [...audio, ...(video === undefined ? [] : [video])];
      if (ofStream.length > 0) planned.set(index, ofStream);
    }
    return planned;
  }

  /** A stream has its media for life. It may only lose one of two, which is then silent. */
  #needsNewStream(index: number, sections: readonly ReceiveSection[]): boolean {
    const present = this.#streams.get(index)?.sections;
    if (present === undefined) return false;
    return !sections.every((section) =>
      present.some(
        ({ mediaIndex, rtpParameters }) =>
          mediaIndex === section.mediaIndex && isDeepStrictEqual(rtpParameters, section.rtpParameters),
      ),
    );
  }

  /** Claims the names of these streams and adds their records to `infos`. */
  async #claim(
    indexes: readonly number[],
    planned: ReadonlyMap<number, ReceiveSection[]>,
    notCarried: string[],
    infos: Map<number, StreamInfo>,
  ): Promise<void> {
    const { request } = this;
    for (const index of indexes) {
      const info = create(StreamInfoSchema, {
        tenant: request.tenant,
        streamName: this.#names[index] ?? '',
        nodeId: this.options.nodeId,
        startedAtMs: BigInt(Date.now()),
        codecs: codecNames(planned.get(index) ?? []),
        protocol: request.protocol,
        publisherSessionId: request.sessionId,
        labels: request.labels,
        notCarried: index === 0 ? notCarried : [],
      });
      await this.options.core.claim(info, request.claim);
      infos.set(index, info);
    }
  }

  async #produce(
    sections: readonly ReceiveSection[],
    offer: Offer,
    info: StreamInfo | undefined,
  ): Promise<PublishedMedia> {
    const home = this.#home;
    if (home === undefined || info === undefined) throw new Error('a stream has no router or no name');
    const tracks: ProducedTrack[] = [];
    const transcoder = new StreamTranscoder({
      transcoders: this.options.core.transcoders,
      tracks: () => tracks,
      cname: this.request.sessionId,
      info,
    });
    try {
      for (const section of sections) {
        const transport = this.#transportOf(offer, section);
        if (transport === undefined) throw new Error('a negotiated section has no transport');
        tracks.push(await produceTrack(section, transport, home, transcoder));
      }
    } catch (error) {
      for (const track of tracks) track.close();
      throw error;
    }
    return { tracks, transcoder };
  }

  #begin(
    session: PublisherSession,
    index: number,
    sections: readonly ReceiveSection[],
    info: StreamInfo | undefined,
    media: PublishedMedia | undefined,
  ): void {
    if (info === undefined || media === undefined) throw new Error('a stream has no name or no media');
    const source = session.publish(media, (made) => this.options.core.openStream(info, made, made));
    this.#streams.set(index, { source, sections });
    for (const { mediaIndex } of sections) this.#nameIndexes.set(mediaIndex, index);
  }

  /** The limit for one video applies to each. */
  async #limitBitrate(planned: ReadonlyMap<number, ReceiveSection[]>): Promise<void> {
    const maxBps = Number(this.request.bitrate?.maxBps ?? 0n) || this.options.maxBitrateBps;
    const count = Math.max(1, planned.size);
    await this.#links?.limitBitrate(maxBps * count);
  }

  #writeAnswer(
    offer: Offer,
    sections: readonly TwoWaySection[],
    transports: readonly (mediasoup.WebRtcTransport | undefined)[],
  ): string {
    const home = this.#home;
    const { request } = this;
    if (home === undefined) throw new Error('a session has no router');
    this.#answers += 1;
    return writeAnswer({
      offer,
      transports: announced(home.worker, transports),
      sections: sections.map((section) => withSent(request.sessionId, section, this.#talkBack?.ssrc)),
      bitrate: { minBps: Number(request.bitrate?.minBps ?? 0n), maxBps: Number(request.bitrate?.maxBps ?? 0n) },
      originId: this.#originId,
      version: this.#answers + 1,
    });
  }

  get #listed(): Renegotiated['streams'] {
    return [...this.#streams]
      .sort(([a], [b]) => a - b)
      .map(([index, { sections }]) => ({ streamName: this.#names[index] ?? '', codecs: codecNames(sections) }));
  }

  #gone(): WeirError {
    return new WeirError(ErrorCode.NOT_FOUND, 'the session has ended', { sessionId: this.request.sessionId });
  }
}

/** Names what is sent in a section. If its SSRC isn't known yet, it is told from other media by its payload type. */
function withSent(sessionId: string, section: TwoWaySection, ssrc: number | undefined): AnswerSection {
  const sent = (kind: string) => ({
    ...(ssrc !== undefined && { ssrc }),
    ...{ cname: sessionId, streamId: sessionId, trackId: `${sessionId}-${kind}` },
  });
  if (section.tag === 'send') return { ...section, sent: sent(section.kind) };
  return section.tag === 'receive' && section.back !== undefined ? { ...section, sent: sent(section.kind) } : section;
}

const isVideoCodec = (name: string): name is VideoCodecName => DEFAULT_VIDEO_CODECS.some((known) => known === name);

function videoCodecsOf({ videoCodecs }: PublishRequest): Pick<PublishPreferences, 'videoCodecs'> {
  if (videoCodecs.length === 0) return {};
  if (!videoCodecs.every(isVideoCodec))
    throw new WeirError(ErrorCode.INVALID, `video codecs are ${DEFAULT_VIDEO_CODECS.join(', ')}`);
  return { videoCodecs };
}

async function produceTrack(
  section: ReceiveSection,
  transport: mediasoup.WebRtcTransport,
  home: RouterLease,
  transcoder: StreamTranscoder,
): Promise<ProducedTrack> {
  const producer = produce(transport, section, home);
  // The client sends nothing before it has the answer, so this doesn't wait for the producer of stray media.
  return new ProducedTrack(section.streamCodec, section.isStray ? producer : await producer, home, transcoder);
}
