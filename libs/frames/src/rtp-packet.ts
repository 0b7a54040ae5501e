import { Buffer } from 'node:buffer';

import { setUint16At, setUint32At, uint16At, uint32At } from './big-endian.js';
import { type BegunNalUnit, nalUnitsBegunIn } from './nal-payload.js';
import { absSendTime } from './ntp-time.js';
import type { NalCodec } from './parameter-sets.js';

/** The numbers by which a receiver assigns a packet to a source and to its place in the stream. */
export interface RtpNumbers {
  readonly payloadType: number;
  readonly sequenceNumber: number;
  readonly timestamp: number;
  readonly ssrc: number;
}

export interface RtpHeader extends RtpNumbers {
  readonly marker: boolean;
}

const FIXED_HEADER_BYTES = 12;
const ABS_SEND_TIME_BYTES = 8;
const HAS_PADDING = 0x20;
const HAS_EXTENSION = 0x10;
const MARKER = 0x80;

/** RFC 5761 §4: on a shared port, the packet types 192–223 distinguish RTCP from RTP. */
export function isRtcp(packet: Uint8Array): boolean {
  return packet.length >= 4 && packet[0]! >> 6 === 2 && packet[1]! >= 192 && packet[1]! <= 223;
}

/** The offset of the payload, which may include padding; undefined if the bytes aren't a whole RTP packet. */
export function rtpHeaderBytes(packet: Uint8Array): number | undefined {
  if (packet.length < FIXED_HEADER_BYTES || packet[0]! >> 6 !== 2) return undefined;
  let bytes = FIXED_HEADER_BYTES + (packet[0]! & 0x0f) * 4;
  if (packet[0]! & HAS_EXTENSION) {
    if (bytes + 4 > packet.length) return undefined;
    bytes += 4 + uint16At(packet, bytes + 2) * 4;
  }
  return bytes <= packet.length ? bytes : undefined;
}

// These functions expect a whole RTP packet.
export const payloadTypeOf = (packet: Uint8Array): number => packet[1]! & 0x7f;
export const hasMarker = (packet: Uint8Array): boolean => (packet[1]! & MARKER) !== 0;
export const sequenceNumberOf = (packet: Uint8Array): number => uint16At(packet, 2);
export const timestampOf = (packet: Uint8Array): number => uint32At(packet, 4);
export const ssrcOf = (packet: Uint8Array): number => uint32At(packet, 8);

/** One RTP packet (RFC 3550 §5.1) in this process, parsed once for everything that uses it. */
export class RtpPacket implements RtpHeader {
  #nalUnits: readonly BegunNalUnit[] | undefined;

  /** `payload` is a part of `bytes`, without header extensions and padding. */
  private constructor(
    readonly bytes: Uint8Array,
    readonly payload: Uint8Array,
  ) {}

  /**
   * Returns undefined if the bytes aren't a well-formed packet. A packet that holds only padding has an empty payload.
   */
  static parse(bytes: Uint8Array): RtpPacket | undefined {
    const start = rtpHeaderBytes(bytes);
    if (start === undefined) return undefined;
    let end = bytes.length;
    if (bytes[0]! & HAS_PADDING) {
      const padding = bytes[end - 1]!;
      end -= padding;
      if (padding === 0 || start > end) return undefined;
    }
    return new RtpPacket(bytes, bytes.subarray(start, end));
  }

  get payloadType(): number {
    return payloadTypeOf(this.bytes);
  }

  get marker(): boolean {
    return hasMarker(this.bytes);
  }

  get sequenceNumber(): number {
    return sequenceNumberOf(this.bytes);
  }

  get timestamp(): number {
    return timestampOf(this.bytes);
  }

  get ssrc(): number {
    return ssrcOf(this.bytes);
  }

  /** The NAL units that start in the payload, for a track with this codec. */
  nalUnits(codec: NalCodec): readonly BegunNalUnit[] {
    return (this.#nalUnits ??= nalUnitsBegunIn(codec, this.payload));
  }

  /** Returns a copy with other numbers. */
  renumbered(numbers: RtpNumbers): RtpPacket {
    const bytes = Buffer.from(this.bytes);
    renumber(bytes, numbers);
    const start = this.payload.byteOffset - this.bytes.byteOffset;
    const copy = new RtpPacket(bytes, bytes.subarray(start, start + this.payload.length));
    copy.#nalUnits = this.#nalUnits;
    return copy;
  }
}

/** Writes the header fields modulo their width, so an unwrapped timestamp or sequence number may be passed. */
export function writeRtpPacket(header: RtpHeader, ...payload: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.allocUnsafe(payload.reduce((sum, part) => sum + part.length, FIXED_HEADER_BYTES));
  bytes[0] = 0x80;
  bytes[1] = header.marker ? MARKER : 0;
  renumber(bytes, header);
  let offset = FIXED_HEADER_BYTES;
  for (const part of payload) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

export function setPayloadType(packet: Uint8Array, payloadType: number): void {
  packet[1] = (packet[1]! & MARKER) | (payloadType & 0x7f);
}

/** Overwrites the numbers of the packet. */
export function renumber(packet: Uint8Array, { payloadType, sequenceNumber, timestamp, ssrc }: RtpNumbers): void {
  setPayloadType(packet, payloadType);
  setUint16At(packet, 2, sequenceNumber);
  setUint32At(packet, 4, Math.round(timestamp));
  setUint32At(packet, 8, ssrc);
}

/**
 * Copies the packet for a receiver that has negotiated other numbers and no header extensions. The copy has no
 * contributing sources. A malformed packet gives a header without payload.
 */
export function forwardedPacket(packet: Uint8Array, numbers: RtpNumbers): Buffer {
  const start = rtpHeaderBytes(packet) ?? packet.length;
  const copy = Buffer.allocUnsafe(FIXED_HEADER_BYTES + packet.length - start);
  writeForwardedHeader(copy, packet, numbers);
  copy.set(packet.subarray(start), FIXED_HEADER_BYTES);
  return copy;
}

/**
 * The same for the header alone. If there is an id for the extension abs-send-time, it is added in the one-byte form of
 * RFC 8285.
 */
export function forwardedHeader(
  packet: Uint8Array,
  numbers: RtpNumbers,
  absSendTimeId: number | undefined,
  sentAtMs: number,
): Buffer {
  const bytes = FIXED_HEADER_BYTES + (absSendTimeId === undefined ? 0 : ABS_SEND_TIME_BYTES);
  const header = Buffer.allocUnsafe(bytes);
  writeForwardedHeader(header, packet, numbers);
  if (absSendTimeId === undefined) return header;
  header[0] = header[0]! | HAS_EXTENSION;
  setUint32At(header, FIXED_HEADER_BYTES, 0xbede_0001);
  setUint32At(header, FIXED_HEADER_BYTES + 4, (absSendTimeId << 28) | (2 << 24) | absSendTime(sentAtMs));
  return header;
}

function writeForwardedHeader(target: Uint8Array, packet: Uint8Array, numbers: RtpNumbers): void {
  target[0] = packet[0]! & (0xc0 | HAS_PADDING);
  target[1] = packet[1]! & MARKER;
  renumber(target, numbers);
}
