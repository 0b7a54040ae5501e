import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { startBrowser } from './browser.js';
import { BLUE, CallApp, ended, expectToHear, RED } from './call-app.js';
import { closeCall, heard, type Sending } from './call-page.js';
import { serveOnLoopback } from './loopback-server.js';
import { RobotApp } from './robot-app.js';
import { SdkPage } from './sdk-page.js';

const { httpUrl, siteUrl, operatorKey, username, password, robots, calls, dataDir } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');
const run = promisify(execFile);

let browser: Browser;
let context: BrowserContext;
let folder: string;

beforeAll(async () => {
  browser = await startBrowser();
  context = await browser.newContext();
  folder = await mkdtemp(join(tmpdir(), 'weir-recording-'));
});
afterAll(async () => {
  await browser.close();
  await rm(folder, { recursive: true });
});

const newName = () => `filmed-${randomUUID().slice(0, 8)}`;

const rest = async (method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> => {
  const response = await fetch(`${httpUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${operatorKey}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  expect(response.ok, `${method} ${path}: ${response.status} ${text}`).toBe(true);
  return text === '' ? undefined : JSON.parse(text);
};

const recording = z.object({
  id: z.string(),
  name: z.string(),
  state: z.string(),
  reason: z.string(),
  container: z.enum(['webm', 'mp4']).nullable(),
  durationMs: z.number().nullable(),
  sizeBytes: z.number().nullable(),
  details: z.unknown(),
});

const published = z.object({
  status: z.literal('PUBLISHING'),
  record: z.literal(true),
  recordName: z.string(),
  streamInfo: z.object({ recordStarted: z.literal(true), recordTimestamp: z.number() }),
});

const streamsNamed = async (name: string) =>
  z.array(z.unknown()).parse(await rest('POST', '/rest-api/stream/find', { name }));

const recordingsOf = async (name: string) =>
  z.object({ recordings: z.array(recording) }).parse(await rest('GET', `/recordings?stream=${name}`)).recordings;

const finished = (name: string, wantedId?: string) =>
  waitFor(
    async () =>
      (await recordingsOf(name)).find(
        ({ id, state }) => state === 'finished' && (wantedId === undefined || id === wantedId),
      ),
    { what: `a finished recording of ${name}`, timeoutMs: 20_000 },
  );

async function publisherOf(name: string, options: Record<string, unknown> = {}): Promise<SdkPage> {
  const page = await SdkPage.open(context, siteUrl);
  await page.connect(wsUrl);
  await page.publish('out', { name, options });
  await page.waitForEvent('out', 'PUBLISHING');
  return page;
}

/** The recording has reached this length. */
const lasts = (name: string, durationMs: number) =>
  waitFor(async () => ((await recordingsOf(name))[0]?.durationMs ?? 0) >= durationMs, {
    what: `${durationMs} ms of ${name}`,
    timeoutMs: 30_000,
  });

/** Decodes every frame. @returns the complaints of ffmpeg and the number of frames and samples */
async function decoded(file: string) {
  // In the file's own time base: in that of a guessed frame rate two pictures may fall on one time.
  const { stderr } = await run('ffmpeg', [
    ...['-v', 'error', '-xerror', '-i', file],
    ...['-enc_time_base:v', '-1', '-f', 'null', '-'],
  ]);
  const { stdout } = await run('ffprobe', [
    ...['-v', 'error', '-count_frames', '-show_entries', 'stream=codec_type,nb_read_frames:format=duration'],
    ...['-of', 'json', file],
  ]);
  const probe = z
    .object({
      streams: z.array(z.object({ codec_type: z.string(), nb_read_frames: z.coerce.number() })),
      format: z.object({ duration: z.coerce.number() }),
    })
    .parse(JSON.parse(stdout));
  const frames = Object.fromEntries(
    probe.streams.map(({ codec_type, nb_read_frames }) => [codec_type, nb_read_frames]),
  );
  return { complaints: stderr, frames, durationMs: probe.format.duration * 1_000 };
}

/** Plays the file from its beginning, then from its middle. */
const played = async (url: string) => {
  const page = await context.newPage();
  await page.goto(siteUrl);
  try {
    return await page.evaluate(async (source) => {
      const video = document.createElement('video');
      video.muted = true;
      video.src = source;
      document.body.append(video);
      const until = (event: string) =>
        new Promise<void>((resolve, reject) => {
          video.addEventListener(event, () => resolve(), { once: true });
          video.addEventListener('error', () => reject(new Error(video.error?.message)), { once: true });
        });
      const frames = (): number => video.getVideoPlaybackQuality().totalVideoFrames;
      const tenFrames = async () => {
        const before = frames();
        while (frames() < before + 10) await until('timeupdate');
      };
      await until('loadedmetadata');
      await video.play();
      await tenFrames();
      const middle = video.duration / 2;
      video.currentTime = middle;
      await until('seeked');
      const soughtBy = Math.abs(video.currentTime - middle);
      await tenFrames();
      return { durationMs: video.duration * 1_000, width: video.videoWidth, soughtBy, now: video.currentTime, middle };
    }, url);
  } finally {
    await page.close();
  }
};

const playbackUrl = async (id: string): Promise<string> =>
  z.object({ url: z.url() }).parse(await rest('POST', `/recordings/${id}/playback`)).url;

/** @returns where the file is now */
async function expectWholeFile({ id, container, durationMs, sizeBytes }: z.infer<typeof recording>): Promise<string> {
  const url = await playbackUrl(id);
  const bytes = Buffer.from(await (await fetch(url)).arrayBuffer());
  expect(bytes.length).toBe(sizeBytes);
  const file = join(folder, `${id}.${container}`);
  await writeFile(file, bytes);
  const whole = await decoded(file);
  expect(whole.complaints).toBe('');
  expect(whole.frames['video']).toBeGreaterThan(30);
  expect(whole.frames['audio']).toBeGreaterThan(100);
  expect(Math.abs(whole.durationMs - (durationMs ?? 0))).toBeLessThan(60);
  const shown = await played(url);
  expect(Math.abs(shown.durationMs - (durationMs ?? 0))).toBeLessThan(60);
  expect(shown.width).toBeGreaterThan(0);
  expect(shown.soughtBy).toBeLessThan(0.1);
  expect(shown.now).toBeGreaterThan(shown.middle);
  return file;
}

describe('a camera that the unmodified WebSDK publishes from Chromium', { timeout: 120_000 }, () => {
  it('becomes, asked for by REST, a file that decodes completely, plays and seeks in a browser', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const { id } = z.object({ id: z.string() }).parse(await rest('POST', '/recordings', { stream: name }));
    await lasts(name, 5_000);
    await rest('POST', `/recordings/${id}/stop`);
    const file = await finished(name);
    await expectWholeFile(file);
    await publisher.close();
  });

  it('with record: true is recorded from its start to its end, and the SDK knows the file', async () => {
    const name = newName();
    const publisher = await publisherOf(name, { record: true });
    const [[status] = []] = publisher.framesReceived('notifyStreamStatusEvent');
    const started = published.parse(status);
    await lasts(name, 5_000);
    expect(await streamsNamed(name)).toEqual([expect.objectContaining({ record: true })]);
    await publisher.call('out', 'stop');
    await publisher.waitForEvent('out', 'UNPUBLISHED');
    expect(await publisher.call('out', 'getRecordInfo')).toBe(started.recordName);
    const file = await finished(name);
    expect(`${file.id}.${file.container}`).toBe(started.recordName);
    expect(file.reason).toBe('the stream ended');
    await expectWholeFile(file);
    await publisher.close();
  });

  it('is recorded while an operator of WCS wants it', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const [stream] = await streamsNamed(name);
    expect(stream).toMatchObject({ record: false });
    const { mediaSessionId } = z.object({ mediaSessionId: z.string() }).parse(stream);
    await rest('POST', '/rest-api/stream/startRecording', { mediaSessionId });
    await lasts(name, 2_000);
    await rest('POST', '/rest-api/stream/stopRecording', { mediaSessionId });
    expect((await finished(name)).reason).toBe('stopped');
    expect(await streamsNamed(name)).toEqual([expect.objectContaining({ record: false, status: 'PUBLISHING' })]);
    await publisher.close();
  });
});

describe('a robot’s camera', { timeout: 120_000 }, () => {
  it('is recorded while an app wants it, and the file decodes completely', async () => {
    const [robot] = robots;
    const camera = robot?.cameras[1];
    if (robot === undefined || camera === undefined) throw new Error('the demo has no robot with two cameras');
    const signIn = await fetch(`${httpUrl}/auth/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username, password }),
    });
    const { ret } = z.object({ ret: z.object({ token: z.string() }) }).parse(await signIn.json());
    const app = await RobotApp.open(`${wsUrl}/channel/app?token=${ret.token}`);
    const arg = { robot_id: robot.id, camera };
    const name = `${robot.id}/${camera}`;
    try {
      const tooEarly = await app.ask({ id: 'early', act: 'robot.start_recording', arg });
      expect(tooEarly.err).toMatchObject({ ec: 404, dm: 'no_stream' });
      expect((await app.startStream(robot.id, camera)).err.ec).toBe(0);
      const started = await app.ask({ id: 'record', act: 'robot.start_recording', arg });
      expect([started.err.ec, started.ret?.started_at]).toEqual([0, expect.any(Number)]);
      await lasts(name, 3_000);
      const stopped = await app.ask({ id: 'enough', act: 'robot.stop_recording', arg });
      expect(stopped).toMatchObject({ err: { ec: 0 }, ret: { stopped: true } });
      const made = await finished(name, started.ret?.recording_id);
      expect(made).toMatchObject({ reason: 'stopped', container: 'mp4' });
      const bytes = Buffer.from(await (await fetch(await playbackUrl(made.id))).arrayBuffer());
      const file = join(folder, 'robot.mp4');
      await writeFile(file, bytes);
      const whole = await decoded(file);
      expect([whole.complaints, bytes.length]).toEqual(['', made.sizeBytes]);
      expect(whole.frames['video']).toBeGreaterThan(30);
      expect(Math.abs(whole.durationMs - (made.durationMs ?? 0))).toBeLessThan(60);
      await app.ask({ id: 'stop', act: 'robot.stop_stream', arg });
    } finally {
      app.socket.terminate();
    }
  });
});

