import { nalUnitsBegunIn } from './nal-payload.js';
import { isExactRecoveryPoint, type NalCodec, nalRole, ParameterSetStore } from './parameter-sets.js';
import { parseRtpPacket, type RtpPacket, writeRtpPacket } from './rtp-packet.js';

interface Insertion {
  /** Of the source's packet before which something was put. */
  sequenceNumber: number;
  packets: number;
}

/** So many insertions back a late packet still finds its number; before that, reordering has long been over. */
const REMEMBERED_INSERTIONS = 8;

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
  #carried = new Set<string>();
  #isRecoveryPoint = false;
  #pictureTimestamp: number | undefined;

  /** @param fmtp with names in lower case */
  constructor(codec: NalCodec, fmtp: Readonly<Record<string, unknown>>) {
    this.#codec = codec;
    this.#store = new ParameterSetStore(codec, fmtp);
  }

  /** The packet, and before it what it lacks. A packet that needn't change is handed back as it is. */
  push(bytes: Uint8Array): Uint8Array[] {
    const packet = parseRtpPacket(bytes);
    if (packet === undefined) return [bytes];
    const shift = this.#shiftOf(packet.sequenceNumber);
    const missing = this.#missingBefore(packet);
    const { payloadType, sequenceNumber, timestamp, ssrc } = packet;
    const inserted = missing.map((set, index) =>
      writeRtpPacket(
        { payloadType, timestamp, ssrc, marker: false, sequenceNumber: sequenceNumber + shift + index },
        set,
      ),
    );
    if (inserted.length > 0) this.#remember({ sequenceNumber, packets: inserted.length });
    return [...inserted, renumbered(bytes, sequenceNumber + shift + inserted.length)];
  }

  #missingBefore({ payload, timestamp }: RtpPacket): Uint8Array[] {
    for (const { nalUnit, isWhole } of nalUnitsBegunIn(this.#codec, payload)) {
      const role = nalRole(this.#codec, nalUnit);
      if (role === 'vps' || role === 'sps' || role === 'pps') {
        if (isWhole) this.#store.add(nalUnit);
        this.#carried.add(role);
      } else if (role === 'sei' && this.#codec === 'H264') {
        this.#isRecoveryPoint ||= isExactRecoveryPoint(nalUnit);
      } else if (role === 'slice' || role === 'key-slice') {
        return this.#missingForSlice(nalUnit, role === 'key-slice', timestamp);
      }
    }
    return [];
  }

  #missingForSlice(slice: Uint8Array, isKeySlice: boolean, timestamp: number): Uint8Array[] {
    if (timestamp === this.#pictureTimestamp) return [];
    this.#pictureTimestamp = timestamp;
    const isKeyFrame = isKeySlice || this.#isRecoveryPoint;
    const carried = this.#carried;
    this.#carried = new Set();
    this.#isRecoveryPoint = false;
    const isComplete = carried.has('sps') && carried.has('pps') && (this.#codec === 'H264' || carried.has('vps'));
    if (!isKeyFrame || isComplete) return [];
    const sets = this.#store.forSlice(slice);
    return sets === undefined ? [] : [...sets.vps, ...sets.sps, ...sets.pps];
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

function renumbered(bytes: Uint8Array, sequenceNumber: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(2) === (sequenceNumber & 0xffff)) return bytes;
  const copy = new Uint8Array(bytes); // the slice of a Buffer would be no copy
  new DataView(copy.buffer).setUint16(2, sequenceNumber & 0xffff);
  return copy;
}
