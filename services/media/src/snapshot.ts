import { spawn } from 'node:child_process';
import { ErrorCode, WeirError } from '@weir/contracts';
import { DECODER_LIMITS, describeTooLarge, frameToAnnexB, isTooLargeToDecode, writeIvf } from '@weir/frames';
import { nextKeyFrame } from './key-frame.js';
import type { Stream } from './stream.js';

const KEY_FRAME_TIMEOUT_MS = 6_000;
const DECODE_TIMEOUT_MS = 5_000;
const TO_PNG = ['-frames:v', '1', '-f', 'image2pipe', '-c:v', 'png', 'pipe:1'];
const MAX_DECODERS = 4;
const MAX_PNG_BYTES = 16 * 1024 * 1024;

let decoders = 0;

/**
 * The stream's present picture as a PNG: the function asks the source for a key frame, and ffmpeg decodes it.
 * @throws WeirError UNAVAILABLE when there is no video, no key frame comes, or it can't be decoded; EXHAUSTED when too
 * many snapshots are being taken
 */
export async function takeSnapshot(stream: Stream, ffmpegBin: string, ending: AbortSignal): Promise<Uint8Array> {
  const video = stream.track('video');
  if (video === undefined) throw new WeirError(ErrorCode.UNAVAILABLE, 'the stream has no video');
  const codec = video.description.codec;
  if (!isDecodable(codec)) throw new WeirError(ErrorCode.UNAVAILABLE, `a snapshot of ${codec} is not possible`);
  if (decoders >= MAX_DECODERS)
    throw new WeirError(ErrorCode.EXHAUSTED, 'too many snapshots are being taken at this moment');
  decoders += 1;
  try {
    const frame = await nextKeyFrame(video, codec, KEY_FRAME_TIMEOUT_MS, ending);
    // The size comes from this key frame or an earlier one.
    if (isTooLargeToDecode(stream.info))
      throw new WeirError(ErrorCode.UNAVAILABLE, describeTooLarge(stream.info, 'a snapshot'));
    return 'nalUnits' in frame
      ? await decode(ffmpegBin, frame.codec === 'H264' ? 'h264' : 'hevc', frameToAnnexB(frame))
      : await decode(ffmpegBin, 'ivf', writeIvf([frame]));
  } finally {
    decoders -= 1;
  }
}

const DECODABLE = ['H264', 'H265', 'VP8', 'VP9'] as const;
type Decodable = (typeof DECODABLE)[number];
const isDecodable = (codec: string): codec is Decodable => DECODABLE.some((known) => known === codec);

/** Decodes one frame to a PNG in a process of its own, so that a frame that crashes the decoder harms nothing else. */
function decode(ffmpegBin: string, format: 'h264' | 'hevc' | 'ivf', frame: Uint8Array): Promise<Uint8Array> {
  const child = spawn(
    ffmpegBin,
    [
      ...['-hide_banner', '-loglevel', 'error', '-protocol_whitelist', 'pipe'],
      ...[...DECODER_LIMITS, '-f', format, '-i', 'pipe:0'],
      ...TO_PNG,
    ],
    { stdio: ['pipe', 'pipe', 'pipe'], timeout: DECODE_TIMEOUT_MS, killSignal: 'SIGKILL' },
  );
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_PNG_BYTES) child.kill('SIGKILL');
      else chunks.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-500);
    });
    child.on('error', (error) =>
      reject(
        new WeirError(ErrorCode.UNAVAILABLE, `ffmpeg does not start; see FFMPEG_BIN`, { ffmpegBin }, { cause: error }),
      ),
    );
    child.on('close', (exitCode) => {
      if (exitCode === 0 && bytes > 0) resolve(Buffer.concat(chunks));
      else reject(new WeirError(ErrorCode.UNAVAILABLE, 'the frame could not be decoded', { ffmpeg: complaint.trim() }));
    });
    child.stdin.on('error', () => child.kill('SIGKILL')); // `close` then reports the failure
    child.stdin.end(frame);
  });
}
