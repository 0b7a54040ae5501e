import { createSocket, type Socket } from 'node:dgram';
import {
  ContinuedNumbering,
  createFrameAssembler,
  isFrameCodec,
  isNalCodec,
  parseRtcp,
  ParameterSetInserter,
  parameterSetsOf,
  PictureOrder,
  RtpPacket,
  withParameterSets,
  writeSenderReport,
  type Frame,
  type FrameAssembler,
  type NalCodec,
  type ParameterSets,
  type SourceClock,
  type TrackClock,
  type TrackDescription,
} from '@weir/frames';
import type { StreamCodec } from '@weir/sdp';
import { GopCache } from './gop-cache.js';
import { PacedSender } from './paced-sender.js';
import { PipedProducer } from './piped-producer.js';
import { RecentPackets } from './recent-packets.js';
import { Shared } from './shared.js';
import {
  TRANSCODED,
  type LentTrack,
  type PacketListener,
  type SendOptions,
  type SentTrack,
  type Track,
  type Transcoding,
  type UdpAddress,
} from './track.js';
import { WebRtcFeed } from './webrtc-feed.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

export interface NativeTrackOptions {
  description: TrackDescription;
  payloadType: number;
  cname: string;
  clock: SourceClock;
  transcoding: Transcoding;
  /** WebRTC players who may have a feed of their own, at a time. */
  maxOwnFeeds: number;
  /** A key frame has come, whose first packet came then: other tracks keep what came since. */
  onKeyFrame(atMs: number): void;
  /** The stream's description has changed: it carries other parameter sets than were known. */
  onDescribed(): void;
  nowMs(): number;
}

/** Up to ten seconds of 30 frames, and what a burst to one player may cost. */
const GOP_LIMITS = { frames: 300, bytes: 4 * 1024 * 1024 };

/** Receivers place media by when they come: much more of the past would put them on a wrong clock. */
const RECENT_LIMITS = { ageMs: 700, bytes: 2 * 1024 * 1024 };

interface PipedFeed {
  feed: WebRtcFeed;
  piped: PipedProducer;
}

/**
 * A track whose RTP comes into this process: an RTSP source's. Taps and RTSP players get its packets as they are, with
 * the parameter sets before each key frame. For WebRTC players its frames are packed anew, untouched inside; only what
 * WebRTC can't carry is transcoded, for them.
 */
export class NativeTrack implements Track {
  private described: TrackDescription;
  private readonly listeners = new Set<PacketListener>();
  private readonly numbering: ContinuedNumbering;
  private assembler: FrameAssembler | undefined;
  private readonly clock: TrackClock;
  private readonly gop = new GopCache(GOP_LIMITS);
  private readonly recent = new RecentPackets(RECENT_LIMITS);
  private readonly feeds = new Set<WebRtcFeed>();
  private shared: Shared<PipedFeed> | undefined;
  private ownFeeds = 0;
  private order = new PictureOrder();
  private parameterSets: ParameterSets | undefined;
  private sourcePayloadType: number;
  private inserter: ParameterSetInserter | undefined;
  private closed = false;

  constructor(private readonly options: NativeTrackOptions) {
    const { description } = options;
    this.numbering = new ContinuedNumbering(description.clockRate);
    this.sourcePayloadType = options.payloadType;
    this.clock = options.clock.track(description.clockRate);
    this.described = asItCanBeTold(description);
    this.assembler = newAssembler(description);
    this.inserter = inserterFor(description);
  }

  /** The source has begun anew: its numbering is continued for receivers, and its parameter sets may have changed. */
  restart(description: TrackDescription, payloadType: number): void {
    this.sourcePayloadType = payloadType;
    this.numbering.restart();
    this.inserter = inserterFor(description);
    this.parameterSets = undefined;
    this.order = new PictureOrder();
    this.gop.clear();
    this.recent.clear();
    this.describe(asItCanBeTold(description));
  }

  get description(): TrackDescription {
    return this.described;
  }

  /** The stream's key frame came then. */
  keepSince(atMs: number): void {
    this.recent.beginAt(atMs);
  }

  get payloadType(): number {
    return this.options.payloadType;
  }

