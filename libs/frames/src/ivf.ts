import { concatBytes, type RawVideoFrame } from './frame.js';
import { vp8Dimensions } from './vp8.js';

const FOUR_CHARACTERS = { VP8: 'VP80', VP9: 'VP90', AV1: 'AV01' } as const;

/** Writes frames as an IVF file, which `ffmpeg -f ivf` reads. Times count from the first frame, in 1/90000 s. */
export function writeIvf(frames: readonly RawVideoFrame[]): Uint8Array {
  const first = frames[0];
  const { width = 0, height = 0 } = (first?.codec === 'VP8' && vp8Dimensions(first.data)) || {};
  const header = new Uint8Array(32);
  const view = new DataView(header.buffer);
  header.set(ascii('DKIF'), 0);
  view.setUint16(6, 32, true);
  header.set(ascii(FOUR_CHARACTERS[first?.codec ?? 'VP8']), 8);
  view.setUint16(12, width, true);
  view.setUint16(14, height, true);
  view.setUint32(16, 90_000, true);
  view.setUint32(20, 1, true);
  view.setUint32(24, frames.length, true);
  return concatBytes([header, ...frames.flatMap((frame) => [ivfFrameHeader(frame, first!), frame.data])]);
}

function ivfFrameHeader(frame: RawVideoFrame, first: RawVideoFrame): Uint8Array {
  const header = new Uint8Array(12);
  const view = new DataView(header.buffer);
  view.setUint32(0, frame.data.length, true);
  view.setBigUint64(4, BigInt(Math.max(0, frame.rtpTimestamp - first.rtpTimestamp)), true);
  return header;
}

const ascii = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
