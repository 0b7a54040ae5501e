import { NumberShift } from './number-shift.js';
import type { SenderReport } from './rtcp.js';
import type { RtpNumbers, RtpPacket } from './rtp-packet.js';

interface Numbers extends RtpNumbers {
  atMs: number;
}

/** One sequence number is skipped, so that receivers don't take a picture that was cut off for a complete one. */
const SEQUENCE_STEP = 2;

/**
 * Renumbers the packets of a source that starts again, as if it had never stopped: the same SSRC and payload type,
 * sequence numbers that continue, and timestamps that advanced during the pause. Receivers learn these numbers once,
 * and many treat a jump as old packets.
 */
export class ContinuedNumbering {
  readonly #shift: NumberShift;
  #last: Numbers | undefined;
  #begins = true;

  /** @param as what all packets have; without it, what the very first packet has */
  constructor(
    clockRate: number,
    private readonly as?: Pick<RtpNumbers, 'payloadType' | 'ssrc'>,
  ) {
    this.#shift = new NumberShift(clockRate);
  }

  /** Announces that the next packet is the first one of a restarted source. */
  restart(): void {
    this.#begins = true;
  }

  /** Returns the same packet if no number has to change. */
  packet(packet: RtpPacket, nowMs: number): RtpPacket {
    const last = this.#last;
    if (this.#begins && last !== undefined)
      this.#shift.follow(last, packet, Math.max(last.atMs + 1, nowMs), SEQUENCE_STEP);
    this.#begins = false;
    const { payloadType, ssrc } = this.as ?? last ?? packet;
    const sequenceNumber = this.#shift.sequenceNumber(packet.sequenceNumber);
    const timestamp = this.#shift.timestamp(packet.timestamp);
    const isLate = last !== undefined && ((sequenceNumber - last.sequenceNumber) & 0xffff) >= 0x8000;
    if (!isLate) this.#last = { payloadType, ssrc, sequenceNumber, timestamp, atMs: nowMs };
    if (this.#shift.isZero && packet.ssrc === ssrc && packet.payloadType === payloadType) return packet;
    return packet.renumbered({ payloadType, ssrc, sequenceNumber, timestamp });
  }

  /** Returns undefined until the source's first packet has arrived: before that, the new numbers are unknown. */
  report(report: SenderReport): SenderReport | undefined {
    if (this.#begins || this.#last === undefined) return undefined;
    const { ssrc } = this.#last;
    return { ...report, ssrc, rtpTimestamp: this.#shift.timestamp(report.rtpTimestamp) };
  }
}
