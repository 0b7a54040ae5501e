import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FfmpegProcess, runFfmpeg } from './ffmpeg-process.js';
import type { BenchPlatform } from './platform.js';
import { RtspPushes } from './rtsp-pushes.js';

export interface CamerasOptions {
  readonly streams: readonly string[];
  /** For the film that all cameras show again and again. */
  readonly folder: string;
  readonly filmS: number;
}

/** Streams of 720p at 30/s, 2 Mbit/s H.264 and AAC, each pushed to weir by RTSP from an ffmpeg that only copies. */
export class RtspCameras {
  private constructor(
    private readonly pushes: RtspPushes,
    private readonly pushers: readonly FfmpegProcess[],
  ) {}

  static async start(platform: BenchPlatform, { streams, folder, filmS }: CamerasOptions): Promise<RtspCameras> {
    const film = join(folder, 'film.mp4');
    await runFfmpeg(filmArguments(film, filmS));
    const pushes = await RtspPushes.connect(platform);
    const pushers: FfmpegProcess[] = [];
    const cameras = new RtspCameras(pushes, pushers);
    try {
      for (const stream of streams) {
        const input = ['-re', '-stream_loop', '-1', '-i', film, '-c', 'copy'];
        const output = ['-f', 'rtsp', '-rtsp_transport', 'tcp', await pushes.expect(stream)];
        pushers.push(FfmpegProcess.start([...input, ...output]));
        await sleep(1_000 / streams.length); // spreads the key frames, as with real cameras
      }
      return cameras;
    } catch (error) {
      await cameras.stop();
      throw error;
    }
  }

  /** @throws if one of them has ended */
  demandAlive(): void {
    if (this.pushers.some(({ hasEnded }) => hasEnded)) throw new Error('a pusher has ended');
  }

  async stop(): Promise<void> {
    await Promise.all(this.pushers.map((pusher) => pusher.stop()));
    await this.pushes.close();
  }
}

/** A key frame every second, and a tone. */
const filmArguments = (path: string, seconds: number): string[] => [
  ...['-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=30,noise=alls=8:allf=t'],
  ...['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000', '-t', String(seconds)],
  ...['-pix_fmt', 'yuv420p', '-c:v', 'libx264', '-preset', 'ultrafast', '-bf', '0', '-g', '30', '-sc_threshold', '0'],
  ...['-b:v', '2000k', '-maxrate', '2000k', '-bufsize', '1000k', '-c:a', 'aac', '-b:a', '128k', '-ac', '2', '-y', path],
];