  get webRtcCodec(): StreamCodec {
    const { kind, codec, clockRate, channels } = this.description;
    if (this.needsTranscoding) return TRANSCODED[kind];
    if (codec === 'H264') {
      const parameters = {
        'packetization-mode': 1,
        'level-asymmetry-allowed': 1,
        'profile-level-id': this.description.parameters['profile-level-id'] ?? '42e01f',
      };
      return { kind, mimeType: 'video/H264', clockRate, parameters };
    }
    if (codec === 'opus')
      return { kind, mimeType: 'audio/opus', clockRate: 48_000, channels: 2, parameters: { useinbandfec: 1 } };
    return { kind, mimeType: `audio/${codec}`, clockRate, channels, parameters: {} };
  }

  get needsTranscoding(): boolean {
    const { codec, clockRate, channels } = this.description;
    switch (codec) {
      case 'H264':
        return this.order.isReordered;
      case 'opus':
        return clockRate !== 48_000;
      case 'PCMU':
      case 'PCMA':
        return clockRate !== 8_000 || channels !== 1;
      default:
        return true;
    }
  }

  get isKnown(): boolean {
    return this.description.codec !== 'H264' || this.order.isKnown;
  }

  get homeWorker(): MediaWorker | undefined {
    return undefined;
  }

  get pipeCount(): number {
    return this.feeds.size;
  }

  /** Drops what isn't RTP of this track, so that no receiver has to check. */
  push(bytes: Buffer): void {
    const packet = this.closed ? undefined : RtpPacket.parse(bytes);
    if (packet?.payloadType !== this.sourcePayloadType) return;
    const nowMs = this.options.nowMs();
    if (this.inserter === undefined) this.handOn(packet, nowMs);
    else for (const each of this.inserter.push(packet)) this.handOn(each, nowMs);
  }

  /** Receivers get the clock of the source's sender reports; its other fields don't hold for them. */
  pushRtcp(packet: Buffer): void {
    if (this.closed) return;
    for (const message of parseRtcp(packet)) {
      const report = message.tag === 'sender-report' ? this.numbering.report(message) : undefined;
      if (report === undefined) continue;
      this.clock.senderReport(report);
      const bytes = writeSenderReport(report);
      for (const listener of this.listeners) listener.onRtcp?.(bytes);
    }
  }

