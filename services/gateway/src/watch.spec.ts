import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { waitFor } from '@weir/testing';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startEdge, stopEdges, type EdgeUnderTest } from './testing/edge-under-test.js';
import { startService, stopServices } from './testing/service-stand-in.js';

let browser: Browser;
let folder: string;
let edge: EdgeUnderTest;
let complaints: string[];
let asked: string[];

const TOKEN = 'header.payload.signature';
const PASS = 'weirp_short';

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-watch-'));
  const source = ['-f', 'lavfi', '-i', 'testsrc2=s=320x240:r=30', '-t', '3'];
  const coding = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '30'];
  const hls = ['-f', 'hls', '-hls_time', '1', '-hls_list_size', '0', '-hls_segment_type', 'fmp4'];
  const { status } = spawnSync('ffmpeg', [
    '-v',
    'error',
    ...source,
    ...coding,
    ...hls,
    path.join(folder, 'index.m3u8'),
  ]);
  if (status !== 0) throw new Error('ffmpeg made no playlist');
  browser = await chromium.launch({
    executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
});
afterAll(async () => {
  await browser.close();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  complaints = [];
  asked = [];
  const hls = await startService({
    onRequest: (request, response) => {
      const [, , id, file = ''] = (request.url ?? '').split('?', 1)[0]?.split('/') ?? [];
      asked.push(request.url ?? '');
      const refused = file.endsWith('.m3u8') && request.headers.authorization !== `Bearer ${TOKEN}`;
      if (refused) response.writeHead(401).end('{}');
      else if (id !== 'dog') response.writeHead(404).end('{}');
      else void readFile(path.join(folder, file)).then((bytes) => response.end(bytes));
    },
  });
  const auth = await startService({
    onRequest: (request, response) => {
      if (request.url === '/auth/passes') {
        const isKnown = request.headers.authorization === `Bearer ${TOKEN}`;
        response.writeHead(isKnown ? 201 : 400, { 'content-type': 'application/json' });
        return void response.end(JSON.stringify(isKnown ? { pass: PASS } : {}));
      }
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const isRight = body.includes('"right"');
        const answer = isRight
          ? { err: { ec: 0, em: 'ok' }, ret: { token: TOKEN } }
          : { err: { ec: 105, em: 'The password is wrong.' }, ret: null };
        response.writeHead(isRight ? 200 : 401, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
      });
    },
  });
  edge = await startEdge({ WEIR_UPSTREAM_HLS_PACKAGER: hls.url, WEIR_UPSTREAM_AUTH: auth.url });
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  await stopEdges();
  await stopServices();
});

async function openPage(hash = '', prepare?: () => void): Promise<Page> {
  const page = await browser.newPage();
  if (prepare !== undefined) await page.addInitScript(prepare);
  page.on('console', (line) => {
    // The browser itself logs refused requests to the console; the page shows them to the user.
    if (line.type() === 'error' && !line.text().includes('status of 40')) complaints.push(line.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(`${edge.url}/watch.html${hash}`);
  return page;
}
const says = (page: Page, panel: 'watch' | 'who', text: string) =>
  page.locator(`#${panel}`).getByText(text).waitFor({ timeout: 10_000 });
const watch = async (page: Page, name: string) => {
  await page.getByLabel('Robot or stream').fill(name);
  await page.getByRole('button', { name: 'Watch' }).click();
};

describe('the page that plays HLS', () => {
  it('plays a stream to its end with a token, which is in no URL', async () => {
    const page = await openPage('#stream=dog');
    await page.getByLabel('Access token').fill(TOKEN);
    await page.getByRole('button', { name: 'Watch' }).click();
    await says(page, 'watch', 'Playing');
    await says(page, 'watch', '320 × 240');
    await says(page, 'watch', 'The stream has ended.');
    expect(asked.some((url) => url.endsWith('.m4s'))).toBe(true);
    expect(asked.join()).not.toContain(TOKEN);
    expect(complaints).toEqual([]);
  });

  it.each([
    ['a token’s pass', TOKEN, PASS],
    ['a key', 'weir_key', 'weir_key'],
  ])('gives %s in the address to a browser that plays HLS by itself', async (_what, credential, shown) => {
    const page = await openPage('#stream=dog', () => {
      Object.assign(globalThis, { MediaSource: undefined, ManagedMediaSource: undefined });
      HTMLMediaElement.prototype.canPlayType = () => 'maybe';
    });
    await page.getByLabel('Access token').fill(credential);
    await page.getByRole('button', { name: 'Watch' }).click();
    await waitFor(() => asked.includes(`/videos/dog/index.m3u8?token=${shown}`));
    expect(asked.join()).not.toContain(TOKEN);
  });

  it('plays a stream after logging in', async () => {
    const page = await openPage();
    await page.getByLabel('User name').fill('anna');
    await page.getByLabel('Password').fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await says(page, 'who', 'The password is wrong.');
    await page.getByLabel('Password').fill('right');
    await page.getByRole('button', { name: 'Log in' }).click();
    await says(page, 'who', 'Logged in as anna');
    await watch(page, 'dog');
    await says(page, 'watch', 'Playing');
    await page.getByRole('button', { name: 'Stop' }).click();
    await says(page, 'watch', 'Not playing');
    expect(complaints).toEqual([]);
  });

  it('says why nothing plays', async () => {
    const page = await openPage();
    await watch(page, 'dog');
    await says(page, 'watch', 'Log in first');
    await page.getByLabel('Access token').fill(TOKEN);
    await watch(page, 'nobody here');
    await says(page, 'watch', 'There is no such robot or stream');
    expect(asked).toContain('/videos/~/nobody%20here/index.m3u8');
    expect(complaints).toEqual([]);
  });
});
