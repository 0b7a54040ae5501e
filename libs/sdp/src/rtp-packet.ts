export interface RtpPacket {
  payloadType: number;
  marker: boolean;
  sequenceNumber: number;
  timestamp: number;
  ssrc: number;
  csrcs: number[];
  /** The header extension's profile and body; its elements aren't read. */
  extension?: { profile: number; data: Uint8Array };
  /** A view, without padding. */
  payload: Uint8Array;
}

const FIXED_HEADER_BYTES = 12;

/** Null for what isn't a whole RTP packet (RFC 3550 section 5.1). Views, no copies. */
export function parseRtp(packet: Uint8Array): RtpPacket | null {
  if (packet.length < FIXED_HEADER_BYTES) return null;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const first = view.getUint8(0);
  if (first >> 6 !== 2) return null;
  let offset = FIXED_HEADER_BYTES + (first & 0x0f) * 4;
  if (offset > packet.length) return null;
  const csrcs = Array.from({ length: first & 0x0f }, (_, index) => view.getUint32(FIXED_HEADER_BYTES + index * 4));
  let extension: RtpPacket['extension'];
  if ((first & 0x10) !== 0) {
    if (offset + 4 > packet.length) return null;
    const end = offset + 4 + view.getUint16(offset + 2) * 4;
    if (end > packet.length) return null;
    extension = { profile: view.getUint16(offset), data: packet.subarray(offset + 4, end) };
    offset = end;
  }
  let end = packet.length;
  if ((first & 0x20) !== 0) {
    const padding = view.getUint8(packet.length - 1);
    end -= padding;
    if (padding === 0 || end < offset) return null;
  }
  const second = view.getUint8(1);
  return {
    payloadType: second & 0x7f,
    marker: (second & 0x80) !== 0,
    sequenceNumber: view.getUint16(2),
    timestamp: view.getUint32(4),
    ssrc: view.getUint32(8),
    csrcs,
    ...(extension ? { extension } : {}),
    payload: packet.subarray(offset, end),
  };
}
