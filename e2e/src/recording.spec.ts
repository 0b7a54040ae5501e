import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type FilmColour, waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { middlePixel, received, startBrowser } from './browser.js';
import { newSession, RecordingApp } from './recording-app.js';
import {
  addCamera,
  heardHz,
  joinSession,
  recordFirstGeneration,
  recordWithSdk,
  say,
  sendPictures,
  shownPixels,
  stopFirstGeneration,
  switchStream,
  told,
} from './recording-page.js';
import { startUploadReceiver, type UploadReceiver } from './upload-receiver.js';

const { httpUrl, siteUrl, dataDir } = inject('platform');
const run = promisify(execFile);

const { apiId, masterKey } = z
  .object({ recording: z.object({ apiId: z.string(), masterKey: z.string() }) })
  .parse(JSON.parse(readFileSync(join(dataDir, 'credentials.json'), 'utf8'))).recording;

let browser: Browser;
let context: BrowserContext;
let receiver: UploadReceiver;

beforeAll(async () => {
  browser = await startBrowser();
  receiver = await startUploadReceiver();
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());
afterAll(async () => {
  await browser.close();
  await receiver.close();
});

const app = new RecordingApp({ httpUrl, masterKey });

/** Expects a file that decodes from its first to its last frame and is what its webhook says. */
async function expectDelivered(name: string, recordingId: string, clientId: string): Promise<void> {
  const file = await receiver.file(name);
  const decoder = ['-v', 'error', '-xerror', '-nostdin', '-i', file, '-map', '0'];
  const { stderr } = await run('ffmpeg', [
    ...decoder,
    '-fps_mode',
    'passthrough',
    '-enc_time_base:v',
    '-1',
    '-f',
    'null',
    '-',
  ]);
  expect(stderr).toBe('');
  const probe = ['-v', 'error', '-show_entries', 'format=duration', '-of', 'json', file];
  const { format } = z
    .object({ format: z.object({ duration: z.coerce.number() }) })
    .parse(JSON.parse((await run('ffprobe', probe)).stdout));
  const ready = await receiver.webhook('upload_ready', recordingId);
  expect(ready).toMatchObject({
    ...{ rec_id: recordingId, client_id: clientId },
    recording_file_size_bytes: (await stat(file)).size,
  });
  expect(Math.abs(Number(ready['recording_file_duration_ms']) - format.duration * 1_000)).toBeLessThanOrEqual(1);
  const times = ['recording_started_at', 'recording_first_frame_written_at', 'recording_stopped_at'].map((field) =>
    Date.parse(String(ready[field])),
  );
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  // The browser's clock is this machine's.
  const capturedMs = Date.parse(String(ready['recording_first_peerframe_captured_at']));
  expect(Math.abs(capturedMs - (times[0] ?? 0))).toBeLessThan(10_000);
  expect(receiver.webhooks.filter(({ body }) => body['rec_id'] === recordingId)).toHaveLength(1);
}

const colourOf = ([red = 0, green = 0, blue = 0]: readonly number[]): FilmColour | undefined => {
  if (red > 150 && green < 100 && blue < 100) return 'red';
  if (green > 150 && red < 100 && blue < 100) return 'green';
  return blue > 150 && red < 100 && green < 100 ? 'blue' : undefined;
};

/** The colours in the last picture of each video in the file. */
async function coloursIn(file: string): Promise<(FilmColour | undefined)[]> {
  const shown = ['-select_streams', 'v', '-show_entries', 'stream=index', '-of', 'json'];
  const { stdout } = await run('ffprobe', ['-v', 'error', ...shown, file]);
  const { streams } = z.object({ streams: z.array(z.unknown()) }).parse(JSON.parse(stdout));
  return Promise.all(
    streams.map(async (_, index) => {
      const middle = ['-vf', 'crop=2:2,scale=1:1', '-pix_fmt', 'rgb24', '-fps_mode', 'passthrough'];
      const { stdout: pixels } = await run(
        'ffmpeg',
        ['-v', 'error', '-nostdin', '-i', file, '-map', `0:v:${index}`, ...middle, '-f', 'rawvideo', '-'],
        { encoding: 'buffer', maxBuffer: 16 * 1024 * 1024 },
      );
      return colourOf([...pixels.subarray(-3)]);
    }),
  );
}

/** The sizes of the pictures in a file. */
async function sizesIn(file: string): Promise<Set<string>> {
  const frames = ['-select_streams', 'v:0', '-show_entries', 'frame=width,height', '-of', 'csv=p=0'];
  const { stdout } = await run('ffprobe', ['-v', 'error', ...frames, file], { maxBuffer: 16 * 1024 * 1024 });
  return new Set(stdout.trim().split(/\s+/));
}

const recordingId = ({ data }: { data: Readonly<Record<string, unknown>> }) => String(data['rec_id']);
const isState = (state: string) => (message: { data: Readonly<Record<string, unknown>> }) =>
  message.data['state'] === state;

describe('a session of the second generation', () => {
  it('is recorded twice, watched meanwhile, and listed', async () => {
    const client = await app.session(`door-${randomUUID()}`);
    const { webhookUrl } = receiver;
    const page = await joinSession(context, siteUrl, { ...client, webhookUrl });
    const first = randomUUID();
    await say(page, 'recording_start', { upload_url: receiver.uploadUrl(first), webhook_url: webhookUrl });
    const firstId = recordingId(await told(page, 'recording_state', isState('started')));

    const supervisor = await app.supervision('guard', client.clientId);
    const watching = await joinSession(context, siteUrl, { ...supervisor, webhookUrl, monitored: client.id });
    await waitFor(async () => (await received(watching)).framesDecoded > 20, { what: 'a picture', timeoutMs: 30_000 });
    const [red = 0, green = 0, blue = 0] = await middlePixel(watching, '#remote video');
    expect(green).toBeGreaterThan(Math.max(red, blue));

    await sendPictures(page, 30);
    await say(page, 'recording_stop');
    await told(page, 'recording_state', isState('stopped'));
    const second = randomUUID();
    await say(page, 'recording_start', { upload_url: receiver.uploadUrl(second), webhook_url: webhookUrl });
    const secondId = recordingId(
      await told(page, 'recording_state', ({ data }) => data['state'] === 'started' && data['rec_id'] !== firstId),
    );
    await sendPictures(page, 30);
    await say(page, 'session_stop');
    await expectDelivered(first, firstId, client.clientId);
    await expectDelivered(second, secondId, client.clientId);
    expect(await receiver.webhook('session_finished', client.id)).toMatchObject({ termination_cause: 'CLIENT_STOP' });
    await receiver.webhook('supervisor_session_finished', supervisor.id);

    const stats = await app.tokenFor('stats', {});
    const { json } = await app.ask(`/api/v2/stats/${apiId}/recordings?limit=100`, undefined, stats);
    const listed = { api_id: apiId, client_id: client.clientId, session_id: client.id };
    expect(json).toMatchObject({
      recordings: expect.arrayContaining([
        expect.objectContaining({ ...listed, recording_id: firstId, state: 'DELIVERED' }),
        expect.objectContaining({ ...listed, recording_id: secondId, state: 'DELIVERED' }),
      ]),
    });
  }, 180_000);

  it('is talked to by its supervisors, the first of whom is heard until it leaves', async () => {
    const { webhookUrl } = receiver;
    const client = await app.session(`gate-${randomUUID()}`);
    // A client whose sections for pictures are all one-way, as most are: only the sound goes both ways.
    const page = await joinSession(context, siteUrl, { ...client, webhookUrl, cameras: ['red', 'green'] });
    const talk = async (talkHz: number) => {
      const supervisor = await app.supervision('guard', client.clientId);
      return joinSession(context, siteUrl, { ...supervisor, webhookUrl, monitored: client.id, talkHz });
    };
    const expectHeard = (hz: number) =>
      expect.poll(async () => Math.abs((await heardHz(page)) - hz), { timeout: 20_000 }).toBeLessThan(10);
    const first = await talk(700);
    await expectHeard(700);
    const second = await talk(1_300);
    expect(await told(second, 'error')).toMatchObject({
      data: { code: 'NOT_CARRIED', message: expect.stringContaining('another one who talks to the client') },
    });
    for (const each of [first, second]) await expect.poll(() => heardHz(each), { timeout: 20_000 }).toBeGreaterThan(0);
    await expectHeard(700);
    await say(first, 'session_stop');
    await expectHeard(1_300);
    await say(page, 'session_stop');
    await told(second, 'session_terminated');
  }, 120_000);

  it('that takes no sound has supervisors who are told that it can’t be talked to', async () => {
    const { webhookUrl } = receiver;
    const client = await app.session(`gate-${randomUUID()}`);
    await joinSession(context, siteUrl, { ...client, webhookUrl, hears: false });
    const supervisor = await app.supervision('guard', client.clientId);
    const page = await joinSession(context, siteUrl, { ...supervisor, webhookUrl, monitored: client.id, talkHz: 700 });
    expect(await told(page, 'error')).toMatchObject({
      data: { code: 'NOT_CARRIED', message: expect.stringContaining("can't be talked to") },
    });
  });

  it('refuses a bad upload_url with its reason, and is delivered when its page is lost', async () => {
    const client = await app.session(`hall-${randomUUID()}`);
    const { webhookUrl } = receiver;
    const page = await joinSession(context, siteUrl, { ...client, webhookUrl });
    await say(page, 'recording_start', { upload_url: 'https://10.0.0.1/x', webhook_url: webhookUrl });
    expect(await told(page, 'error')).toMatchObject({
      data: { code: 'UPLOAD_URL_FORBIDDEN_ADDRESS', message: expect.stringContaining('upload_url') },
    });
    const name = randomUUID();
    await say(page, 'recording_start', { upload_url: receiver.uploadUrl(name), webhook_url: webhookUrl });
    const id = recordingId(await told(page, 'recording_state', isState('started')));
    await sendPictures(page, 60);
    await page.close();
    await expectDelivered(name, id, client.clientId);
    expect(await receiver.webhook('session_finished', client.id)).toMatchObject({ termination_cause: 'CONN_TIMEOUT' });
  }, 120_000);

  it('is out of reach for the token of another client', async () => {
    const [mine, theirs] = [await app.session(`a-${randomUUID()}`), await app.session(`b-${randomUUID()}`)];
    const refused = await app.ask('/api/v2/session', { client_id: mine.clientId }, theirs.token);
    expect(refused).toMatchObject({ status: 403, json: { error: { code: 'FORBIDDEN' } } });
    const watched = { client_id: theirs.clientId, client_id_to_monitor: mine.clientId };
    expect((await app.ask('/api/v2/supervisor_session', watched, theirs.token)).status).toBe(403);
    expect((await app.ask(`/api/v2/stats/${apiId}/recordings`, undefined, theirs.token)).status).toBe(403);
  });
});

describe('a session of several cameras', () => {
  it('has all of them in its files, and shows them to its supervisors, also one that comes later', async () => {
    const client = await app.session(`court-${randomUUID()}`);
    const { webhookUrl } = receiver;
    const page = await joinSession(context, siteUrl, { ...client, webhookUrl, cameras: ['red', 'green'] });
    const record = async (name: string, before?: string) => {
      await say(page, 'recording_start', { upload_url: receiver.uploadUrl(name), webhook_url: webhookUrl });
      const begun = await told(
        page,
        'recording_state',
        (each) => isState('started')(each) && recordingId(each) !== before,
      );
      return recordingId(begun);
    };
    const first = randomUUID();
    const firstId = await record(first);

    const supervisors = await Promise.all([1, 2, 3].map(() => app.supervision('guard', client.clientId)));
    const asking = { client_id: 'guard', client_id_to_monitor: client.clientId };
    expect(await app.ask('/api/v2/supervisor_session', asking, supervisors[0]?.token)).toMatchObject({
      ...{ status: 409, json: { error: { code: 'ALREADY_EXISTS' } } },
    });
    const watching = await Promise.all(
      supervisors.map((each) => joinSession(context, siteUrl, { ...each, webhookUrl, monitored: client.id })),
    );
    const expectShown = (colours: readonly FilmColour[]) =>
      Promise.all(
        watching.map((each) =>
          expect.poll(async () => (await shownPixels(each)).map(colourOf), { timeout: 30_000 }).toEqual(colours),
        ),
      );
    await expectShown(['red', 'green']);
    await say(page, 'recording_stop');
    await told(page, 'recording_state', isState('stopped'));

    const second = randomUUID();
    const secondId = await record(second, firstId);
    await sendPictures(page, 25);
    await addCamera(page, 'blue');
    await expectShown(['red', 'green', 'blue']);
    await sendPictures(page, 25);
    await say(page, 'session_stop');
    await expectDelivered(first, firstId, client.clientId);
    await expectDelivered(second, secondId, client.clientId);
    expect(await coloursIn(await receiver.file(first))).toEqual(['red', 'green']);
    expect(await coloursIn(await receiver.file(second))).toEqual(['red', 'green', 'blue']);
  }, 180_000);
});

/** Where the vendor's SDK lies, which isn't ours to give away. */
const sdkFile = process.env['EYESON_SDK_FILE'];

describe('the first generation', () => {
  if (sdkFile !== undefined)
    it("is spoken by the vendor's own SDK, which records and switches its camera", async () => {
      const clientId = `kiosk-${randomUUID()}`;
      const name = randomUUID();
      const id = await recordWithSdk(context, siteUrl, sdkFile, {
        ...{ endpoint: httpUrl, token: await app.tokenFor('client', { client_id: clientId }), clientId },
        ...{ uploadUrl: receiver.uploadUrl(name), webhookUrl: receiver.webhookUrl },
      });
      await expectDelivered(name, id, clientId);
      expect(await sizesIn(await receiver.file(name))).toContain('320,240');
    }, 120_000);

  it('records a camera, which is switched to another size, into one file', async () => {
    const clientId = `booth-${randomUUID()}`;
    const token = await app.tokenFor('client', { client_id: clientId });
    const name = randomUUID();
    const { page, recordingId: id } = await recordFirstGeneration(context, siteUrl, {
      ...{ endpoint: httpUrl, token, clientId },
      ...{ uploadUrl: receiver.uploadUrl(name), webhookUrl: receiver.webhookUrl },
    });
    await sendPictures(page, 60);
    await switchStream(page, 320, 240);
    await sendPictures(page, 30);
    await stopFirstGeneration(page);
    await expectDelivered(name, id, clientId);
    const sizes = await sizesIn(await receiver.file(name));
    expect(sizes).toContain('320,240');
    expect(sizes.size).toBeGreaterThan(1);
  }, 120_000);
});

describe('the calls of the documentation', () => {
  it('get a token and a session by curl', async () => {
    const script = `
token=$(curl -X POST https://streamrec.eyeson.com/auth_v2/client \\
-d '{"master_key":"<api-key>", "client_id":"client-0"}' -s | jq -r .auth_token)
curl -H "Authorization: Bearer $token" \\
'https://streamrec.eyeson.com/api/v2/session' \\
-d '{"client_id": "client-0"}'`
      .replaceAll('https://streamrec.eyeson.com', httpUrl)
      .replace('<api-key>', masterKey);
    const { stdout } = await run('bash', ['-c', script]);
    const made = newSession.parse(JSON.parse(stdout));
    expect(made.ws_endpoint).toBe(`${httpUrl.replace('http:', 'ws:')}/api/v2/io`);
    expect(made.ice_credentials.iceServers).toEqual([
      { urls: [expect.stringMatching(/^stun:/)], username: '', credential: '' },
      {
        urls: expect.arrayContaining([expect.stringMatching(/^turn:/)]),
        ...{ username: expect.stringMatching(/^\d+:/), credential: expect.any(String) },
      },
    ]);
  });
});
