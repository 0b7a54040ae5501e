/** A report about one of our SSRCs. */
export interface ReportBlock {
  readonly ssrc: number;
  /** Of the last interval, 0 to 1. */
  readonly fractionLost: number;
  readonly packetsLost: number;
  readonly highestSequenceNumber: number;
  /** In units of the RTP timestamp. */
  readonly jitter: number;
  /** The middle 32 bits of the sender report's NTP time. */
  readonly lastSenderReport: number;
  /** In units of 1/65536 s. */
  readonly delaySinceLastSenderReport: number;
}

export type Rtcp =
  | {
      readonly kind: 'sender-report';
      readonly ssrc: number;
      readonly ntpSeconds: number;
      readonly ntpFraction: number;
      readonly rtpTimestamp: number;
      readonly reports: readonly ReportBlock[];
    }
  | { readonly kind: 'receiver-report'; readonly ssrc: number; readonly reports: readonly ReportBlock[] }
  | { readonly kind: 'nack'; readonly mediaSsrc: number; readonly sequenceNumbers: readonly number[] }
  | { readonly kind: 'picture-loss'; readonly mediaSsrc: number }
  | { readonly kind: 'full-intra-request'; readonly mediaSsrcs: readonly number[] }
  /** The receiver's estimate of what the path carries. */
  | { readonly kind: 'estimated-max-bitrate'; readonly bps: number }
  | { readonly kind: 'bye'; readonly ssrcs: readonly number[] };

const TYPES = {
  senderReport: 200,
  receiverReport: 201,
  description: 202,
  bye: 203,
  rtpFeedback: 205,
  payloadFeedback: 206,
};
const FORMATS = { nack: 1, pictureLoss: 1, fullIntraRequest: 4, applicationLayer: 15 };
const REPORT_BYTES = 24;

/** RFC 5761 section 4: on a shared port RTCP is told from RTP by its packet types 192 to 223. */
export const isRtcp = (packet: Buffer): boolean => {
  const type = packet[1];
  return type !== undefined && type >= 192 && type <= 223;
};

const reportsAt = (packet: Buffer, offset: number, count: number, end: number): ReportBlock[] => {
  const reports: ReportBlock[] = [];
  for (let at = offset; reports.length < count && at + REPORT_BYTES <= end; at += REPORT_BYTES) {
    reports.push({
      ssrc: packet.readUInt32BE(at),
      fractionLost: packet.readUInt8(at + 4) / 256,
      packetsLost: packet.readIntBE(at + 5, 3),
      highestSequenceNumber: packet.readUInt32BE(at + 8),
      jitter: packet.readUInt32BE(at + 12),
      lastSenderReport: packet.readUInt32BE(at + 16),
      delaySinceLastSenderReport: packet.readUInt32BE(at + 20),
    });
  }
  return reports;
};

const lostAt = (packet: Buffer, offset: number, end: number): number[] => {
  const lost: number[] = [];
  for (let at = offset; at + 4 <= end; at += 4) {
    const first = packet.readUInt16BE(at);
    const mask = packet.readUInt16BE(at + 2);
    lost.push(first);
    for (let bit = 0; bit < 16; bit += 1) if ((mask & (1 << bit)) !== 0) lost.push((first + bit + 1) & 0xffff);
  }
  return lost;
};

const payloadFeedbackAt = (packet: Buffer, offset: number, format: number, end: number): Rtcp[] => {
  if (format === FORMATS.pictureLoss) return [{ kind: 'picture-loss', mediaSsrc: packet.readUInt32BE(offset + 8) }];
  if (format === FORMATS.fullIntraRequest) {
    const mediaSsrcs: number[] = [];
    for (let at = offset + 12; at + 8 <= end; at += 8) mediaSsrcs.push(packet.readUInt32BE(at));
    return [{ kind: 'full-intra-request', mediaSsrcs }];
  }
  const isRemb =
    format === FORMATS.applicationLayer &&
    offset + 20 <= end &&
    packet.toString('latin1', offset + 12, offset + 16) === 'REMB';
  if (!isRemb) return [];
  const packed = packet.readUInt32BE(offset + 16) & 0xff_ffff;
  return [{ kind: 'estimated-max-bitrate', bps: (packed & 0x3_ffff) * 2 ** (packed >>> 18) }];
};

