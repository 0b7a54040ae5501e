import { writeRtpPacket } from '@weir/frames';

import type { CapturedPacket } from './ffmpeg.js';

const MAX_ELEMENT_BYTES = 1_100;
const TEMPORAL_DELIMITER = 2;

/** The RTP of an IVF file of AV1. ffmpeg 5.1 can't send AV1. */
export function av1Packets(ivf: Buffer, track: number): CapturedPacket[] {
  const packets: CapturedPacket[] = [];
  let sequenceNumber = 65_500;
  const msPerTick = (1000 * ivf.readUInt32LE(20)) / ivf.readUInt32LE(16);
  for (let offset = 32; offset + 12 <= ivf.length;) {
    const size = ivf.readUInt32LE(offset);
    const ms = Number(ivf.readBigUInt64LE(offset + 4)) * msPerTick;
    const elements = obusOf(ivf.subarray(offset + 12, offset + 12 + size)).flatMap((obu, index) =>
      piecesOf(obu, index),
    );
    for (const [index, { header, piece }] of elements.entries()) {
      const marker = index === elements.length - 1;
      const numbers = { payloadType: 96, sequenceNumber: sequenceNumber++, timestamp: ms * 90, ssrc: 77 };
      const packet = writeRtpPacket({ ...numbers, marker }, Uint8Array.of(header), piece);
      packets.push({ track, packet, sentMs: ms, captureMs: ms });
    }
    offset += 12 + size;
  }
  return packets;
}

/** The OBUs of a temporal unit, without their sizes and without the delimiter. */
function obusOf(unit: Buffer): Buffer[] {
  const obus: Buffer[] = [];
  for (let offset = 0; offset < unit.length;) {
    const header = unit[offset]!;
    let size = 0;
    let at = offset + (header & 4 ? 2 : 1);
    for (let shift = 0; ; shift += 7) {
      const byte = unit[at++]!;
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    const bare = Buffer.concat([Buffer.of(header & ~2), unit.subarray(at, at + size)]);
    if (((header >> 3) & 0x0f) !== TEMPORAL_DELIMITER) obus.push(bare);
    offset = at + size;
  }
  return obus;
}

function piecesOf(obu: Buffer, index: number): { header: number; piece: Buffer }[] {
  const pieces: { header: number; piece: Buffer }[] = [];
  for (let offset = 0; offset < obu.length; offset += MAX_ELEMENT_BYTES) {
    const continues = offset > 0 ? 0x80 : 0;
    const isContinued = offset + MAX_ELEMENT_BYTES < obu.length ? 0x40 : 0;
    const isFirst = index === 0 && offset === 0 ? 0x08 : 0;
    const piece = obu.subarray(offset, offset + MAX_ELEMENT_BYTES);
    pieces.push({ header: continues | isContinued | 0x10 | isFirst, piece });
  }
  return pieces;
}
