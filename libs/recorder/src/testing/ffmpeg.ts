import { spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codecNamed, parseFmtp, rtpHeaderBytes, isRtcp, timestampOf, type TrackDescription } from '@weir/frames';

/** Runs a program to its end; what it writes to standard error is a failure. */
export async function run(program: string, args: readonly string[]): Promise<Buffer> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  const errors: string[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk) => errors.push(String(chunk)));
  const [status] = await once(child, 'close');
  if (status !== 0 || errors.length > 0) throw new Error(`${program} ${args.join(' ')}: ${status} ${errors.join('')}`);
  return Buffer.concat(output);
}

export interface CapturedPacket {
  readonly track: number;
  readonly packet: Buffer;
  /**
   * When it is sent, after the clip's beginning. Reordered pictures are sent with the latest one before them, and sound
   * is sent when its packet ends.
   */
  readonly sentMs: number;
  /** Its RTP timestamp, counted from the first packet of its track. */
  readonly captureMs: number;
}

export interface Clip {
  readonly tracks: readonly TrackDescription[];
  /** In the order in which a sender would send them. */
  readonly packets: readonly CapturedPacket[];
}

/** The RTP that ffmpeg makes of a file, faster than real time; the first track of each kind, video first. */
export async function captureRtp(
  folder: string,
  file: string,
  kinds: readonly ('video' | 'audio')[],
  videoFilter = 'null',
): Promise<Clip> {
  const sockets: Socket[] = [];
  const received: Buffer[][] = kinds.map(() => []);
  const outputs: string[] = [];
  for (const [track, kind] of kinds.entries()) {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 16_000_000 });
    sockets.push(socket);
    socket.on('message', (packet) => {
      if (!isRtcp(packet) && rtpHeaderBytes(packet) !== undefined) received[track]!.push(packet);
    });
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const url = `rtp://127.0.0.1:${socket.address().port}?rtcpport=${socket.address().port}&pkt_size=1200`;
    outputs.push(
      '-map',
      `0:${kind[0]}:0`,
      '-c',
      'copy',
      ...(kind === 'video' ? ['-bsf:v', videoFilter] : []),
      '-strict',
      '-2',
      '-f',
      'rtp',
      url,
    );
  }
  const sdpFile = join(folder, `${Math.random()}.sdp`);
  await run('ffmpeg', ['-v', 'fatal', '-readrate', '6', '-i', file, '-sdp_file', sdpFile, ...outputs]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  for (const socket of sockets) socket.close();
  const media = (await readFile(sdpFile, 'utf8')).split(/^m=/m).slice(1);
  const tracks = kinds.map((kind): TrackDescription => {
    const section = media.find((each) => each.startsWith(kind))!;
    const [, name, clockRate, channels] = /a=rtpmap:\d+ ([^/]+)\/(\d+)(?:\/(\d+))?/.exec(section)!;
    const fmtp = /a=fmtp:\d+ (.*)/.exec(section)?.[1]?.trim() ?? '';
    return {
      ...{ kind, codec: codecNamed(name!), clockRate: Number(clockRate), parameters: parseFmtp(fmtp) },
      channels: kind === 'video' ? 0 : Number(channels ?? 1),
    };
  });
  const packets = received.flatMap((list, track) => {
    const firstTicks = timestampOf(list[0]!);
    const ms = list.map((packet) => (((timestampOf(packet) - firstTicks) | 0) * 1000) / tracks[track]!.clockRate);
    let latestMs = 0;
    return list.map((packet, index) => {
      latestMs = Math.max(latestMs, ms[index]!);
      const sentMs = kinds[track] === 'audio' ? (ms[index + 1] ?? latestMs + 20) : latestMs;
      return { track, packet, sentMs, captureMs: ms[index]! };
    });
  });
  return { tracks, packets };
}

/**
 * When each flash of one of a file's videos begins, and each beep, in ms. Pictures count by their times, sound by its
 * samples.
 */
export async function flashesAndBeeps(file: string, video = 0): Promise<{ flashes: number[]; beeps: number[] }> {
  const [times, pictures, sound] = await Promise.all([
    run('ffprobe', [
      ...['-v', 'error', '-select_streams', `v:${video}`, '-show_entries', 'frame=best_effort_timestamp_time'],
      ...['-of', 'csv=p=0', file],
    ]),
    run('ffmpeg', [
      ...['-v', 'error', '-i', file, '-map', `0:v:${video}`, '-vsync', 'passthrough', '-vf', 'scale=1:1,format=gray'],
      // Times in ms, because the muxer complains of two pictures in one step.
      ...['-enc_time_base', '1:1000'],
      ...['-f', 'rawvideo', '-'],
    ]),
    run('ffmpeg', ['-v', 'error', '-i', file, '-map', '0:a:0', '-ac', '1', '-ar', '8000', '-f', 's16le', '-']),
  ]);
  const timesMs = String(times)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => parseFloat(line) * 1000);
  const flashes = timesMs.filter((_, index) => pictures[index]! > 128 && (pictures[index - 1] ?? 0) <= 128);
  const beeps: number[] = [];
  let lastLoud = -Infinity;
  const samples = new Int16Array(sound.buffer, sound.byteOffset, Math.floor(sound.length / 2));
  for (const [index, sample] of samples.entries()) {
    if (Math.abs(sample) < 3_000) continue;
    if (index - lastLoud > 2_400) beeps.push(index / 8);
    lastLoud = index;
  }
  return { flashes, beeps };
}

/** How far each flash is from the beep that belongs to it: the sound's time minus the picture's, sorted by distance. */
export function skewsOf({ flashes, beeps }: { flashes: readonly number[]; beeps: readonly number[] }): number[] {
  const skews = flashes.map((flash) =>
    beeps.reduce((best, beep) => (Math.abs(beep - flash) < Math.abs(best) ? beep - flash : best), Infinity),
  );
  return skews.filter((skew) => Math.abs(skew) < 400).sort((a, b) => Math.abs(a) - Math.abs(b));
}
