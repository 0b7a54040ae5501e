import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { logIn } from '../bench/demo-user.js';
import { FfmpegProcess } from '../bench/ffmpeg-process.js';
import type { BenchPlatform } from '../bench/platform.js';
import { RtspPushes } from '../bench/rtsp-pushes.js';
import { addressOf, RawClient, type RawClientOptions } from './raw-client.js';
import type { Series, SeriesContext, SeriesResult } from './series.js';
import { VISIT_COLUMNS, visitCells, Visitors, type Visits } from './visitors.js';
import { WatchedProcesses } from './watched-processes.js';

/** Other clients may not wait longer than this, because an existing playlist is answered at once. */
const MAX_WAIT_MS = 2_000;
const FOLLOW_INTERVAL_MS = 500;
const REFUSED_PAUSE_MS = 1_000;
const UNREAD_ANSWERS = 5;
const PICTURE = [
  ...['-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=25'],
  ...['-c:v', 'libx264', '-preset', 'ultrafast', '-bf', '0', '-g', '25', '-pix_fmt', 'yuv420p'],
];

/** Repeated blocking reloads from one address; then clients that ask for media and don't read it. */
export const reloads: Series = {
  name: 'reloads',
  trials: { full: 3, short: 1 },
  async run({ platform, short, trials, random, log }: SeriesContext): Promise<SeriesResult> {
    const [count, windowMs] = short ? [420, 1_500] : [420, 5_000];
    const port = Number(new URL(platform.httpUrl).port);
    const rows: (string | number)[][] = [];
    const broken: string[] = [];
    const camera = await Camera.start(platform, `failure-${random.below(1_000_000)}`);
    const processes = await WatchedProcesses.of(platform, ['gateway', 'hls-packager']);
    try {
      const others = new Visitors({
        httpUrl: platform.httpUrl,
        address: addressOf(random),
        paths: [camera.playlistPath, '/stream/'],
        headers: { authorization: `Bearer ${camera.token}` },
      });
      const note = (what: string, visits: Visits) => {
        rows.push([what, ...visitCells(visits), ...processes.peaksMib()]);
        if (visits.failed > 0)
          broken.push(`${visits.failed} requests of other clients got no answer from hls-packager, ${what}`);
        if (!short && visits.maxMs > MAX_WAIT_MS)
          broken.push(`other clients waited ${Math.round(visits.maxMs)} ms, ${what}`);
      };
      for (let trial = 1; trial <= trials; trial += 1) {
        note('quiet', await others.watch(windowMs));

        log(`${count} blocking reloads`);
        const waiting = await RawClient.openMany(count, { port, address: addressOf(random) });
        const asking = new AbortController();
        const loops = waiting.map((client) => camera.reload(client, asking.signal));
        await delay(200);
        note('blocking reloads', await others.watch(windowMs));
        asking.abort();
        for (const client of waiting) client.breakOff(random.pick(['reset', 'end', 'destroy']));
        note('reloads aborted', await others.watch(windowMs));
        for (const client of waiting) client.breakOff('destroy');
        await Promise.all(loops);

        log(`${count} clients that don't read`);
        const deaf = await camera.askAndNeverRead(count, { port, address: addressOf(random) });
        await delay(200);
        note('answers that nobody reads', await others.watch(windowMs));
        for (const client of deaf) client.breakOff('destroy');
        broken.push(...(await processes.ended()));
      }
    } finally {
      processes.close();
      await camera.stop();
    }
    return {
      tables: [
        {
          title: `${count} clients from one address that keep answers waiting`,
          columns: ['other clients during', ...VISIT_COLUMNS, 'gateway MiB', 'hls-packager MiB'],
          rows,
          note: 'The memory is the peak of each process during that time.',
        },
      ],
      broken,
    };
  },
};

/** A packaged stream and its playlist. */
class Camera {
  #nextSequence = 0;
  #following: NodeJS.Timeout | undefined;

  private constructor(
    readonly playlistPath: string,
    readonly token: string,
    private readonly platform: BenchPlatform,
    private readonly pushes: RtspPushes,
    private readonly pusher: FfmpegProcess,
  ) {}

  static async start(platform: BenchPlatform, name: string): Promise<Camera> {
    const pushes = await RtspPushes.connect(platform);
    const url = await pushes.expect(name);
    const pusher = FfmpegProcess.start([...PICTURE, '-f', 'rtsp', '-rtsp_transport', 'tcp', url]);
    const camera = new Camera(`/videos/~/${name}/media.m3u8`, await logIn(platform), platform, pushes, pusher);
    await waitFor(() => camera.#look(), { timeoutMs: 30_000, intervalMs: 300, what: 'a playlist' });
    // A look may be refused while the attack goes on, which the visits report. The last known number is used then.
    camera.#following = setInterval(() => void camera.#look().catch(() => undefined), FOLLOW_INTERVAL_MS);
    return camera;
  }

  /** Asks for the playlist with the segment after next, again and again; waits a second after a refusal. */
  async reload(client: RawClient, ended: AbortSignal): Promise<void> {
    while (!ended.aborted && !client.closed) {
      client.received = '';
      client.send(this.#request(`${this.playlistPath}?_HLS_msn=${this.#nextSequence + 1}`));
      await client.answered();
      if (client.statusCode !== 200) await delay(REFUSED_PAUSE_MS);
    }
  }

  async askAndNeverRead(count: number, options: RawClientOptions): Promise<RawClient[]> {
    const clients = await RawClient.openMany(count, options);
    for (const client of clients) {
      client.socket.pause();
      for (let requests = 0; requests < UNREAD_ANSWERS; requests += 1) client.send(this.#request(this.playlistPath));
    }
    return clients;
  }

  async stop(): Promise<void> {
    clearInterval(this.#following);
    await this.pusher.stop();
    await this.pushes.close();
  }

  /** Records which segment comes next. @throws if there is no playlist */
  async #look(): Promise<boolean> {
    const response = await fetch(`${this.platform.httpUrl}${this.playlistPath}`, {
      headers: { authorization: `Bearer ${this.token}` },
    });
    const text = await response.text();
    const first = /^#EXT-X-MEDIA-SEQUENCE:(\d+)$/m.exec(text)?.[1];
    if (first === undefined) throw new Error(`no playlist: ${response.status} ${text}`);
    this.#nextSequence = Number(first) + (text.match(/^#EXTINF/gm)?.length ?? 0);
    return true;
  }

  #request(path: string): string {
    return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${this.token}\r\n\r\n`;
  }
}
