import { createSocket, type Socket } from 'node:dgram';
import {
  createFrameAssembler,
  isBSlice,
  parseH264Sps,
  parseRtcp,
  parseRtpPacket,
  type Frame,
  type FrameAssembler,
  type FrameCodec,
  type NalFrame,
  type SourceClock,
  type TrackClock,
} from '@weir/frames';
import type { StreamCodec } from '@weir/media-core';
import { GopCache } from './gop-cache.js';
import { PacedSender } from './paced-sender.js';
import { PipedProducer } from './piped-producer.js';
import { RecentPackets } from './recent-packets.js';
import type {
  LentTrack,
  PacketListener,
  SendOptions,
  SentTrack,
  Track,
  TrackDescription,
  UdpAddress,
} from './track.js';
import { WebRtcFeed } from './webrtc-feed.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

/** Makes of a track what WebRTC can carry; shared by the tracks of one stream. */
export interface Transcoding {
  /** The transcoded track on some router, as long as somebody needs it. */
  lend(track: NativeTrack, to: RouterLease): Promise<LentTrack>;
}

export interface NativeTrackOptions {
  description: TrackDescription;
  payloadType: number;
  ssrc: number | undefined;
  cname: string;
  clock: SourceClock;
  transcoding: Transcoding;
  /** WebRTC players who may have a feed of their own, at a time. */
  maxOwnFeeds: number;
  /** A key frame has come, whose first packet came then: other tracks keep what came since. */
  onKeyFrame(atMs: number): void;
  nowMs(): number;
}

/** Up to ten seconds of 30 frames, and what a burst to one player may cost. */
const GOP_LIMITS = { frames: 300, bytes: 4 * 1024 * 1024 };

/** Receivers place media by when they come: much more of the past would put them on a wrong clock. */
const RECENT_LIMITS = { ageMs: 700, bytes: 2 * 1024 * 1024 };

interface SharedFeed {
  feed: Promise<{ feed: WebRtcFeed; piped: PipedProducer }>;
  users: number;
}

/**
 * A track whose RTP comes into this process: an RTSP source's. Taps and RTSP players get its packets as they are. For
 * WebRTC players its frames are packed anew, untouched inside; only what WebRTC can't carry is transcoded, for them.
 */
export class NativeTrack implements Track {
  readonly description: TrackDescription;
  private readonly listeners = new Set<PacketListener>();
  private assembler: FrameAssembler | undefined;
  private readonly clock: TrackClock;
  private readonly gop = new GopCache(GOP_LIMITS);
  private readonly recent = new RecentPackets(RECENT_LIMITS);
  private readonly feeds = new Set<WebRtcFeed>();
  private shared: SharedFeed | undefined;
  private ownFeeds = 0;
  private hasBFrames = false;
  private parameterSets: NalFrame['parameterSets'];
  private closed = false;

  constructor(private readonly options: NativeTrackOptions) {
    this.description = options.description;
    this.clock = options.clock.track(options.description.clockRate);
    this.assembler = this.newAssembler(options.payloadType, options.ssrc);
  }

  /** The source has begun anew, under other numbers. */
  restart(payloadType: number, ssrc: number | undefined): void {
    this.options.payloadType = payloadType;
    this.assembler = this.newAssembler(payloadType, ssrc);
    this.gop.clear();
    this.recent.clear();
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
    if (this.needsTranscoding) return kind === 'video' ? TRANSCODED_VIDEO : TRANSCODED_AUDIO;
    if (codec === 'H264') {
      const parameters = {
        'packetization-mode': 1,
        'level-asymmetry-allowed': 1,
        'profile-level-id': this.profileLevelId(),
      };
      return { kind, mimeType: 'video/H264', clockRate, parameters };
    }
    if (codec === 'opus')
      return { kind, mimeType: 'audio/opus', clockRate: 48_000, channels: 2, parameters: { useinbandfec: 1 } };
    return { kind, mimeType: `audio/${codec}`, clockRate, channels, parameters: {} };
  }

