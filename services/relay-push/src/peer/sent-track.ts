import { rtpHeaderLength } from './srtp.js';
import { writeDescription, writeSenderReport, type ReportBlock } from './rtcp.js';

export interface SentTrackOptions {
  readonly ssrc: number;
  readonly payloadType: number;
  readonly clockRate: number;
  readonly cname: string;
  /** The id of the header extension abs-send-time; undefined when the remote doesn't want it. */
  readonly absSendTimeId: number | undefined;
  /** Undefined while the path isn't up. */
  readonly protect: (header: Buffer, payload: Buffer) => Buffer | undefined;
  readonly send: (protectedPacket: Buffer) => void;
}

export interface SentTrackStats {
  readonly packets: number;
  readonly bytes: number;
  readonly resent: number;
  /** Asked for again, and no longer here. */
  readonly forgotten: number;
  /** Of the remote's last report, 0 to 1. */
  readonly fractionLost: number;
  readonly rttMs: number | undefined;
}

interface Kept {
  readonly sequenceNumber: number;
  readonly bytes: Buffer;
  readonly sentAtMs: number;
  resentAtMs: number;
}

/** Enough for a second and more of a 10 Mbit/s stream. */
const KEPT_PACKETS = 1_024;
/** Older than this a lost packet is of no use to a live picture. */
const KEPT_MS = 2_000;
/** One loss is asked for again before the answer can be there: what was sent within a round trip is under way. */
const MIN_RESEND_PAUSE_MS = 20;
/** Repetitions that a path may carry beside each packet; on a path that is full, more would only make it fuller. */
const REPETITIONS_PER_PACKET = 0.5;
const MAX_REPETITIONS = 200;
const NTP_UNIX_SECONDS = 2_208_988_800;
const EXTENSION_BYTES = 8;

/** One medium on its way to the remote: as the source sends it, but for what names it. Lost packets are sent again. */
export class SentTrack {
  readonly #kept = new Array<Kept | undefined>(KEPT_PACKETS);
  #source: number | undefined;
  #sequenceOffset = 0;
  #timestampOffset = 0;
  #last: { sequenceNumber: number; timestamp: number; sentAtMs: number } | undefined;
  #packets = 0;
  #bytes = 0;
  #resent = 0;
  #forgotten = 0;
  #repetitions = MAX_REPETITIONS;
  #fractionLost = 0;
  #rttMs: number | undefined;
  /** The middle 32 bits of a report's NTP time, and when it was sent. */
  readonly #reportsSent = new Map<number, number>();

  constructor(private readonly options: SentTrackOptions) {}

  get stats(): SentTrackStats {
    return {
      packets: this.#packets,
      bytes: this.#bytes,
      resent: this.#resent,
      forgotten: this.#forgotten,
      fractionLost: this.#fractionLost,
      rttMs: this.#rttMs,
    };
  }

