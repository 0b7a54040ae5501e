import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from '@weir/single-machine';
import { waitFor } from '@weir/testing';
import type { Page } from 'playwright-core';
import { openPage, startBrowser } from '../src/browser.js';
import { RobotApp } from '../src/robot-app.js';
import { SdkPage } from '../src/sdk-page.js';
import { startSite } from '../src/site.js';
import { removeRobot, TestRobot } from '../src/test-robot.js';
import type { Benchmark } from './benchmark.js';
import { logIn } from './demo-user.js';
import { installJoinMarks, measureJoin } from './join-marks.js';
import type { BenchPlatform } from './platform.js';
import { median, summarize } from './samples.js';
import type { Table } from './table.js';

const VIEWERS = ['WebRTC, WebSDK', 'LL-HLS, hls.js', 'RTSP, ffmpeg'] as const;
type Viewer = (typeof VIEWERS)[number];

const CASES = {
  cold: 'the robot begins to push',
  running: 'the robot already pushes',
} as const;
type Case = keyof typeof CASES;
const cases = Object.keys(CASES) as Case[];

/** Milliseconds since the app sent `robot.start_stream`. */
interface Marks {
  /** The robot has got its command. A robot that already pushes gets none. */
  commanded?: number;
  /** The app has its reply, and media flows. The viewer asks for the picture at once. */
  answered: number;
  /** The first frame has left the viewer's decoder. */
  decoded: number;
}

type Measured = Record<Viewer, Record<Case, Marks[]>>;

interface Series {
  gopMs: number;
  measured: Measured;
  /** From the start of the robot's ffmpeg to the first frame in another ffmpeg, to which it pushes directly. */
  straightMs: number[];
}

const FRAMES_PER_SECOND = 25;
const CAMERA = 'front';
const GOAL_BEYOND_GOP_MS = 300;
const FRAME_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 15_000;

export const firstFrame: Benchmark = {
  name: 'first-frame',
  async run({ platform, short, log }) {
    const { rounds, gopsMs } = short ? { rounds: 1, gopsMs: [1_000] } : { rounds: 20, gopsMs: [1_000, 4_000] };
    const site = await startSite();
    const browser = await startBrowser();
    try {
      const context = await browser.newContext();
      await context.addInitScript(installJoinMarks);
      const sdk = await SdkPage.open(context, site.url);
      await sdk.connect(platform.httpUrl.replace('http:', 'ws:'), { custom: { token: await logIn(platform) } });
      const hls = await openPage(context, site.url);
      await hls.addScriptTag({ url: `${site.url}/hls.js` });
      const series: Series[] = [];
      for (const gopMs of gopsMs) {
        const stage = await Stage.open(platform, gopMs, { sdk, hls });
        try {
          series.push(await stage.measure(rounds, log));
        } finally {
          await stage.close();
        }
      }
      return { tables: [totals(series), phases(series)], figures: { rounds, series } };
    } finally {
      await browser.close();
      await site.close();
    }
  },
};

interface Pages {
  /** With an open session. */
  sdk: SdkPage;
  /** With hls.js. */
  hls: Page;
}

/** A robot whose camera makes a key frame every `gopMs`, and an app that asks for its picture. */
class Stage {
  private constructor(
    private readonly platform: BenchPlatform,
    private readonly gopMs: number,
    private readonly pages: Pages,
    private readonly token: string,
    private readonly app: RobotApp,
    private readonly robot: TestRobot,
  ) {}

  static async open(platform: BenchPlatform, gopMs: number, pages: Pages): Promise<Stage> {
    const { httpUrl, operatorKey } = platform;
    const token = await logIn(platform);
    const app = await RobotApp.open(`${httpUrl.replace('http:', 'ws:')}/channel/app?token=${token}`);
    const id = `bench_${randomUUID().slice(0, 8)}`;
    const robot = await TestRobot.connect({
      ...{ httpUrl, operatorKey, id, cameras: [CAMERA] },
      picture: () => cameraArguments(gopMs),
    });
    return new Stage(platform, gopMs, pages, token, app, robot);
  }

