import type { SenderReport } from './rtcp.js';
import type { RtpNumbers, RtpPacket } from './rtp-packet.js';

interface Numbers extends RtpNumbers {
  atMs: number;
}

/** One number is left out, so that a picture that was cut off isn't taken for a whole one. */
const SEQUENCE_STEP = 2;

/**
 * Numbers the packets of a source that begins anew as if it had never been away: the same SSRC and payload type, sequence
 * numbers that follow on, timestamps that went on meanwhile. Receivers were told the numbers once, and many take what
 * jumps for old packets.
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

  /** The next packet is the first of a source that has begun anew. */
  restart(): void {
    this.#begins = true;
  }

  /** A packet that needn't change is handed back as it is. */
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

  /** Of a source whose first packet hasn't come, there is nothing to be told yet. */
  report(report: SenderReport): SenderReport | undefined {
    if (this.#begins || this.#last === undefined) return undefined;
    const { ssrc } = this.#last;
    return { ...report, ssrc, rtpTimestamp: modulo32(report.rtpTimestamp + this.#timestampShift) };
  }
}

const modulo32 = (value: number) => ((value % 2 ** 32) + 2 ** 32) % 2 ** 32;
