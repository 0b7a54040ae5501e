import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { KnownTrack } from './known-media.js';

const run = promisify(execFile);
const MAX_BYTES = 2 ** 26;

const probe = z.object({
  streams: z.array(z.object({ index: z.number(), codec_type: z.string() })),
  packets: z.array(
    z.object({ stream_index: z.number(), pts_time: z.coerce.number(), data_hash: z.string().startsWith('MD5:') }),
  ),
  format: z.object({ duration: z.coerce.number(), size: z.coerce.number() }),
});

/** A frame of a source, and where it is in the file. */
export interface FoundFrame {
  /** Since the source's beginning. */
  readonly number: number;
  readonly atMs: number;
}

export interface RecordedFile {
  readonly durationMs: number;
  readonly sizeBytes: number;
  /** What ffmpeg says about it when it decodes everything. */
  readonly complaints: string;
  /** The frames of each track of the source, in the file's order. */
  readonly frames: readonly (readonly FoundFrame[])[];
  /** Pictures that the source has never sent. */
  readonly unknownPictures: number;
}

/** Decodes a file from its first to its last frame, and finds out which frames of its source it has. */
export async function readRecordedFile(file: string, tracks: readonly KnownTrack[]): Promise<RecordedFile> {
  const decode = ['-v', 'error', '-nostdin', '-i', file, '-map', '0', '-fps_mode', 'passthrough'];
  const show = 'stream=index,codec_type:packet=stream_index,pts_time,data_hash:format=duration,size';
  const [{ stderr: complaints }, { stdout }] = await Promise.all([
    run('ffmpeg', [...decode, '-enc_time_base:v', '-1', '-f', 'null', '-']),
    run(
      'ffprobe',
      ['-v', 'error', '-show_packets', '-show_data_hash', 'MD5', '-show_entries', show, '-of', 'json', file],
      { maxBuffer: MAX_BYTES },
    ),
  ]);
  const { streams, packets, format } = probe.parse(JSON.parse(stdout));
  let unknownPictures = 0;
  const frames = tracks.map((track) => {
    const isVideo = track.codec === 'H264' || track.codec === 'VP8';
    const stream = streams.find(({ codec_type }) => codec_type === (isVideo ? 'video' : 'audio'));
    const found: FoundFrame[] = [];
    for (const { stream_index, pts_time, data_hash } of packets) {
      if (stream_index !== stream?.index) continue;
      const index = track.indexOf(data_hash.slice(4));
      if (index === undefined) {
        // A recorder fills missing sound with silence.
        unknownPictures += Number(isVideo);
        continue;
      }
      const last = found.at(-1)?.number ?? -1;
      const loops = Math.ceil((last + 1 - index) / track.frames.length);
      found.push({ number: index + Math.max(0, loops) * track.frames.length, atMs: pts_time * 1_000 });
    }
    return found;
  });
  return {
    ...{ durationMs: format.duration * 1_000, sizeBytes: format.size, complaints: complaints.trim() },
    ...{ frames, unknownPictures },
  };
}