  async measure(rounds: number, log: (line: string) => void): Promise<Series> {
    const measured = Object.fromEntries(
      VIEWERS.map((viewer) => [viewer, { cold: [] as Marks[], running: [] as Marks[] }]),
    ) as Measured;
    const straightMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      straightMs.push(await straight(this.gopMs));
      for (const viewer of VIEWERS) {
        measured[viewer].cold.push(await this.#start(viewer));
        // The next viewer comes at a random point of the camera's GOP.
        await sleep(Math.random() * this.gopMs);
        measured[viewer].running.push(await this.#start(viewer));
        await this.#stop();
      }
      if ((round + 1) % 5 === 0) log(`${round + 1} of ${rounds} rounds, a key frame every ${this.gopMs} ms`);
    }
    return { gopMs: this.gopMs, measured, straightMs };
  }

  async close(): Promise<void> {
    this.app.socket.terminate();
    this.robot.close();
    await removeRobot(this.platform, this.robot.id);
  }

  async #start(viewer: Viewer): Promise<Marks> {
    const startedMs = performance.now();
    const { err, ret } = await this.app.startStream(this.robot.id, CAMERA, randomUUID());
    if (err.ec !== 0 || ret === undefined) throw new Error(`robot.start_stream: ${err.dm}, ${err.em}`);
    const answered = performance.now() - startedMs;
    const viewedMs = await this.#view(viewer, ret);
    const commanded = this.robot.commandedAtMs - startedMs;
    return { ...(commanded > 0 && { commanded }), answered, decoded: answered + viewedMs };
  }

  /** @returns milliseconds from asking for the picture to its first frame; then the viewer leaves */
  async #view(viewer: Viewer, { uri = '', hls_uri: hlsUri = '' }: { uri?: string; hls_uri?: string }) {
    switch (viewer) {
      case 'WebRTC, WebSDK':
        return (await measureJoin(this.pages.sdk.page, 'play', `${this.robot.id}/${CAMERA}`)).decoded ?? NaN;
      case 'LL-HLS, hls.js':
        return measureHls(this.pages.hls, `${hlsUri}?token=${this.token}`);
      case 'RTSP, ffmpeg':
        return firstPicture([...EAGER, '-rtsp_transport', 'tcp', '-i', uri]).ms;
      default:
        return viewer satisfies never;
    }
  }

  /** Ends the stream, so that nobody watches and the robot stops pushing. */
  async #stop(): Promise<void> {
    const { id } = this.robot;
    await waitFor(
      async () => {
        await fetch(`${this.platform.httpUrl}/stream/${id}`, {
          method: 'DELETE',
          headers: { authorization: `Bearer ${this.token}` },
        });
        const arg = { robot_id: id, camera: CAMERA };
        const { ret } = await this.app.ask({ id: randomUUID(), act: 'robot.stop_stream', arg });
        return (ret as { stopped?: boolean } | undefined)?.stopped === true;
      },
      { timeoutMs: STOP_TIMEOUT_MS, what: 'the end of the stream' },
    );
  }
}

/** The same as the simulated robots push: H.264 baseline without delay, and AAC. */
const cameraArguments = (gopMs: number): string[] => [
  ...['-re', '-f', 'lavfi', '-i', `testsrc2=size=640x360:rate=${FRAMES_PER_SECOND}`],
  ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'],
  ...['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'ultrafast', '-tune', 'zerolatency'],
  ...['-pix_fmt', 'yuv420p', '-sc_threshold', '0', '-g', String((gopMs * FRAMES_PER_SECOND) / 1_000)],
  ...['-b:v', '800k', '-c:a', 'aac', '-ac', '1', '-b:a', '64k'],
];

/** Makes ffmpeg decode without analysing its source first. */
const EAGER = [
  ...['-hide_banner', '-nostdin', '-loglevel', 'error', '-fflags', 'nobuffer', '-flags', 'low_delay'],
  // 0 would mean the default of several seconds.
  ...['-analyzeduration', '1', '-probesize', '32', '-fpsprobesize', '0'],
];

/** Starts an ffmpeg that writes out the first picture that it decodes, and measures the time until then. */
function firstPicture(input: readonly string[]): { ms: Promise<number>; stop(): void } {
  const startedMs = performance.now();
  const output = ['-map', '0:v', '-frames:v', '1', '-f', 'rawvideo', 'pipe:1'];
  const player = spawn('ffmpeg', [...input, ...output], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ms = new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('ffmpeg saw no picture')), FRAME_TIMEOUT_MS);
    player.stdout.once('data', () => resolve(performance.now() - startedMs));
    player.stdout.resume();
    player.on('error', reject);
    player.on('close', () => {
      clearTimeout(timer);
      reject(new Error('ffmpeg ended without a picture'));
    });
  });
  return { ms, stop: () => void player.kill('SIGKILL') };
}

