import {
  NumberShift,
  renumber,
  sequenceNumberOf,
  shortNtp,
  ssrcOf,
  timestampOf,
  type NtpTime,
  type ReportBlock,
  type RtpNumbers,
} from '@weir/frames';
import { LossDetector, type Loss } from './loss-detector.js';

export interface ReceivedTrackOptions {
  readonly clockRate: number;
  /** The SSRC and payload type of the packets that go to the media core. */
  readonly out: { readonly ssrc: number; readonly payloadType: number };
}

export interface ReceivedTrackStats {
  readonly packets: number;
  readonly bytes: number;
  readonly packetsLost: number;
}

type Mutable<Value> = { -readonly [Key in keyof Value]: Value[Key] };

const NO_LOSS: Loss = { wanted: [], abandoned: 0 };

/** One medium from the remote: rewrites its packets for the media core and watches for losses. */
export class ReceivedTrack {
  #ssrc: number | undefined;
  #detector = new LossDetector();
  readonly #shift: NumberShift;
  /** The numbers of the last forwarded packet. The object is reused for every packet, to save allocations. */
  readonly #out: Mutable<RtpNumbers>;
  #lastAtMs: number | undefined;
  #transit: number | undefined;
  #jitter = 0;
  #senderReport: { ntp: number; atMs: number } | undefined;
  #packets = 0;
  #bytes = 0;
  #packetsLost = 0;

  constructor(private readonly options: ReceivedTrackOptions) {
    this.#shift = new NumberShift(options.clockRate);
    this.#out = { ...options.out, sequenceNumber: 0, timestamp: 0 };
  }

  /** The remote's SSRC; undefined before the first packet. */
  get ssrc(): number | undefined {
    return this.#ssrc;
  }

  get stats(): ReceivedTrackStats {
    return { packets: this.#packets, bytes: this.#bytes, packetsLost: this.#packetsLost };
  }

  /** The packet for the media core, rewritten in place; undefined for a packet that has come before. */
  receive(packet: Buffer, nowMs: number): Buffer | undefined {
    const ssrc = ssrcOf(packet);
    if (ssrc !== this.#ssrc) this.#follow(packet, ssrc, nowMs);
    if (!this.#detector.received(sequenceNumberOf(packet), nowMs)) return undefined;
    this.#packets += 1;
    this.#bytes += packet.length;
    this.#measureJitter(timestampOf(packet), nowMs);
    return this.#renamed(packet, nowMs);
  }

  losses(nowMs: number, rttMs: number): Loss {
    return this.#detector.isComplete ? NO_LOSS : this.#detector.due(nowMs, rttMs);
  }

  /** @returns the report for the media core; undefined for a report about another SSRC */
  senderReport(
    report: NtpTime & { ssrc: number; rtpTimestamp: number },
    nowMs: number,
  ): (NtpTime & { rtpTimestamp: number }) | undefined {
    if (report.ssrc !== this.#ssrc) return undefined;
    const { ntpSeconds, ntpFraction } = report;
    this.#senderReport = { ntp: shortNtp(report), atMs: nowMs };
    return { ntpSeconds, ntpFraction, rtpTimestamp: this.#shift.timestamp(report.rtpTimestamp) };
  }

  /** The report for the remote; undefined before the first packet. */
  report(nowMs: number): ReportBlock | undefined {
    if (this.#ssrc === undefined) return undefined;
    const counted = this.#detector.report();
    this.#packetsLost = counted.packetsLost;
    const sinceReportMs = this.#senderReport === undefined ? 0 : nowMs - this.#senderReport.atMs;
    return {
      ...counted,
      ssrc: this.#ssrc,
      jitter: Math.round(this.#jitter),
      lastSenderReport: this.#senderReport?.ntp ?? 0,
      delaySinceLastSenderReport: Math.round((sinceReportMs * 0x1_0000) / 1_000),
    };
  }

  /** The numbering of a new SSRC continues where the last one ended, because the media core knows only one SSRC. */
  #follow(packet: Buffer, ssrc: number, nowMs: number): void {
    this.#ssrc = ssrc;
    this.#detector = new LossDetector();
    this.#transit = undefined;
    this.#senderReport = undefined;
    if (this.#lastAtMs === undefined) return;
    const { sequenceNumber, timestamp } = this.#out;
    const first = { sequenceNumber: sequenceNumberOf(packet), timestamp: timestampOf(packet) };
    this.#shift.follow({ sequenceNumber, timestamp, atMs: this.#lastAtMs }, first, nowMs);
  }

  #renamed(packet: Buffer, nowMs: number): Buffer {
    this.#out.sequenceNumber = this.#shift.sequenceNumber(sequenceNumberOf(packet));
    this.#out.timestamp = this.#shift.timestamp(timestampOf(packet));
    this.#lastAtMs = nowMs;
    renumber(packet, this.#out);
    return packet;
  }

  /** RFC 3550 section 6.4.1. */
  #measureJitter(timestamp: number, nowMs: number): void {
    const transit = (nowMs * this.options.clockRate) / 1_000 - timestamp;
    if (this.#transit !== undefined) {
      const difference = Math.abs(transit - this.#transit);
      // A timestamp that has wrapped around isn't jitter.
      if (difference < this.options.clockRate * 10) this.#jitter += (difference - this.#jitter) / 16;
    }
    this.#transit = transit;
  }
}
