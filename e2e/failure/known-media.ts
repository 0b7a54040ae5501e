import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { encodeTestPicture } from '../src/rtsp-pusher.js';

const run = promisify(execFile);

export const PICTURES_PER_S = 15;
const GOP = 15;
const MAX_BYTES = 2 ** 27;
const AUDIO_RATE = 48_000;
const OPUS_FRAME_TICKS = 960;
const OPUS_FRAME_BYTES = 80;
const AAC_FRAME_TICKS = 1_024;
const ADTS_HEADER_BYTES = 7;
const IVF_HEADER_BYTES = 32;
const IVF_FRAME_HEADER_BYTES = 12;

export interface KnownFrame {
  readonly isKeyFrame: boolean;
  /** The NAL units of H.264, or the whole frame in one piece. */
  readonly chunks: readonly Uint8Array[];
}

export type KnownCodec = 'H264' | 'VP8' | 'AAC' | 'opus';

/**
 * Coded frames that all differ, so that each frame of a recording shows which one it is. Sources send them in a loop
 * that begins with a key frame.
 */
export class KnownTrack {
  readonly #indexes: ReadonlyMap<string, number>;

  constructor(
    readonly codec: KnownCodec,
    readonly frames: readonly KnownFrame[],
    readonly clockRate: number,
    readonly ticksPerFrame: number,
    /** Of H.264, which a recorder puts before key frames. */
    readonly parameterSets: readonly Uint8Array[] = [],
  ) {
    const indexes = new Map<string, number>();
    for (const [index, { chunks, isKeyFrame }] of frames.entries()) {
      indexes.set(this.#hashOf(chunks), index);
      if (isKeyFrame) indexes.set(this.#hashOf([...parameterSets, ...chunks]), index);
    }
    this.#indexes = indexes;
  }

  get frameMs(): number {
    return (this.ticksPerFrame * 1_000) / this.clockRate;
  }

  /** @param md5 of the frame's bytes in a file, in hexadecimal digits */
  indexOf(md5: string): number | undefined {
    return this.#indexes.get(md5);
  }

  #hashOf(chunks: readonly Uint8Array[]): string {
    const hash = createHash('md5');
    for (const chunk of chunks) {
      if (this.codec === 'H264') hash.update(lengthBytes(chunk.length));
      hash.update(chunk);
    }
    return hash.digest('hex');
  }
}

export interface KnownMedia {
  readonly h264: KnownTrack;
  readonly vp8: KnownTrack;
  readonly aac: KnownTrack;
  readonly opus: KnownTrack;
}

/** Codes a moving test picture and noise of that length. */
export async function codeKnownMedia(lengthS: number): Promise<KnownMedia> {
  const pictures = lengthS * PICTURES_PER_S;
  const ticksPerPicture = 90_000 / PICTURES_PER_S;
  const [h264, vp8, aac, opus] = await Promise.all([
    encodeTestPicture({ fps: PICTURES_PER_S, gop: GOP, pictures }),
    coded(
      ['-f', 'lavfi', '-i', `testsrc2=s=160x120:r=${PICTURES_PER_S}`, '-frames:v', String(pictures)],
      ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '200k', '-lag-in-frames', '0'],
      ['-auto-alt-ref', '0', '-g', String(GOP), '-keyint_min', String(GOP), '-f', 'ivf'],
    ),
    coded(noise(lengthS, 1), ['-c:a', 'aac', '-b:a', '32k', '-f', 'adts']),
    coded(noise(lengthS, 2), ['-c:a', 'libopus', '-vbr', 'off', '-b:a', '32k', '-frame_duration', '20', '-f', 'data']),
  ]);
  return {
    h264: new KnownTrack(
      'H264',
      h264.pictures.map(({ isKeyFrame, nalUnits }) => ({ isKeyFrame, chunks: nalUnits })),
      90_000,
      ticksPerPicture,
      [h264.sps, h264.pps],
    ),
    vp8: new KnownTrack('VP8', vp8FramesIn(vp8), 90_000, ticksPerPicture),
    aac: new KnownTrack('AAC', sounds(aacFramesIn(aac)), AUDIO_RATE, AAC_FRAME_TICKS),
    opus: new KnownTrack('opus', sounds(opusFramesIn(opus)), AUDIO_RATE, OPUS_FRAME_TICKS),
  };
}

const noise = (lengthS: number, seed: number): string[] => [
  ...['-f', 'lavfi', '-i', `anoisesrc=r=${AUDIO_RATE}:d=${lengthS}:a=0.1:s=${seed}`, '-map', '0:a', '-ac', '1'],
];

async function coded(...args: readonly (readonly string[])[]): Promise<Buffer> {
  const options = { encoding: 'buffer', maxBuffer: MAX_BYTES } as const;
  return (await run('ffmpeg', ['-v', 'error', ...args.flat(), '-'], options)).stdout;
}

const sounds = (frames: readonly Uint8Array[]): KnownFrame[] =>
  frames.map((frame) => ({ isKeyFrame: true, chunks: [frame] }));

function vp8FramesIn(ivf: Buffer): KnownFrame[] {
  const frames: KnownFrame[] = [];
  for (let offset = IVF_HEADER_BYTES; offset < ivf.length;) {
    const start = offset + IVF_FRAME_HEADER_BYTES;
    offset = start + ivf.readUInt32LE(offset);
    const frame = ivf.subarray(start, offset);
    // RFC 6386 §9.1: the first bit is 0 in a key frame.
    frames.push({ isKeyFrame: ((frame[0] ?? 1) & 1) === 0, chunks: [frame] });
  }
  return frames;
}

function aacFramesIn(adts: Buffer): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let offset = 0; offset < adts.length;) {
    const bytes = (adts.readUInt32BE(offset + 3) >> 13) & 0x1fff;
    frames.push(adts.subarray(offset + ADTS_HEADER_BYTES, offset + bytes));
    offset += bytes;
  }
  return frames;
}

const opusFramesIn = (bytes: Buffer): Uint8Array[] =>
  Array.from({ length: Math.floor(bytes.length / OPUS_FRAME_BYTES) }, (_, index) =>
    bytes.subarray(index * OPUS_FRAME_BYTES, (index + 1) * OPUS_FRAME_BYTES),
  );

function lengthBytes(length: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}
