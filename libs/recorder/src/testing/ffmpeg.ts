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
  /** Its time in the clip, by its RTP timestamp. */
  readonly mediaMs: number;
}

export interface Clip {
  readonly tracks: readonly TrackDescription[];
  /** In the order in which a sender would send them. */
  readonly packets: readonly CapturedPacket[];
}

/** The RTP that ffmpeg makes of a file, faster than real time; the first track of each kind, video first. */
export async function captureRtp(folder: string, file: string, kinds: readonly ('video' | 'audio')[]): Promise<Clip> {
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
    outputs.push('-map', `0:${kind[0]}:0`, '-c', 'copy', '-f', 'rtp', url);
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
    return list.map((packet) => {
      const ticks = (timestampOf(packet) - firstTicks) | 0;
      return { track, packet, mediaMs: (ticks * 1000) / tracks[track]!.clockRate };
    });
  });
  return { tracks, packets };
}