const messageAt = (packet: Buffer, offset: number, end: number): Rtcp[] => {
  const count = packet.readUInt8(offset) & 0x1f;
  const type = packet.readUInt8(offset + 1);
  const bytes = end - offset;
  if (type === TYPES.senderReport && bytes >= 28) {
    return [
      {
        kind: 'sender-report',
        ssrc: packet.readUInt32BE(offset + 4),
        ntpSeconds: packet.readUInt32BE(offset + 8),
        ntpFraction: packet.readUInt32BE(offset + 12),
        rtpTimestamp: packet.readUInt32BE(offset + 16),
        reports: reportsAt(packet, offset + 28, count, end),
      },
    ];
  }
  if (type === TYPES.receiverReport && bytes >= 8) {
    const reports = reportsAt(packet, offset + 8, count, end);
    return [{ kind: 'receiver-report', ssrc: packet.readUInt32BE(offset + 4), reports }];
  }
  if (type === TYPES.bye) {
    const ssrcs: number[] = [];
    for (let at = offset + 4; ssrcs.length < count && at + 4 <= end; at += 4) ssrcs.push(packet.readUInt32BE(at));
    return [{ kind: 'bye', ssrcs }];
  }
  if (type === TYPES.rtpFeedback && count === FORMATS.nack && bytes >= 12) {
    const sequenceNumbers = lostAt(packet, offset + 12, end);
    return [{ kind: 'nack', mediaSsrc: packet.readUInt32BE(offset + 8), sequenceNumbers }];
  }
  return type === TYPES.payloadFeedback && bytes >= 12 ? payloadFeedbackAt(packet, offset, count, end) : [];
};

/** The messages of a compound packet that mean something here; reading ends at the first that is malformed. */
export const parseRtcp = (packet: Buffer): Rtcp[] => {
  const messages: Rtcp[] = [];
  for (let offset = 0; offset + 4 <= packet.length;) {
    const end = offset + 4 + packet.readUInt16BE(offset + 2) * 4;
    if (packet.readUInt8(offset) >> 6 !== 2 || end > packet.length) break;
    messages.push(...messageAt(packet, offset, end));
    offset = end;
  }
  return messages;
};

/** A whole RTCP message: `body` is a multiple of four bytes long. */
const message = (type: number, count: number, body: Buffer): Buffer => {
  const header = Buffer.alloc(4);
  header.writeUInt8(0x80 | count, 0);
  header.writeUInt8(type, 1);
  header.writeUInt16BE(body.length / 4, 2);
  return Buffer.concat([header, body]);
};

const words = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, index * 4);
  return bytes;
};

export interface SentSenderReport {
  readonly ssrc: number;
  readonly ntpSeconds: number;
  readonly ntpFraction: number;
  readonly rtpTimestamp: number;
  readonly packetCount: number;
  readonly octetCount: number;
}

export const writeSenderReport = (report: SentSenderReport): Buffer =>
  message(
    TYPES.senderReport,
    0,
    words(
      ...[report.ssrc, report.ntpSeconds, report.ntpFraction, report.rtpTimestamp],
      ...[report.packetCount, report.octetCount],
    ),
  );

/** The canonical name that ties the media of one source together (RFC 3550 section 6.5). */
export const writeDescription = (ssrc: number, cname: string): Buffer => {
  const name = Buffer.from(cname, 'latin1').subarray(0, 255);
  const item = Buffer.concat([words(ssrc), Buffer.from([1, name.length]), name]);
  // At least one zero ends the chunk.
  const padded = Buffer.alloc(item.length + 4 - (item.length % 4));
  item.copy(padded);
  return message(TYPES.description, 1, padded);
};

export const writeReceiverReport = (ssrc: number, reports: readonly ReportBlock[]): Buffer => {
  const blocks = reports.slice(0, 31).map((report) => {
    const block = words(
      ...[report.ssrc, 0, report.highestSequenceNumber, report.jitter],
      ...[report.lastSenderReport, report.delaySinceLastSenderReport],
    );
    block.writeUInt8(Math.min(255, Math.round(report.fractionLost * 256)), 4);
    block.writeIntBE(Math.max(-0x80_0000, Math.min(0x7f_ffff, report.packetsLost)), 5, 3);
    return block;
  });
  return message(TYPES.receiverReport, blocks.length, Buffer.concat([words(ssrc), ...blocks]));
};

export const writeNack = (ssrc: number, mediaSsrc: number, sequenceNumbers: readonly number[]): Buffer => {
  const pairs: { first: number; mask: number }[] = [];
  for (const sequenceNumber of sequenceNumbers) {
    const last = pairs.at(-1);
    const distance = last === undefined ? 0 : (sequenceNumber - last.first - 1) & 0xffff;
    if (last !== undefined && distance < 16) last.mask |= 1 << distance;
    else pairs.push({ first: sequenceNumber, mask: 0 });
  }
  const items = pairs.map(({ first, mask }) => words(first * 0x1_0000 + mask));
  return message(TYPES.rtpFeedback, FORMATS.nack, Buffer.concat([words(ssrc, mediaSsrc), ...items]));
};

export const writePictureLoss = (ssrc: number, mediaSsrc: number): Buffer =>
  message(TYPES.payloadFeedback, FORMATS.pictureLoss, words(ssrc, mediaSsrc));

export const writeBye = (ssrc: number): Buffer => message(TYPES.bye, 1, words(ssrc));