  async listen(listener: PacketListener): Promise<() => void> {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  requestKeyFrame(): void {
    // RTSP has no way to ask for one; the cached GOP serves instead.
  }

  async lend(to: RouterLease): Promise<LentTrack> {
    if (this.needsTranscoding) return this.options.transcoding.lend(this, to);
    // A camera makes no key frame for a new viewer, and the last one has gone by before he is connected. So he gets a
    // feed of his own, which begins with the last GOP; on a shared one he would be a burst of the past for all others.
    // When there are many, those who come later wait for the next key frame.
    const isShared = this.description.kind === 'audio' || this.ownFeeds >= this.options.maxOwnFeeds;
    return isShared ? this.lendShared(to) : this.lendOwn(to);
  }

  async sendTo({ ip, port }: UdpAddress, { fromKeyFrame, after }: SendOptions): Promise<SentTrack> {
    const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
    await connectSocket(socket, port, ip);
    socket.on('error', () => undefined); // nobody listens any more; the tap's owner will close it
    const past = fromKeyFrame ? this.recent.packets : [];
    const sender = new PacedSender(past, (packet) => socket.send(packet), after);
    const stop = await this.listen({
      onRtp: ({ bytes }) => sender.push(bytes),
      onRtcp: (packet) => sender.push(packet),
    });
    return {
      caughtUp: sender.caughtUp,
      payloadType: this.payloadType,
      ssrc: this.assembler?.ssrc ?? 0,
      close: () => {
        stop();
        sender.close();
        socket.close();
      },
    };
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.listeners.clear();
    this.gop.clear();
    this.recent.clear();
    this.assembler = undefined;
    for (const feed of this.feeds) feed.close();
    this.feeds.clear();
  }

  private handOn(packet: RtpPacket, nowMs: number): void {
    const sent = this.numbering.packet(packet, nowMs);
    for (const listener of this.listeners) listener.onRtp(sent);
    this.recent.add(sent.bytes, nowMs);
    if (this.description.codec === 'H264') this.order.push(sent);
    for (const frame of this.assembler?.pushPacket(sent) ?? []) this.onFrame(frame);
  }

  private onFrame(frame: Frame): void {
    this.clock.arrived(frame.rtpTimestamp, this.options.nowMs());
    if (frame.kind === 'video') {
      this.gop.add(frame);
      if (frame.isKeyFrame && frame.complete) {
        const atMs = this.recent.beginWithFrame(((frame.rtpTimestamp % 2 ** 32) + 2 ** 32) % 2 ** 32);
        if (atMs !== undefined) this.options.onKeyFrame(atMs);
      }
      if ('nalUnits' in frame) {
        if (frame.parameterSets !== undefined && frame.parameterSets !== this.parameterSets)
          this.decodedWith(frame.codec, frame.parameterSets);
      }
    }
    for (const feed of this.feeds)
      if (feed.closed) this.feeds.delete(feed);
      else feed.send(frame);
  }

  private decodedWith(codec: NalCodec, sets: ParameterSets): void {
    this.parameterSets = sets;
    const { description } = this;
    this.describe({ ...description, parameters: withParameterSets(codec, description.parameters, sets) });
    this.options.onDescribed();
  }

  private describe(description: TrackDescription): void {
    const webRtcBefore = JSON.stringify(this.webRtcCodec);
    this.described = description;
    // The shared feed has another codec profile than new players are promised, so they need another feed.
    if (JSON.stringify(this.webRtcCodec) !== webRtcBefore) this.shared = undefined;
  }

  private async lendOwn(to: RouterLease): Promise<LentTrack> {
    this.ownFeeds += 1;
    let released = false;
    const release = () => {
      if (!released) this.ownFeeds -= 1;
      released = true;
    };
    try {
      const feed = await this.openFeed(to.share());
      return {
        producerId: feed.producer.id,
        start: () => {
          if (feed.closed || this.closed) return;
          feed.catchUp(this.gop.frames);
          this.feeds.add(feed);
        },
        release: () => {
          release();
          this.closeFeed(feed);
        },
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  private async lendShared(to: RouterLease): Promise<LentTrack> {
    const shared = this.shared ?? this.share(to.share());
    this.shared = shared;
    const { value, release } = await shared.use();
    try {
      if (value.feed.closed) throw new Error('the worker of the feed has died');
      const lent = await value.piped.lend(to);
      return {
        producerId: lent.producerId,
        start: lent.start,
        release: () => {
          lent.release();
          release();
        },
      };
    } catch (error) {
      if (this.shared === shared) this.shared = undefined;
      release();
      throw error;
    }
  }

  private share(lease: RouterLease): Shared<PipedFeed> {
    const shared: Shared<PipedFeed> = new Shared(this.openPiped(lease), {
      close: ({ feed }) => this.closeFeed(feed),
      onOver: () => {
        if (this.shared === shared) this.shared = undefined;
      },
    });
    return shared;
  }

  private async openPiped(lease: RouterLease): Promise<PipedFeed> {
    const feed = await this.openFeed(lease);
    this.feeds.add(feed);
    return { feed, piped: new PipedProducer(() => feed.producer, lease) };
  }

  private async openFeed(lease: RouterLease): Promise<WebRtcFeed> {
    const { cname, nowMs } = this.options;
    try {
      return await WebRtcFeed.open({
        lease,
        codec: this.webRtcCodec,
        cname,
        wallClockMs: (rtpTimestamp) => this.clock.wallClockMs(rtpTimestamp),
        nowMs,
      });
    } catch (error) {
      lease.release();
      throw error;
    }
  }

  private closeFeed(feed: WebRtcFeed): void {
    this.feeds.delete(feed);
    feed.close();
  }
}

/** The parameter sets of its SDP are handed on only where they are whole. */
function asItCanBeTold(description: TrackDescription): TrackDescription {
  const { codec, parameters } = description;
  if (!isNalCodec(codec)) return description;
  return { ...description, parameters: withParameterSets(codec, parameters, parameterSetsOf(codec, parameters)) };
}

function inserterFor({ codec, parameters }: TrackDescription): ParameterSetInserter | undefined {
  return isNalCodec(codec) ? new ParameterSetInserter(codec, parameters) : undefined;
}

function newAssembler(description: TrackDescription): FrameAssembler | undefined {
  const { codec } = description;
  return isFrameCodec(codec) ? createFrameAssembler({ ...description, codec }) : undefined;
}

const connectSocket = (socket: Socket, port: number, ip: string): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.connect(port, ip, () => {
      socket.removeListener('error', reject);
      resolve();
    });
  });
