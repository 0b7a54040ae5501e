import { Buffer } from 'node:buffer';

import { setUint16At, setUint32At, uint16At, uint32At } from './big-endian.js';
import type { NtpTime } from './ntp-time.js';

/** RFC 3550 §6.4.1. The time comes from the sender's clock, which may be wrong. */
export interface SenderReport extends NtpTime {
  readonly tag: 'sender-report';
  readonly ssrc: number;
  readonly rtpTimestamp: number;
  readonly packetCount: number;
  readonly octetCount: number;
  readonly reports: readonly ReportBlock[];
}

/** A receiver's report about one SSRC. */
export interface ReportBlock {
  readonly ssrc: number;
  /** Fraction lost in the last interval, 0 to 1. */
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

export type RtcpMessage =
  | SenderReport
  | { readonly tag: 'receiver-report'; readonly ssrc: number; readonly reports: readonly ReportBlock[] }
  | { readonly tag: 'nack'; readonly mediaSsrc: number; readonly sequenceNumbers: readonly number[] }
  | { readonly tag: 'picture-loss'; readonly mediaSsrc: number }
  | { readonly tag: 'full-intra-request'; readonly mediaSsrcs: readonly number[] }
  /** The receiver's estimate of the bandwidth of the path. */
  | { readonly tag: 'estimated-max-bitrate'; readonly bps: number }
  | { readonly tag: 'bye'; readonly ssrcs: readonly number[] };

const TYPES = {
  senderReport: 200,
  receiverReport: 201,
  description: 202,
  bye: 203,
  rtpFeedback: 205,
  payloadFeedback: 206,
};
const FORMATS = { nack: 1, pictureLoss: 1, fullIntraRequest: 4, applicationLayer: 15 };
const REMB = 0x5245_4d42;
const REPORT_BYTES = 24;
const MAX_REPORTS = 31;

/** Returns the messages of a compound packet that weir uses. Reading stops at the first malformed one. */
export function parseRtcp(packet: Uint8Array): RtcpMessage[] {
  const messages: RtcpMessage[] = [];
  for (let offset = 0; offset + 4 <= packet.length;) {
    const end = offset + 4 + uint16At(packet, offset + 2) * 4;
    if (packet[offset]! >> 6 !== 2 || end > packet.length) break;
    const message = messageAt(packet, offset, end);
    if (message !== undefined) messages.push(message);
    offset = end;
  }
  return messages;
}

function messageAt(packet: Uint8Array, offset: number, end: number): RtcpMessage | undefined {
  const count = packet[offset]! & 0x1f;
  const type = packet[offset + 1];
  const bytes = end - offset;
  if (type === TYPES.senderReport && bytes >= 28) {
    return {
      tag: 'sender-report',
      ssrc: uint32At(packet, offset + 4),
      ntpSeconds: uint32At(packet, offset + 8),
      ntpFraction: uint32At(packet, offset + 12),
      rtpTimestamp: uint32At(packet, offset + 16),
      packetCount: uint32At(packet, offset + 20),
      octetCount: uint32At(packet, offset + 24),
      reports: reportsAt(packet, offset + 28, count, end),
    };
  }
  if (type === TYPES.receiverReport && bytes >= 8) {
    const reports = reportsAt(packet, offset + 8, count, end);
    return { tag: 'receiver-report', ssrc: uint32At(packet, offset + 4), reports };
  }
  if (type === TYPES.bye) {
    const ssrcs: number[] = [];
    for (let at = offset + 4; ssrcs.length < count && at + 4 <= end; at += 4) ssrcs.push(uint32At(packet, at));
    return { tag: 'bye', ssrcs };
  }
  if (bytes < 12) return undefined;
  if (type === TYPES.rtpFeedback && count === FORMATS.nack) {
    const sequenceNumbers = lostAt(packet, offset + 12, end);
    return { tag: 'nack', mediaSsrc: uint32At(packet, offset + 8), sequenceNumbers };
  }
  return type === TYPES.payloadFeedback ? payloadFeedbackAt(packet, offset, count, end) : undefined;
}

function reportsAt(packet: Uint8Array, offset: number, count: number, end: number): ReportBlock[] {
  const reports: ReportBlock[] = [];
  for (let at = offset; reports.length < count && at + REPORT_BYTES <= end; at += REPORT_BYTES) {
    reports.push({
      ssrc: uint32At(packet, at),
      fractionLost: packet[at + 4]! / 256,
      packetsLost: (uint32At(packet, at + 4) << 8) >> 8,
      highestSequenceNumber: uint32At(packet, at + 8),
      jitter: uint32At(packet, at + 12),
      lastSenderReport: uint32At(packet, at + 16),
      delaySinceLastSenderReport: uint32At(packet, at + 20),
    });
  }
  return reports;
}

function lostAt(packet: Uint8Array, offset: number, end: number): number[] {
  const lost: number[] = [];
  for (let at = offset; at + 4 <= end; at += 4) {
    const first = uint16At(packet, at);
    const mask = uint16At(packet, at + 2);
    lost.push(first);
    for (let bit = 0; bit < 16; bit++) if ((mask & (1 << bit)) !== 0) lost.push((first + bit + 1) & 0xffff);
  }
  return lost;
}

function payloadFeedbackAt(packet: Uint8Array, offset: number, format: number, end: number): RtcpMessage | undefined {
  if (format === FORMATS.pictureLoss) return { tag: 'picture-loss', mediaSsrc: uint32At(packet, offset + 8) };
  if (format === FORMATS.fullIntraRequest) {
    const mediaSsrcs: number[] = [];
    for (let at = offset + 12; at + 8 <= end; at += 8) mediaSsrcs.push(uint32At(packet, at));
    return { tag: 'full-intra-request', mediaSsrcs };
  }
  const isRemb = format === FORMATS.applicationLayer && offset + 20 <= end && uint32At(packet, offset + 12) === REMB;
  if (!isRemb) return undefined;
  const packed = uint32At(packet, offset + 16) & 0xff_ffff;
  return { tag: 'estimated-max-bitrate', bps: (packed & 0x3_ffff) * 2 ** (packed >>> 18) };
}

/** Writes a whole RTCP message. The length of `body` must be a multiple of four bytes. */
function message(type: number, count: number, body: Uint8Array): Buffer {
  const header = Buffer.of(0x80 | count, type, 0, 0);
  setUint16At(header, 2, body.length / 4);
  return Buffer.concat([header, body]);
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) setUint32At(bytes, index * 4, value);
  return bytes;
}