describe('a call between two devices', { timeout: 120_000 }, () => {
  const app = new CallApp({ httpUrl, siteUrl, calls });
  const [a, b] = [app.device(0), app.device(1)];

  it.each(['when its URL is opened', 'by REST'])(
    'that is recorded, asked for %s, becomes a file of each side, and the app is told of both',
    async (asked) => {
      const told: unknown[] = [];
      const hook = await serveOnLoopback((request, response) => {
        void textOf(request).then((body) => {
          if (request.headers['x-topvdn-event'] === 'device-record-clip') told.push(JSON.parse(body));
          response.end();
        });
      });
      await app.ask('/v2/apps/webhook', { webhook: hook.url });
      const [pageA, pageB] = await Promise.all([app.openPage(context, a, RED), app.openPage(context, b, BLUE)]);
      const record = asked !== 'by REST';
      expect(await app.call(a, { cid: b.cid, page: pageB }, { record })).toBeUndefined();
      await Promise.all([expectToHear(pageA, BLUE), expectToHear(pageB, RED)]);
      const { callId } = await heard(pageA);
      if (!record) await rest('POST', `/calls/${callId}/recording`);
      const sides = [
        { cid: a.cid, sent: RED, name: `calls/${callId}/caller` },
        { cid: b.cid, sent: BLUE, name: `calls/${callId}/callee` },
      ];
      for (const { name } of sides) await lasts(name, 4_000);
      await closeCall(pageA);
      await ended(pageB, 'closed');

      const made = [];
      for (const { cid, sent, name } of sides) {
        const recorded = await finished(name);
        await expectToHold(await expectWholeFile(recorded), sent);
        await expectToBeDelivered(recorded);
        made.push({ cid, recordingId: recorded.id });
      }
      const { clips } = callRecords.parse(await rest('GET', `/calls/records?cid=${a.cid}&size=1`)).calls[0];
      expect(clips).toHaveLength(2);
      expect(clips).toEqual(expect.arrayContaining(made.map((clip) => expect.objectContaining(clip) as unknown)));
      await waitFor(() => told.length >= 2, { what: 'both webhooks', timeoutMs: 20_000 });
      expect(told).toHaveLength(2);
      const toldOf = ({ cid, clipId }: (typeof clips)[number]) => ({
        event: 'device-record-clip',
        data: { device: cid, clip_id: clipId },
      });
      expect(told).toEqual(expect.arrayContaining(clips.map(toldOf)));

      await app.ask('/v2/apps/webhook', { webhook: '' });
      await Promise.all([hook.close(), pageA.close(), pageB.close()]);
    },
  );
});

