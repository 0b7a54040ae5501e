/** One RTP packet (RFC 3550 §5.1), header extensions skipped, padding removed. `payload` refers to the memory that was parsed. */
export interface RtpPacket {
  payloadType: number;
  marker: boolean;
  sequenceNumber: number;
  timestamp: number;
  ssrc: number;
  payload: Uint8Array;
}

const FIXED_HEADER_BYTES = 12;

/** RFC 5761 §4: on a shared port RTCP is told from RTP by its packet types 192–223. */
export function isRtcp(packet: Uint8Array): boolean {
  return packet.length >= 4 && packet[0]! >> 6 === 2 && packet[1]! >= 192 && packet[1]! <= 223;
}

/** Returns undefined for whatever isn't a well-formed RTP packet. A packet that is only padding has an empty payload. */
export function parseRtpPacket(bytes: Uint8Array): RtpPacket | undefined {
  if (bytes.length < FIXED_HEADER_BYTES || bytes[0]! >> 6 !== 2) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let start = FIXED_HEADER_BYTES + (bytes[0]! & 0x0f) * 4;
  if (bytes[0]! & 0x10) {
    if (start + 4 > bytes.length) return undefined;
    start += 4 + view.getUint16(start + 2) * 4;
  }
  let end = bytes.length;
  if (bytes[0]! & 0x20) {
    const padding = bytes[end - 1]!;
    if (padding === 0) return undefined;
    end -= padding;
  }
  if (start > end) return undefined;
  return {
    payloadType: bytes[1]! & 0x7f,
    marker: (bytes[1]! & 0x80) !== 0,
    sequenceNumber: view.getUint16(2),
    timestamp: view.getUint32(4),
    ssrc: view.getUint32(8),
    payload: bytes.subarray(start, end),
  };
}

/** The header's fields are taken modulo their width, so an unwrapped timestamp or a running sequence number may be given. */
export function writeRtpPacket(header: Omit<RtpPacket, 'payload'>, ...payload: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(payload.reduce((sum, part) => sum + part.length, FIXED_HEADER_BYTES));
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x80;
  bytes[1] = (header.marker ? 0x80 : 0) | (header.payloadType & 0x7f);
  view.setUint16(2, modulo(header.sequenceNumber, 0x1_0000));
  view.setUint32(4, modulo(header.timestamp, 0x1_0000_0000));
  view.setUint32(8, modulo(header.ssrc, 0x1_0000_0000));
  let offset = FIXED_HEADER_BYTES;
  for (const part of payload) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

const modulo = (value: number, range: number) => ((Math.round(value) % range) + range) % range;
