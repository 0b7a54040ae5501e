import type { NalCodec, ParameterSets } from './parameter-sets.js';

export type VideoCodec = NalCodec | RawVideoFrame['codec'];
export type AudioCodec = 'opus' | 'MPEG4-GENERIC' | 'PCMU' | 'PCMA';
/** The codecs whose packets can be assembled into frames. */
export type FrameCodec = VideoCodec | AudioCodec;

const VIDEO_CODECS: readonly FrameCodec[] = ['H264', 'H265', 'VP8', 'VP9', 'AV1'];
const AUDIO_CODECS: readonly FrameCodec[] = ['opus', 'MPEG4-GENERIC', 'PCMU', 'PCMA'];
const FRAME_CODECS: ReadonlySet<string> = new Set([...VIDEO_CODECS, ...AUDIO_CODECS]);

export const isFrameCodec = (codec: string): codec is FrameCodec => FRAME_CODECS.has(codec);

interface FrameBase {
  /** In ticks of the RTP clock, unwrapped: it starts with the first packet's raw timestamp and grows beyond 32 bits. */
  rtpTimestamp: number;
  /** Packets were lost between the previous frame and this one. */
  lost: boolean;
  /** False for video that depends on lost data: such frames decode with errors until the next complete key frame. */
  complete: boolean;
  isKeyFrame: boolean;
}

/** One access unit. `nalUnits` has no parameter sets and no delimiters; the muxer or the sender adds them again. */
export interface NalFrame extends FrameBase {
  kind: 'video';
  codec: NalCodec;
  /** Without start codes and lengths, in decoding order. They refer to the memory of the pushed packets. */
  nalUnits: readonly Uint8Array[];
  /** The parameter sets of the last key frame; undefined until the SDP or the stream has provided them. */
  parameterSets: ParameterSets | undefined;
}

export interface RawVideoFrame extends FrameBase {
  kind: 'video';
  codec: 'VP8' | 'VP9' | 'AV1';
  /** For AV1 a temporal unit without its delimiter, in which each OBU has a size. */
  data: Uint8Array;
}

/** An Opus packet, an AAC raw access unit, or the samples of one packet of G.711. */
export interface AudioFrame extends FrameBase {
  kind: 'audio';
  codec: AudioCodec;
  data: Uint8Array;
  durationTicks: number;
}

export type VideoFrame = NalFrame | RawVideoFrame;
export type Frame = VideoFrame | AudioFrame;

export interface TimedPayload {
  payload: Uint8Array;
  marker: boolean;
  /** Unwrapped. */
  timestamp: number;
  lostBefore: boolean;
}

/** Turns the payloads of one stream, in order, into frames. */
export interface Depacketizer {
  push(input: TimedPayload): Frame[];
  /** The stream has ended or starts again: returns the frames that need no further packet and forgets the rest. */
  flush(): Frame[];
}

/** A limit for hostile input: more than any level of H.265 allows for a picture that a robot would send. */
export const MAX_FRAME_BYTES = 16 * 1024 * 1024;

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