/** Writes a sender report without report blocks. */
export const writeSenderReport = (report: Omit<SenderReport, 'tag' | 'reports'>): Buffer =>
  message(
    TYPES.senderReport,
    0,
    words(
      ...[report.ssrc, report.ntpSeconds, report.ntpFraction, report.rtpTimestamp],
      ...[report.packetCount, report.octetCount],
    ),
  );

/** The canonical name that ties the media of one source together (RFC 3550 §6.5). */
export function writeDescription(ssrc: number, cname: string): Buffer {
  const name = Buffer.from(cname, 'latin1').subarray(0, 255);
  const item = Buffer.concat([words(ssrc), Buffer.of(1, name.length), name]);
  // At least one zero ends the chunk.
  const padded = Buffer.alloc(item.length + 4 - (item.length % 4));
  item.copy(padded);
  return message(TYPES.description, 1, padded);
}

export function writeReceiverReport(ssrc: number, reports: readonly ReportBlock[]): Buffer {
  const blocks = reports.slice(0, MAX_REPORTS).map((report) => {
    const packetsLost = Math.max(-0x80_0000, Math.min(0x7f_ffff, report.packetsLost));
    const fractionLost = Math.min(255, Math.round(report.fractionLost * 256));
    return words(
      ...[report.ssrc, (fractionLost << 24) | (packetsLost & 0xff_ffff), report.highestSequenceNumber, report.jitter],
      ...[report.lastSenderReport, report.delaySinceLastSenderReport],
    );
  });
  return message(TYPES.receiverReport, blocks.length, Buffer.concat([words(ssrc), ...blocks]));
}

export function writeNack(ssrc: number, mediaSsrc: number, sequenceNumbers: readonly number[]): Buffer {
  const pairs: { first: number; mask: number }[] = [];
  for (const sequenceNumber of sequenceNumbers) {
    const last = pairs.at(-1);
    const distance = last === undefined ? 0 : (sequenceNumber - last.first - 1) & 0xffff;
    if (last !== undefined && distance < 16) last.mask |= 1 << distance;
    else pairs.push({ first: sequenceNumber, mask: 0 });
  }
  const items = pairs.map(({ first, mask }) => first * 0x1_0000 + mask);
  return message(TYPES.rtpFeedback, FORMATS.nack, words(ssrc, mediaSsrc, ...items));
}

export const writePictureLoss = (ssrc: number, mediaSsrc: number): Buffer =>
  message(TYPES.payloadFeedback, FORMATS.pictureLoss, words(ssrc, mediaSsrc));
