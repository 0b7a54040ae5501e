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

/** Null for what isn't a whole RTP packet (RFC 3550 section 5.1). */
export function parseRtp(_packet: Uint8Array): RtpPacket | null {
  return null;
}
