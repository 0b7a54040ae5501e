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
  readonly #ticksPerMs: number;
  #last: Numbers | undefined;
  #sequenceShift = 0;
  #timestampShift = 0;
  #begins = true;

  constructor(clockRate: number) {
    this.#ticksPerMs = clockRate / 1_000;
  }

  /** Announces that the next packet is the first one of a restarted source. */
  restart(): void {
    this.#begins = true;
  }

  /** Returns the same packet if no number has to change. */
  packet(packet: RtpPacket, nowMs: number): RtpPacket {
    const last = this.#last;
    if (this.#begins && last !== undefined) {
      this.#sequenceShift = last.sequenceNumber + SEQUENCE_STEP - packet.sequenceNumber;
      const elapsedTicks = Math.round(Math.max(1, nowMs - last.atMs) * this.#ticksPerMs);
      this.#timestampShift = last.timestamp + elapsedTicks - packet.timestamp;
    }
    this.#begins = false;
    const { payloadType, ssrc } = last ?? packet;
    const sequenceNumber = (packet.sequenceNumber + this.#sequenceShift) & 0xffff;
    const timestamp = modulo32(packet.timestamp + this.#timestampShift);
    const isLate = last !== undefined && ((sequenceNumber - last.sequenceNumber) & 0xffff) >= 0x8000;
    if (!isLate) this.#last = { payloadType, ssrc, sequenceNumber, timestamp, atMs: nowMs };
    const isUnchanged = this.#sequenceShift === 0 && this.#timestampShift === 0;
    if (isUnchanged && packet.ssrc === ssrc && packet.payloadType === payloadType) return packet;
    return packet.renumbered({ payloadType, ssrc, sequenceNumber, timestamp });
  }

  /** Returns undefined until the source's first packet has arrived: before that, the new numbers are unknown. */
  report(report: SenderReport): SenderReport | undefined {
    if (this.#begins || this.#last === undefined) return undefined;
    const { ssrc } = this.#last;
    return { ...report, ssrc, rtpTimestamp: modulo32(report.rtpTimestamp + this.#timestampShift) };
  }
}

const modulo32 = (value: number) => ((value % 2 ** 32) + 2 ** 32) % 2 ** 32;
