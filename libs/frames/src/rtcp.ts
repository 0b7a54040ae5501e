/** RFC 3550 §6.4.1. The NTP time is given in milliseconds since 1970 by the sender's clock, which may be wrong. */
export interface SenderReport {
  kind: 'sender-report';
  ssrc: number;
  ntpMs: number;
  rtpTimestamp: number;
  packetCount: number;
  octetCount: number;
}

export interface Goodbye {
  kind: 'bye';
  ssrcs: readonly number[];
}

export type RtcpMessage = SenderReport | Goodbye | { kind: 'other'; packetType: number };

const NTP_TO_UNIX_SECONDS = 2_208_988_800;

/** The messages of a compound packet; reading ends at the first one that is malformed. */
export function parseRtcp(bytes: Uint8Array): RtcpMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const messages: RtcpMessage[] = [];
  for (let offset = 0; offset + 4 <= bytes.length;) {
    const end = offset + 4 + view.getUint16(offset + 2) * 4;
    if (bytes[offset]! >> 6 !== 2 || end > bytes.length) break;
    const packetType = bytes[offset + 1]!;
    if (packetType === 200 && end - offset >= 28) messages.push(readSenderReport(view, offset));
    else if (packetType === 203) messages.push(readGoodbye(view, offset, end, bytes[offset]! & 0x1f));
    else messages.push({ kind: 'other', packetType });
    offset = end;
  }
  return messages;
}

function readSenderReport(view: DataView, offset: number): SenderReport {
  const seconds = view.getUint32(offset + 8) - NTP_TO_UNIX_SECONDS;
  return {
    kind: 'sender-report',
    ssrc: view.getUint32(offset + 4),
    ntpMs: seconds * 1000 + (view.getUint32(offset + 12) * 1000) / 2 ** 32,
    rtpTimestamp: view.getUint32(offset + 16),
    packetCount: view.getUint32(offset + 20),
    octetCount: view.getUint32(offset + 24),
  };
}

function readGoodbye(view: DataView, offset: number, end: number, count: number): Goodbye {
  const ssrcs: number[] = [];
  for (let i = 0; i < count && offset + 8 + i * 4 <= end; i++) ssrcs.push(view.getUint32(offset + 4 + i * 4));
  return { kind: 'bye', ssrcs };
}

/** The inverse of `parseRtcp` for a sender report without report blocks. */
export function writeSenderReport(report: Omit<SenderReport, 'kind'>): Uint8Array {
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x80c8);
  view.setUint16(2, 6);
  view.setUint32(4, report.ssrc);
  const seconds = Math.floor(report.ntpMs / 1000);
  view.setUint32(8, (seconds + NTP_TO_UNIX_SECONDS) % 2 ** 32);
  view.setUint32(12, Math.floor(((report.ntpMs - seconds * 1000) / 1000) * 2 ** 32));
  view.setUint32(16, report.rtpTimestamp % 2 ** 32);
  view.setUint32(20, report.packetCount % 2 ** 32);
  view.setUint32(24, report.octetCount % 2 ** 32);
  return bytes;
}