const callRecords = z.object({
  calls: z.tuple([
    z.object({ clips: z.array(z.object({ clipId: z.number(), cid: z.number(), recordingId: z.string() })) }),
  ]),
});

/** The file shows the colour and has the tone that one side of a call has sent. */
async function expectToHold(file: string, { colour, toneHz = 0 }: Sending): Promise<void> {
  const raw = async (...args: string[]) =>
    (await run('ffmpeg', ['-v', 'error', '-ss', '1.5', '-i', file, ...args, '-'], { encoding: 'buffer' })).stdout;
  const [red = 0, green = 0, blue = 0] = await raw(
    ...['-frames:v', '1', '-vf', 'scale=1:1', '-f', 'rawvideo', '-pix_fmt', 'rgb24'],
  );
  const [strong, weak] = colour === RED.colour ? [red, blue] : [blue, red];
  expect(strong).toBeGreaterThan(Math.max(weak, green) + 100);
  const lengthS = 2;
  const sound = await raw('-t', String(lengthS), '-map', '0:a', '-ac', '1', '-ar', '16000', '-f', 's16le');
  const samples = new Int16Array(sound.buffer, sound.byteOffset, sound.length / 2);
  const risings = samples.filter((sample, index) => sample >= 0 && (samples[index - 1] ?? 0) < 0).length;
  expect(Math.abs(risings / lengthS - toneHz)).toBeLessThan(15);
}

/** Its owner may have it delivered to any destination afterwards. */
async function expectToBeDelivered({ id, container, sizeBytes }: z.infer<typeof recording>): Promise<void> {
  await rest('POST', `/recordings/${id}/delivery`, { destination: { kind: 'folder' } });
  await waitFor(
    async () => {
      const { state } = z.object({ state: z.string() }).parse(await rest('GET', `/recordings/${id}/delivery`));
      return state === 'delivered';
    },
    { what: 'the delivery', timeoutMs: 20_000 },
  );
  expect((await readFile(join(dataDir, 'delivered', `${id}.${container}`))).length).toBe(sizeBytes);
}
