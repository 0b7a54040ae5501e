import { AudioPacketizer, H264Packetizer, ntpTimeOf, writeSenderReport, type Frame } from '@weir/frames';
import type { StreamCodec } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { randomInt } from 'node:crypto';
import { producerOptionsOf } from './track.js';
import type { RouterLease } from './worker-pool.js';

/** The timestamps of a restarted source jump. After a jump of this size, new frames continue the earlier timestamps. */
const TIMESTAMP_JUMP_MS = 5_000;
const SENDER_REPORT_INTERVAL_MS = 1_000;
/** The timestamps of frames of the past are this far apart, so that a decoder plays them at once. */
const CATCH_UP_FRAME_MS = 1;

export interface WebRtcFeedOptions {
  /** The router of the feed's producer. The feed releases it when it closes. */
  lease: RouterLease;
  codec: StreamCodec;
  /** The same for all media of one source, so that players synchronise them. */
  cname: string;
  /** The wall-clock time of a frame, if the source has told it. Otherwise the time of its arrival counts. */
  wallClockMs(rtpTimestamp: number): number | undefined;
  nowMs(): number;
}

/** Sends a native track's frames to a mediasoup producer, in packets that fit WebRTC, with parameter sets in band. */
export class WebRtcFeed {
  readonly #packetizer: H264Packetizer | AudioPacketizer;
  #offset: number;
  #lastTimestamp: number | undefined;
  #lastSentMs = 0;
  #nextReportMs = 0;
  #packets = 0;
  #bytes = 0;

  private constructor(
    private readonly options: WebRtcFeedOptions,
    private readonly transport: mediasoup.DirectTransport,
    readonly producer: mediasoup.Producer,
    private readonly ssrc: number,
  ) {
    const numbering = { payloadType: FEED_PAYLOAD_TYPE, ssrc, sequenceNumber: randomInt(0x1_00_00) };
    this.#packetizer = options.codec.kind === 'video' ? new H264Packetizer(numbering) : new AudioPacketizer(numbering);
    this.#offset = randomInt(0x1_00_00_00);
  }

  static async open(options: WebRtcFeedOptions): Promise<WebRtcFeed> {
    const { lease, codec, cname } = options;
    const transport = await lease.router.createDirectTransport();
    try {
      const ssrc = randomInt(1, 0x1_00_00_00_00);
      const producer = await transport.produce(
        producerOptionsOf(codec, { payloadType: FEED_PAYLOAD_TYPE, ssrc, cname }),
      );
      return new WebRtcFeed(options, transport, producer, ssrc);
    } catch (error) {
      transport.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.producer.closed;
  }

  /** Sends the frames since the last key frame, with timestamps so close that a new decoder plays them at once. */
  catchUp(frames: readonly Frame[]): void {
    const last = frames.at(-1);
    if (last === undefined) return;
    const step = (CATCH_UP_FRAME_MS * this.options.codec.clockRate) / 1_000;
    for (const [index, frame] of frames.entries())
      this.#packetize({ ...frame, rtpTimestamp: last.rtpTimestamp - (frames.length - 1 - index) * step });
    this.#lastTimestamp = last.rtpTimestamp + this.#offset;
    this.#lastSentMs = this.options.nowMs();
  }

  send(frame: Frame): void {
    if (this.closed) return;
    const nowMs = this.options.nowMs();
    this.#follow(frame.rtpTimestamp, nowMs);
    this.#packetize(frame);
    this.#lastTimestamp = frame.rtpTimestamp + this.#offset;
    this.#lastSentMs = nowMs;
    if (nowMs >= this.#nextReportMs) this.#report(frame.rtpTimestamp, nowMs);
  }

  close(): void {
    this.transport.close();
    this.options.lease.release();
  }

  #follow(rtpTimestamp: number, nowMs: number): void {
    if (this.#lastTimestamp === undefined) return;
    const ticksPerMs = this.options.codec.clockRate / 1_000;
    const advancedMs = (rtpTimestamp + this.#offset - this.#lastTimestamp) / ticksPerMs;
    const elapsedMs = nowMs - this.#lastSentMs;
    if (Math.abs(advancedMs - elapsedMs) < TIMESTAMP_JUMP_MS) return;
    this.#offset = Math.round(this.#lastTimestamp + Math.max(1, elapsedMs) * ticksPerMs) - rtpTimestamp;
  }

  #packetize(frame: Frame): void {
    const shifted = { ...frame, rtpTimestamp: frame.rtpTimestamp + this.#offset };
    const packets =
      this.#packetizer instanceof H264Packetizer
        ? 'nalUnits' in shifted
          ? this.#packetizer.packetize(shifted)
          : []
        : shifted.kind === 'audio'
          ? this.#packetizer.packetize(shifted)
          : [];
    for (const packet of packets) {
      this.#packets += 1;
      this.#bytes += packet.length;
      this.producer.send(packet);
    }
  }

  /** Tells the wall-clock time of a timestamp, by which a player synchronises picture and sound (RFC 3550 §6.4.1). */
  #report(rtpTimestamp: number, nowMs: number): void {
    this.#nextReportMs = nowMs + SENDER_REPORT_INTERVAL_MS;
    const report = writeSenderReport({
      ssrc: this.ssrc,
      ...ntpTimeOf(this.options.wallClockMs(rtpTimestamp) ?? Date.now()),
      rtpTimestamp: rtpTimestamp + this.#offset,
      packetCount: this.#packets,
      octetCount: this.#bytes,
    });
    this.transport.sendRtcp(report);
  }
}

/** Any number will do, because players get the payload types of their router. */
const FEED_PAYLOAD_TYPE = 100;