  /** Takes the source's RTP. A new source goes on where the last one ended. */
  forward(packet: Buffer, nowMs: number): void {
    const headerBytes = rtpHeaderLength(packet);
    if (headerBytes === undefined) return;
    this.#follow(packet, nowMs);
    const sequenceNumber = (packet.readUInt16BE(2) + this.#sequenceOffset) & 0xffff;
    const timestamp = (packet.readUInt32BE(4) + this.#timestampOffset) >>> 0;
    const header = this.#header(packet, sequenceNumber, timestamp, nowMs);
    const sealed = this.options.protect(header, packet.subarray(headerBytes));
    if (sealed === undefined) return;
    this.options.send(sealed);
    this.#kept[sequenceNumber % KEPT_PACKETS] = { sequenceNumber, bytes: sealed, sentAtMs: nowMs, resentAtMs: 0 };
    this.#last = { sequenceNumber, timestamp, sentAtMs: nowMs };
    this.#packets += 1;
    this.#bytes += packet.length - headerBytes;
    this.#repetitions = Math.min(MAX_REPETITIONS, this.#repetitions + REPETITIONS_PER_PACKET);
  }

  /** The very same protected packet again: its index and its text are one. */
  resend(sequenceNumbers: readonly number[], nowMs: number): void {
    const pauseMs = Math.max(MIN_RESEND_PAUSE_MS, this.#rttMs ?? 0);
    for (const sequenceNumber of sequenceNumbers) {
      const kept = this.#kept[sequenceNumber % KEPT_PACKETS];
      if (kept?.sequenceNumber !== sequenceNumber || nowMs - kept.sentAtMs > KEPT_MS) {
        this.#forgotten += 1;
      } else if (nowMs - kept.resentAtMs >= pauseMs && this.#repetitions >= 1) {
        kept.resentAtMs = nowMs;
        this.#repetitions -= 1;
        this.#resent += 1;
        this.options.send(kept.bytes);
      }
    }
  }

  /** The source's clock for the remote: without it picture and sound can't be kept together. */
  senderReport(source: { ntpSeconds: number; ntpFraction: number; rtpTimestamp: number }, nowMs: number): Buffer {
    const { ssrc, cname } = this.options;
    const { ntpSeconds, ntpFraction } = source;
    this.#reportsSent.set((((ntpSeconds & 0xffff) << 16) | (ntpFraction >>> 16)) >>> 0, nowMs);
    if (this.#reportsSent.size > 8) this.#reportsSent.delete(this.#reportsSent.keys().next().value ?? 0);
    const report = writeSenderReport({
      ...{ ssrc, ntpSeconds, ntpFraction, packetCount: this.#packets, octetCount: this.#bytes },
      rtpTimestamp: (source.rtpTimestamp + this.#timestampOffset) >>> 0,
    });
    return Buffer.concat([report, writeDescription(ssrc, cname)]);
  }

  /** For a source that tells no clock: its last packet stands for the moment at which it came. */
  arrivalReport(nowMs: number): Buffer | undefined {
    if (this.#last === undefined) return undefined;
    const { timestamp, sentAtMs } = this.#last;
    const seconds = sentAtMs / 1_000 + NTP_UNIX_SECONDS;
    const ntpSeconds = Math.floor(seconds) % 2 ** 32;
    const ntpFraction = Math.floor((seconds % 1) * 2 ** 32);
    return this.senderReport({ ntpSeconds, ntpFraction, rtpTimestamp: timestamp - this.#timestampOffset }, nowMs);
  }

  reported({ fractionLost, lastSenderReport, delaySinceLastSenderReport }: ReportBlock, nowMs: number): void {
    this.#fractionLost = fractionLost;
    const sentAtMs = this.#reportsSent.get(lastSenderReport);
    if (sentAtMs !== undefined)
      this.#rttMs = Math.max(0, nowMs - sentAtMs - (delaySinceLastSenderReport * 1_000) / 0x1_0000);
  }

  #follow(packet: Buffer, nowMs: number): void {
    const source = packet.readUInt32BE(8);
    if (source === this.#source) return;
    this.#source = source;
    if (this.#last === undefined) return;
    const elapsedTicks = Math.round(((nowMs - this.#last.sentAtMs) * this.options.clockRate) / 1_000);
    this.#sequenceOffset = (this.#last.sequenceNumber + 1 - packet.readUInt16BE(2)) & 0xffff;
    this.#timestampOffset = (this.#last.timestamp + elapsedTicks - packet.readUInt32BE(4)) >>> 0;
  }

  /** Without the source's contributing sources and header extensions: the remote has never agreed to them. */
  #header(packet: Buffer, sequenceNumber: number, timestamp: number, nowMs: number): Buffer {
    const { ssrc, payloadType, absSendTimeId } = this.options;
    const out = Buffer.allocUnsafe(absSendTimeId === undefined ? 12 : 12 + EXTENSION_BYTES);
    const hasPadding = (packet.readUInt8(0) & 0x20) !== 0;
    out.writeUInt8(0x80 | (hasPadding ? 0x20 : 0) | (absSendTimeId === undefined ? 0 : 0x10), 0);
    out.writeUInt8((packet.readUInt8(1) & 0x80) | payloadType, 1);
    out.writeUInt16BE(sequenceNumber, 2);
    out.writeUInt32BE(timestamp, 4);
    out.writeUInt32BE(ssrc, 8);
    if (absSendTimeId !== undefined) {
      // RFC 8285's one-byte form; 24 bits of seconds with 18 behind the point.
      out.writeUInt32BE(0xbede_0001, 12);
      const seconds = nowMs / 1_000 + NTP_UNIX_SECONDS;
      out.writeUInt32BE(
        ((absSendTimeId << 28) | (2 << 24) | (Math.floor((seconds % 64) * 0x4_0000) & 0xff_ffff)) >>> 0,
        16,
      );
    }
    return out;
  }
}
