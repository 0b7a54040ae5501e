import { isExactRecoveryPoint, type NalCodec, nalRole, ParameterSetStore } from './parameter-sets.js';
import { RtpPacket, writeRtpPacket } from './rtp-packet.js';

interface Insertion {
  /** Of the source's packet before which something was put. */
  sequenceNumber: number;
  packets: number;
}

/** So many insertions back a late packet still finds its number; before that, reordering has long been over. */
const REMEMBERED_INSERTIONS = 8;
const NONE: readonly Uint8Array[] = [];
const NOTHING_CARRIED = { vps: false, sps: false, pps: false };

/**
 * Gives every key frame its parameter sets in band. Many sources tell them in the SDP alone, or once at their beginning;
 * who joins later, or has joined before the source began anew with others, could not decode. Packets that are put in
 * move the sequence numbers of those behind them.
 */
export class ParameterSetInserter {
  readonly #codec: NalCodec;
  readonly #store: ParameterSetStore;
  readonly #insertions: Insertion[] = [];
  #forgotten = 0;
  /** What has come since the last picture began. */
  #carried = { ...NOTHING_CARRIED };
  #isRecoveryPoint = false;
  #pictureTimestamp: number | undefined;

  /** @param fmtp with names in lower case */
  constructor(codec: NalCodec, fmtp: Readonly<Record<string, unknown>>) {
    this.#codec = codec;
    this.#store = new ParameterSetStore(codec, fmtp);
  }

  /** The packet, and before it what it lacks. A packet that needn't change is handed back as it is. */
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