  /** What WebRTC can't carry, or no browser decodes. */
  get needsTranscoding(): boolean {
    const { codec, channels } = this.description;
    if (codec === 'H264') return this.hasBFrames;
    return !(codec === 'opus' || ((codec === 'PCMU' || codec === 'PCMA') && channels === 1));
  }

  get homeWorker(): MediaWorker | undefined {
    return undefined;
  }

  get pipeCount(): number {
    return this.feeds.size;
  }

  /** What is no RTP is dropped here, so that nobody behind has to expect it. */
  push(packet: Buffer): void {
    if (this.closed || parseRtpPacket(packet) === undefined) return;
    for (const listener of this.listeners) listener.onRtp(packet);
    this.recent.add(packet, this.options.nowMs());
    for (const frame of this.assembler?.push(packet) ?? []) this.onFrame(frame);
  }

  pushRtcp(packet: Buffer): void {
    if (this.closed) return;
    for (const message of parseRtcp(packet)) if (message.kind === 'sender-report') this.clock.senderReport(message);
    for (const listener of this.listeners) listener.onRtcp?.(packet);
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
    const send = (packet: Buffer) => sender.push(packet);
    const stop = await this.listen({ onRtp: send, onRtcp: send });
    return {
      caughtUp: sender.caughtUp,
      payloadType: this.options.payloadType,
      ssrc: this.assembler?.ssrc ?? this.options.ssrc ?? 0,
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

  private newAssembler(payloadType: number, ssrc: number | undefined): FrameAssembler | undefined {
    const { codec, clockRate, channels, parameters } = this.description;
    const known = FRAME_CODECS.find((name) => name.toLowerCase() === codec.toLowerCase());
    if (known === undefined) return undefined;
    return createFrameAssembler({
      codec: known,
      clockRate,
      parameters,
      payloadType,
      ...(channels > 0 ? { channels } : {}),
      ...(ssrc === undefined ? {} : { ssrc }),
    });
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
        this.parameterSets = frame.parameterSets ?? this.parameterSets;
        if (frame.codec === 'H264' && frame.nalUnits.some(isBSlice)) this.hasBFrames = true;
      }
    }
    for (const feed of this.feeds)
      if (feed.closed) this.feeds.delete(feed);
      else feed.send(frame);
  }

  private profileLevelId(): string {
    const sps = this.parameterSets?.sps[0];
    if (sps !== undefined && parseH264Sps(sps) !== undefined && sps.length > 3)
      return Buffer.from(sps.subarray(1, 4)).toString('hex');
    return this.description.parameters['profile-level-id'] ?? '42e01f';
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
    const shared = this.shared ?? { feed: this.openShared(to.share()), users: 0 };
    this.shared = shared;
    shared.users += 1;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      shared.users -= 1;
      if (shared.users > 0) return;
      if (this.shared === shared) this.shared = undefined;
      shared.feed.then(
        ({ feed }) => this.closeFeed(feed),
        () => undefined, // whoever asked for the track has met the error
      );
    };
    try {
      const { feed, piped } = await shared.feed;
      if (feed.closed) throw new Error('the worker of the feed has died');
      const lent = await piped.lend(to);
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

  private async openShared(lease: RouterLease) {
    const feed = await this.openFeed(lease);
    this.feeds.add(feed);
    return { feed, piped: new PipedProducer(feed.producer, lease) };
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

const FRAME_CODECS: readonly FrameCodec[] = ['H264', 'H265', 'VP8', 'VP9', 'opus', 'mpeg4-generic', 'PCMU', 'PCMA'];

/** What ffmpeg makes for WebRTC. */
export const TRANSCODED_VIDEO: StreamCodec = {
  kind: 'video',
  mimeType: 'video/H264',
  clockRate: 90_000,
  parameters: { 'packetization-mode': 1, 'level-asymmetry-allowed': 1, 'profile-level-id': '42e01f' },
};
export const TRANSCODED_AUDIO: StreamCodec = {
  kind: 'audio',
  mimeType: 'audio/opus',
  clockRate: 48_000,
  channels: 2,
  parameters: { useinbandfec: 1 },
};

const connectSocket = (socket: Socket, port: number, ip: string): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.connect(port, ip, () => {
      socket.removeListener('error', reject);
      resolve();
    });
  });