/** Lets the robot's ffmpeg push to another ffmpeg that waits for it. */
async function straight(gopMs: number): Promise<number> {
  const [port = 0] = await freePorts(1);
  const url = `rtsp://127.0.0.1:${port}/camera`;
  const player = firstPicture([...EAGER, '-rtsp_flags', 'listen', '-i', url]);
  await sleep(LISTEN_MS);
  const startedMs = performance.now();
  const push = spawn(
    'ffmpeg',
    [
      ...['-hide_banner', '-nostdin', '-loglevel', 'quiet', ...cameraArguments(gopMs)],
      ...['-f', 'rtsp', '-rtsp_transport', 'tcp', url],
    ],
    { stdio: 'ignore' },
  );
  push.on('error', () => undefined); // no picture comes
  try {
    await player.ms;
    return performance.now() - startedMs;
  } finally {
    push.kill('SIGKILL');
    player.stop();
  }
}
/** How long ffmpeg gets to start listening, because it doesn't report that. */
const LISTEN_MS = 500;

interface HlsWindow {
  Hls: new (options: object) => {
    loadSource(url: string): void;
    attachMedia(element: HTMLMediaElement): void;
    destroy(): void;
  };
}

/** Plays with hls.js until the first frame is on the screen. @returns the milliseconds until then */
const measureHls = (page: Page, url: string): Promise<number> =>
  page.evaluate(
    async ([source, timeoutMs]) => {
      const { Hls } = window as unknown as HlsWindow;
      const startedMs = performance.now();
      const video = document.createElement('video');
      video.muted = true;
      video.autoplay = true;
      document.body.append(video);
      const player = new Hls({ lowLatencyMode: true });
      try {
        player.loadSource(source);
        player.attachMedia(video);
        await new Promise<void>((resolve, reject) => {
          video.requestVideoFrameCallback(() => resolve());
          setTimeout(() => reject(new Error('hls.js showed no frame')), timeoutMs);
        });
        return performance.now() - startedMs;
      } finally {
        player.destroy();
        video.remove();
      }
    },
    [url, FRAME_TIMEOUT_MS] as const,
  );

const decodedMs = ({ decoded }: Marks): number => decoded;

function totals(series: readonly Series[]): Table {
  return {
    title: 'From robot.start_stream to the first decoded frame, ms',
    columns: ['', 'key frame every', 'starts', 'p50', 'p99', 'max', 'goal', 'within goal'],
    rows: series.flatMap(({ gopMs, measured, straightMs }) => {
      const goalMs = gopMs + GOAL_BEYOND_GOP_MS;
      const row = (name: string, samples: readonly number[]) => {
        const { count, p50, p99, max } = summarize(samples);
        return [name, gopMs, count, p50, p99, max, goalMs, samples.filter((ms) => ms <= goalMs).length / count];
      };
      return [
        ...cases.flatMap((kind) =>
          VIEWERS.map((viewer) => row(`${viewer}; ${CASES[kind]}`, measured[viewer][kind].map(decodedMs))),
        ),
        row("baseline: the robot's ffmpeg straight into another one", straightMs),
      ];
    }),
    note: "The goal is one GOP plus 300 ms. The baseline has no command, no app, and a player that waits for the robot's push.",
  };
}

/** The median of each phase; together they needn't equal the median of the whole. */
function phases(series: readonly Series[]): Table {
  return {
    title: 'Where the time goes, medians, ms',
    columns: ['', 'key frame every', 'command', "robot's ffmpeg until media flow, reply", 'join to first frame'],
    rows: series.flatMap(({ gopMs, measured }) =>
      cases.flatMap((kind) =>
        VIEWERS.map((viewer) => {
          const marks = measured[viewer][kind];
          const middle = (phase: (one: Marks) => number) => median(marks.map(phase));
          return [
            `${viewer}; ${CASES[kind]}`,
            gopMs,
            kind === 'cold' ? middle(({ commanded }) => commanded ?? NaN) : '',
            middle(({ answered, commanded = 0 }) => answered - commanded),
            middle(({ answered, decoded }) => decoded - answered),
          ];
        }),
      ),
    ),
  };
}
