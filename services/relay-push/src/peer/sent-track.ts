import {
  forwardedHeader,
  ntpTimeOf,
  NumberShift,
  rtpHeaderBytes,
  sequenceNumberOf,
  shortNtp,
  ssrcOf,
  timestampOf,
  writeDescription,
  writeSenderReport,
  type NtpTime,
  type ReportBlock,
  type RtpNumbers,
} from '@weir/frames';

export interface SentTrackOptions {
  readonly ssrc: number;
  readonly payloadType: number;
  readonly clockRate: number;
  readonly cname: string;
  /** The id of the header extension abs-send-time; undefined if the remote doesn't want it. */
  readonly absSendTimeId: number | undefined;
  /** Returns undefined while the path isn't up. */
  readonly protect: (header: Buffer, payload: Buffer) => Buffer | undefined;
  readonly send: (protectedPacket: Buffer) => void;
}

export interface SentTrackStats {
  readonly packets: number;
  readonly bytes: number;
  readonly resent: number;
  /** Packets that the remote requested again and that were no longer kept. */
  readonly forgotten: number;
  /** From the remote's last report, 0 to 1. */
  readonly fractionLost: number;
  readonly rttMs: number | undefined;
}

interface Kept extends RtpNumbers {
  bytes: Buffer;
  readonly sentAtMs: number;
  resentAtMs: number;
}

/** Enough for more than a second of a 10 Mbit/s stream. */
const KEPT_PACKETS = 1_024;
/** A lost packet that is older than this is of no use to a live picture. */
const KEPT_MS = 2_000;
/**
 * The remote may request a packet again before the first repetition can have arrived. A packet that was sent within one
 * round trip is still under way.
 */
const MIN_RESEND_PAUSE_MS = 20;
/** How many repetitions each new packet allows; on a full path, more of them would only make it fuller. */
const REPETITIONS_PER_PACKET = 0.5;
const MAX_REPETITIONS = 200;

/**
 * One medium for the remote: its packets are the source's except for SSRC, payload type and numbering. Lost packets are
 * sent again.
 */
export class SentTrack {
  readonly #kept = new Array<Kept | undefined>(KEPT_PACKETS);
  #source: number | undefined;
  readonly #shift: NumberShift;
  #last: Kept | undefined;
  #packets = 0;
  #bytes = 0;
  #resent = 0;
  #forgotten = 0;
  #repetitions = MAX_REPETITIONS;
  #fractionLost = 0;
  #rttMs: number | undefined;
  /** When each report was sent, by the middle 32 bits of its NTP time. */
  readonly #reportsSent = new Map<number, number>();

  constructor(private readonly options: SentTrackOptions) {
    this.#shift = new NumberShift(options.clockRate);
  }

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

  /** Forwards a packet of the source. The numbering of a new source continues where the last one ended. */
  forward(packet: Buffer, nowMs: number): void {
    const headerBytes = rtpHeaderBytes(packet);
    if (headerBytes === undefined) return;
    this.#follow(packet, nowMs);
    const { payloadType, ssrc, absSendTimeId } = this.options;
    const sequenceNumber = this.#shift.sequenceNumber(sequenceNumberOf(packet));
    const timestamp = this.#shift.timestamp(timestampOf(packet));
    const sent: Kept = {
      payloadType,
      ssrc,
      sequenceNumber,
      timestamp,
      bytes: packet,
      sentAtMs: nowMs,
      resentAtMs: 0,
    };
    // The source's header extensions are left out, because the remote hasn't agreed to them.
    const header = forwardedHeader(packet, sent, absSendTimeId, nowMs);
    const sealed = this.options.protect(header, packet.subarray(headerBytes));
    if (sealed === undefined) return;
    this.options.send(sealed);
    sent.bytes = sealed;
    this.#kept[sequenceNumber % KEPT_PACKETS] = sent;
    this.#last = sent;
    this.#packets += 1;
    this.#bytes += packet.length - headerBytes;
    this.#repetitions = Math.min(MAX_REPETITIONS, this.#repetitions + REPETITIONS_PER_PACKET);
  }

  /** Sends the same protected packets again: an index must not protect two different texts. */
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

  /** Passes the source's clock to the remote, which needs it to keep picture and sound together. */
  senderReport(source: NtpTime & { rtpTimestamp: number }, nowMs: number): Buffer {
    const { ssrc, cname } = this.options;
    const { ntpSeconds, ntpFraction } = source;
    this.#reportsSent.set(shortNtp(source), nowMs);
    if (this.#reportsSent.size > 8) this.#reportsSent.delete(this.#reportsSent.keys().next().value ?? 0);
    const report = writeSenderReport({
      ...{ ssrc, ntpSeconds, ntpFraction, packetCount: this.#packets, octetCount: this.#bytes },
      rtpTimestamp: this.#shift.timestamp(source.rtpTimestamp),
    });
    return Buffer.concat([report, writeDescription(ssrc, cname)]);
  }

  /** A report for a source that sends none: it takes the arrival of the last packet as the time of that packet. */
  arrivalReport(nowMs: number): Buffer | undefined {
    if (this.#last === undefined) return undefined;
    const { timestamp, sentAtMs } = this.#last;
    return this.senderReport({ ...ntpTimeOf(sentAtMs), rtpTimestamp: this.#shift.sourceTimestamp(timestamp) }, nowMs);
  }

  reported({ fractionLost, lastSenderReport, delaySinceLastSenderReport }: ReportBlock, nowMs: number): void {
    this.#fractionLost = fractionLost;
    const sentAtMs = this.#reportsSent.get(lastSenderReport);
    if (sentAtMs !== undefined)
      this.#rttMs = Math.max(0, nowMs - sentAtMs - (delaySinceLastSenderReport * 1_000) / 0x1_0000);
  }

  #follow(packet: Buffer, nowMs: number): void {
    const source = ssrcOf(packet);
    if (source === this.#source) return;
    this.#source = source;
    if (this.#last === undefined) return;
    const { sequenceNumber, timestamp, sentAtMs: atMs } = this.#last;
    const first = { sequenceNumber: sequenceNumberOf(packet), timestamp: timestampOf(packet) };
    this.#shift.follow({ sequenceNumber, timestamp, atMs }, first, nowMs);
  }
}
