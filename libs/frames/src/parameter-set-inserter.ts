import { isExactRecoveryPoint, type NalCodec, nalRole, ParameterSetStore } from './parameter-sets.js';
import { RtpPacket, writeRtpPacket } from './rtp-packet.js';

interface Insertion {
  /** The source's packet before which packets were inserted. */
  sequenceNumber: number;
  packets: number;
}

/** A late packet still gets its number if at most this many insertions came after it; reordering never lasts longer. */
const REMEMBERED_INSERTIONS = 8;
const NONE: readonly Uint8Array[] = [];
const NOTHING_CARRIED = { vps: false, sps: false, pps: false };

/**
 * Adds the parameter sets to every key frame that lacks them. Many sources send them only in the SDP, or once at the
 * start. A receiver that joins later, or that joined before the source restarted with other sets, could not decode.
 * Each inserted packet shifts the sequence numbers of the packets after it.
 */
export class ParameterSetInserter {
  readonly #codec: NalCodec;
  readonly #store: ParameterSetStore;
  readonly #insertions: Insertion[] = [];
  #forgotten = 0;
  /** The kinds of sets received since the last picture started. */
  #carried = { ...NOTHING_CARRIED };
  #isRecoveryPoint = false;
  #pictureTimestamp: number | undefined;

  /** @param fmtp parameter names in lower case */
  constructor(codec: NalCodec, fmtp: Readonly<Record<string, unknown>>) {
    this.#codec = codec;
    this.#store = new ParameterSetStore(codec, fmtp);
  }

  /**
   * Returns the packet, preceded by the sets that it lacks. It is the same object if its sequence number doesn't
   * change.
   */
  push(packet: RtpPacket): RtpPacket[] {
    const shift = this.#shiftOf(packet.sequenceNumber);
    const missing = this.#missingBefore(packet);
    const { payloadType, sequenceNumber, timestamp, ssrc } = packet;
    const inserted = missing.flatMap((set, index) => {
      const header = { payloadType, timestamp, ssrc, marker: false, sequenceNumber: sequenceNumber + shift + index };
      return RtpPacket.parse(writeRtpPacket(header, set)) ?? [];
    });
    if (inserted.length > 0) this.#remember({ sequenceNumber, packets: inserted.length });
    const moved = (sequenceNumber + shift + inserted.length) & 0xffff;
    const own =
      moved === sequenceNumber ? packet : packet.renumbered({ payloadType, sequenceNumber: moved, timestamp, ssrc });
    return inserted.length === 0 ? [own] : [...inserted, own];
  }

  #missingBefore(packet: RtpPacket): readonly Uint8Array[] {
    for (const { nalUnit, isWhole } of packet.nalUnits(this.#codec)) {
      const role = nalRole(this.#codec, nalUnit);
      if (role === 'vps' || role === 'sps' || role === 'pps') {
        if (isWhole) this.#store.add(nalUnit);
        this.#carried[role] = true;
      } else if (role === 'sei' && this.#codec === 'H264') {
        this.#isRecoveryPoint ||= isExactRecoveryPoint(nalUnit);
      } else if (role === 'slice' || role === 'key-slice') {
        return this.#missingForSlice(nalUnit, role === 'key-slice', packet.timestamp);
      }
    }
    return NONE;
  }

  #missingForSlice(slice: Uint8Array, isKeySlice: boolean, timestamp: number): readonly Uint8Array[] {
    if (timestamp === this.#pictureTimestamp) return NONE;
    this.#pictureTimestamp = timestamp;
    const isKeyFrame = isKeySlice || this.#isRecoveryPoint;
    const { sps, pps, vps } = this.#carried;
    this.#carried = { ...NOTHING_CARRIED };
    this.#isRecoveryPoint = false;
    if (!isKeyFrame || (sps && pps && (this.#codec === 'H264' || vps))) return NONE;
    const sets = this.#store.forSlice(slice);
    return sets === undefined ? NONE : [...sets.vps, ...sets.sps, ...sets.pps];
  }

  #shiftOf(sequenceNumber: number): number {
    const isBefore = (other: number) => ((sequenceNumber - other) & 0xffff) >= 0x8000;
    return this.#insertions.reduce(
      (sum, { sequenceNumber: at, packets }) => (isBefore(at) ? sum : sum + packets),
      this.#forgotten,
    );
  }

  #remember(insertion: Insertion): void {
    this.#insertions.push(insertion);
    if (this.#insertions.length > REMEMBERED_INSERTIONS) this.#forgotten += this.#insertions.shift()?.packets ?? 0;
  }
}
