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
import { Shared } from './shared-value.js';
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
  /** The most WebRTC players that may each have a feed of their own at the same time. */
  maxOwnFeeds: number;
  /** Gets the time of a key frame's first packet. Other tracks then keep their packets since that time. */
  onKeyFrame(atMs: number): void;
  /** Called when the description has changed because the track carries new parameter sets. */
  onDescribed(): void;
  nowMs(): number;
}

/** Ten seconds at 30 frames a second, and the most bytes for one burst to one player. */
const GOP_LIMITS = { frames: 300, bytes: 4 * 1024 * 1024 };

/** Receivers take their clock from the arrival of packets. Much older packets would give them a wrong clock. */
const RECENT_LIMITS = { ageMs: 700, bytes: 2 * 1024 * 1024 };

interface PipedFeed {
  feed: WebRtcFeed;
  piped: PipedProducer;
}

/**
 * A track of an RTSP source, whose RTP comes into this process. Taps and RTSP players get its packets unchanged, with
 * the parameter sets before each key frame. WebRTC players get the same frames in new packets. Only what WebRTC can't
 * carry is transcoded, and only for them.
 */
export class NativeTrack implements Track {
  #described: TrackDescription;
  readonly #listeners = new Set<PacketListener>();
  readonly #numbering: ContinuedNumbering;
  #assembler: FrameAssembler | undefined;
  readonly #clock: TrackClock;
  readonly #gop = new GopCache(GOP_LIMITS);
  readonly #recent = new RecentPackets(RECENT_LIMITS);
  readonly #feeds = new Set<WebRtcFeed>();
  #shared: Shared<PipedFeed> | undefined;
  #ownFeeds = 0;
  #order = new PictureOrder();
  #parameterSets: ParameterSets | undefined;
  #sourcePayloadType: number;
  #inserter: ParameterSetInserter | undefined;
  #closed = false;

  constructor(private readonly options: NativeTrackOptions) {
    const { description } = options;
    this.#numbering = new ContinuedNumbering(description.clockRate);
    this.#sourcePayloadType = options.payloadType;
    this.#clock = options.clock.track(description.clockRate);
    this.#described = asItCanBeTold(description);
    this.#assembler = newAssembler(description);
    this.#inserter = inserterFor(description);
  }

  /** Called when the source starts again: receivers get a continued numbering, and parameter sets may be new. */
  restart(description: TrackDescription, payloadType: number): void {
    this.#sourcePayloadType = payloadType;
    this.#numbering.restart();
    this.#inserter = inserterFor(description);
    this.#parameterSets = undefined;
    this.#order = new PictureOrder();
    this.#gop.clear();
    this.#recent.clear();
    this.#describe(asItCanBeTold(description));
  }

  get description(): TrackDescription {
    return this.#described;
  }

  /** Keeps the packets since `atMs`, when the stream's last key frame came. */
  keepSince(atMs: number): void {
    this.#recent.beginAt(atMs);
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
        return this.#order.isReordered;
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
    return this.description.codec !== 'H264' || this.#order.isKnown;
  }

  get homeWorker(): MediaWorker | undefined {
    return undefined;
  }

  get pipeCount(): number {
    return this.#feeds.size;
  }

  /** Takes a packet of the source. Drops what isn't RTP of this track, so that no receiver has to check. */
  push(bytes: Buffer): void {
    const packet = this.#closed ? undefined : RtpPacket.parse(bytes);
    if (packet?.payloadType !== this.#sourcePayloadType) return;
    const nowMs = this.options.nowMs();
    if (this.#inserter === undefined) this.#handOn(packet, nowMs);
    else for (const each of this.#inserter.push(packet)) this.#handOn(each, nowMs);
  }

  /** Receivers get the clock of the source's sender reports. The other fields of these reports don't apply to them. */
  pushRtcp(packet: Buffer): void {
    if (this.#closed) return;
    for (const message of parseRtcp(packet)) {
      const report = message.tag === 'sender-report' ? this.#numbering.report(message) : undefined;
      if (report === undefined) continue;
      this.#clock.senderReport(report);
      const bytes = writeSenderReport(report);
      for (const listener of this.#listeners) listener.onRtcp?.(bytes);
    }
  }

  async listen(listener: PacketListener): Promise<() => void> {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  requestKeyFrame(): void {
    // RTSP can't ask for a key frame; viewers get the cached GOP instead.
  }

  async lend(to: RouterLease): Promise<LentTrack> {
    if (this.needsTranscoding) return this.options.transcoding.lend(this, to);
    // A camera makes no key frame for a new viewer, and the last key frame has passed before the viewer is connected.
    // So the viewer gets its own feed, which begins with the last GOP. On a shared feed, all other viewers would get
    // this burst of old frames too. When too many viewers have their own feeds, later ones wait for the next key frame.
    const isShared = this.description.kind === 'audio' || this.#ownFeeds >= this.options.maxOwnFeeds;
    return isShared ? this.#lendShared(to) : this.#lendOwn(to);
  }

  async sendTo({ ip, port }: UdpAddress, { fromKeyFrame, after }: SendOptions): Promise<SentTrack> {
    const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
    await connectSocket(socket, port, ip);
    socket.on('error', () => undefined); // the receiver is gone; the tap's owner closes the tap
    const past = fromKeyFrame ? this.#recent.packets : [];
    const sender = new PacedSender(past, (packet) => socket.send(packet), after);
    const stop = await this.listen({
      onRtp: ({ bytes }) => sender.push(bytes),
      onRtcp: (packet) => sender.push(packet),
    });
    return {
      caughtUp: sender.caughtUp,
      payloadType: this.payloadType,
      ssrc: this.#assembler?.ssrc ?? 0,
      close: () => {
        stop();
        sender.close();
        socket.close();
      },
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.clear();
    this.#gop.clear();
    this.#recent.clear();
    this.#assembler = undefined;
    for (const feed of this.#feeds) feed.close();
    this.#feeds.clear();
  }

  #handOn(packet: RtpPacket, nowMs: number): void {
    const sent = this.#numbering.packet(packet, nowMs);
    for (const listener of this.#listeners) listener.onRtp(sent);
    this.#recent.add(sent.bytes, nowMs);
    if (this.description.codec === 'H264') this.#order.push(sent);
    for (const frame of this.#assembler?.pushPacket(sent) ?? []) this.#onFrame(frame);
  }

  #onFrame(frame: Frame): void {
    this.#clock.arrived(frame.rtpTimestamp, this.options.nowMs());
    if (frame.kind === 'video') {
      this.#gop.add(frame);
      if (frame.isKeyFrame && frame.complete) {
        const atMs = this.#recent.beginWithFrame(((frame.rtpTimestamp % 2 ** 32) + 2 ** 32) % 2 ** 32);
        if (atMs !== undefined) this.options.onKeyFrame(atMs);
      }
      if ('nalUnits' in frame) {
        if (frame.parameterSets !== undefined && frame.parameterSets !== this.#parameterSets)
          this.#decodedWith(frame.codec, frame.parameterSets);
      }
    }
    for (const feed of this.#feeds)
      if (feed.closed) this.#feeds.delete(feed);
      else feed.send(frame);
  }

  #decodedWith(codec: NalCodec, sets: ParameterSets): void {
    this.#parameterSets = sets;
    const { description } = this;
    this.#describe({ ...description, parameters: withParameterSets(codec, description.parameters, sets) });
    this.options.onDescribed();
  }

  #describe(description: TrackDescription): void {
    const webRtcBefore = JSON.stringify(this.webRtcCodec);
    this.#described = description;
    // The shared feed has another codec profile than the answers to new players, so these need another feed.
    if (JSON.stringify(this.webRtcCodec) !== webRtcBefore) this.#shared = undefined;
  }

  async #lendOwn(to: RouterLease): Promise<LentTrack> {
    this.#ownFeeds += 1;
    let released = false;
    const release = () => {
      if (!released) this.#ownFeeds -= 1;
      released = true;
    };
    try {
      const feed = await this.#openFeed(to.share());
      return {
        producerId: feed.producer.id,
        start: () => {
          if (feed.closed || this.#closed) return;
          feed.catchUp(this.#gop.frames);
          this.#feeds.add(feed);
        },
        release: () => {
          release();
          this.#closeFeed(feed);
        },
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #lendShared(to: RouterLease): Promise<LentTrack> {
    const shared = this.#shared ?? this.#share(to.share());
    this.#shared = shared;
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
      if (this.#shared === shared) this.#shared = undefined;
      release();
      throw error;
    }
  }

  #share(lease: RouterLease): Shared<PipedFeed> {
    const shared: Shared<PipedFeed> = new Shared(this.#openPiped(lease), {
      close: ({ feed }) => this.#closeFeed(feed),
      onOver: () => {
        if (this.#shared === shared) this.#shared = undefined;
      },
    });
    return shared;
  }

  async #openPiped(lease: RouterLease): Promise<PipedFeed> {
    const feed = await this.#openFeed(lease);
    this.#feeds.add(feed);
    return { feed, piped: new PipedProducer(() => feed.producer, lease) };
  }

  async #openFeed(lease: RouterLease): Promise<WebRtcFeed> {
    const { cname, nowMs } = this.options;
    try {
      return await WebRtcFeed.open({
        lease,
        codec: this.webRtcCodec,
        cname,
        wallClockMs: (rtpTimestamp) => this.#clock.wallClockMs(rtpTimestamp),
        nowMs,
      });
    } catch (error) {
      lease.release();
      throw error;
    }
  }

  #closeFeed(feed: WebRtcFeed): void {
    this.#feeds.delete(feed);
    feed.close();
  }
}

/** Drops the parameter sets of the SDP when they are incomplete. */
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
