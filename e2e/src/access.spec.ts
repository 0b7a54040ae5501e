import { createHmac, randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { readFile } from 'node:fs/promises';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { startBrowser } from './browser.js';
import { SdkPage } from './sdk-page.js';
import { WcsSocket } from './wcs-socket.js';

const { httpUrl, siteUrl, operatorKey, dataDir, rtspPort } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');

let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  browser = await startBrowser();
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());
afterAll(() => browser.close());

async function operator(method: string, path: string, body?: unknown): Promise<Record<string, string>> {
  const response = await fetch(httpUrl + path, {
    method,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${operatorKey}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect(response.ok).toBe(true);
  return (await response.json().catch(() => ({}))) as Record<string, string>;
}

const newAppKey = () => `app-${randomUUID().slice(0, 8)}`;
const newName = () => `cam-${randomUUID().slice(0, 8)}`;

describe('a refused client', () => {
  const hasLine = (service: string, ...parts: string[]) =>
    waitFor(
      async () =>
        (await readFile(join(dataDir, 'logs', `${service}.log`), 'utf8'))
          .split('\n')
          .some((line) => parts.every((part) => line.includes(part))),
      { what: `a line of ${service} with ${parts.join(', ')}` },
    );

  it('leaves a line without the secret in the log of the service that refused it', async () => {
    const name = newName();
    const [password, token] = [randomUUID(), randomUUID()];
    await fetch(`${httpUrl}/auth/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: name, password }),
    });
    await fetch(`${httpUrl}/videos/~/${name}/index.m3u8?token=${token}`);
    await fetch(`${httpUrl}/rest-api/pull/find_all?name=${name}`, { headers: { authorization: `Bearer ${token}` } });
    await describeByRtsp(`rtsp://127.0.0.1:${rtspPort}/demo/${name}`, token);
    await hasLine('auth', 'log-in refused', name, 'refused');
    await hasLine('hls-packager', 'request refused', name, '"status":401');
    await hasLine('relay-push', 'request refused', 'find_all', '"status":401');
    await hasLine('media', 'RTSP request refused', name, '"status":401');
    for (const service of ['auth', 'hls-packager', 'relay-push', 'media']) {
      const log = await readFile(join(dataDir, 'logs', `${service}.log`), 'utf8');
      for (const secret of [password, token]) expect(log).not.toContain(secret);
    }
  });
});

/** Sends DESCRIBE with an invalid token and waits for the answer. */
function describeByRtsp(url: string, token: string): Promise<void> {
  const basic = Buffer.from(`token:${token}`).toString('base64');
  const socket = connect(rtspPort, '127.0.0.1');
  socket.write(`DESCRIBE ${url} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic ${basic}\r\n\r\n`);
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('data', () => {
      socket.destroy();
      resolve();
    });
  });
}

describe('an application with the policy "token"', () => {
  let appKey: string;

  beforeEach(async () => {
    appKey = newAppKey();
    await operator('POST', '/auth/applications', { appKey, policy: 'token' });
  });

  const mint = (verb: string, object: string) =>
    operator('POST', '/auth/tokens', { subject: 'tester', grants: [{ verb, object }], ttlS: 600 });

  it('refuses clients without a token that publish, play or ask for a stream', async () => {
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { appKey });
    await page.publish('out', { name: newName() });
    expect((await page.waitForEvent('out', 'FAILED')).info).toBe('Restricted access');
    await page.play('in', { name: newName() });
    expect((await page.waitForEvent('in', 'FAILED')).info).toBe('Restricted access');
    expect(await page.available(newName())).toEqual({ available: false, info: 'Restricted access' });
  });

  it("lets a client with a token in the connection's custom do what the token grants, and nothing else", async () => {
    const name = newName();
    const { token } = await mint('publish', name);
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { appKey, custom: { token } });
    await page.publish('out', { name });
    await page.waitForEvent('out', 'PUBLISHING');
    await page.publish('other', { name: newName() });
    expect((await page.waitForEvent('other', 'FAILED')).info).toBe('Restricted access');
    await page.play('in', { name });
    expect((await page.waitForEvent('in', 'FAILED')).info).toBe('Restricted access');
  });

  it("accepts a token in the stream's own custom", async () => {
    const name = newName();
    const { token } = await mint('publish', name);
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { appKey });
    await page.publish('out', { name, options: { custom: { token } } });
    await page.waitForEvent('out', 'PUBLISHING');
  });

  it('closes the session of a token that is revoked, and no longer accepts the token', async () => {
    const name = newName();
    const { token } = await mint('publish', name);
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { appKey, custom: { token } });
    await page.publish('out', { name });
    await page.waitForEvent('out', 'PUBLISHING');
    const revoked = await fetch(`${httpUrl}/auth/revoke`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: '{}',
    });
    expect(revoked.ok).toBe(true);
    await page.waitForEvent('session', 'DISCONNECTED', 2_000);
    const socket = await WcsSocket.open(wsUrl);
    socket.send('connection', { appKey, custom: { token } });
    expect(await socket.waitForClose()).toBe(4401);
  });
});

describe('an application with the policy "hook"', () => {
  let backend: Server;
  let asked: { method: string; body: Record<string, unknown>; signed: boolean }[];
  let answers: Record<string, { status: number; body?: unknown }>;
  let appKey: string;

  beforeEach(async () => {
    asked = [];
    answers = {};
    let secret = '';
    backend = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on('end', () => {
        const method = (request.url ?? '').split('/').at(-1) ?? '';
        const signature = createHmac('sha256', secret).update(text).digest('hex');
        asked.push({
          method,
          body: JSON.parse(text) as Record<string, unknown>,
          signed: request.headers['x-weir-signature'] === `sha256=${signature}`,
        });
        const { status, body } = answers[method] ?? { status: 200 };
        response.statusCode = status;
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify(body ?? {}));
      });
    });
    await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
    appKey = newAppKey();
    const { port } = backend.address() as AddressInfo;
    const made = await operator('POST', '/auth/applications', {
      appKey,
      policy: 'hook',
      hookUrl: `http://127.0.0.1:${port}/apps/mine`,
    });
    secret = made['hookSecret'] ?? '';
  });
  afterEach(() => {
    backend.closeAllConnections();
    backend.close();
  });

  it('asks the backend about the connection and the stream, with a signature', async () => {
    const name = newName();
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { appKey, custom: { door: 'front' } });
    await page.publish('out', { name });
    await page.waitForEvent('out', 'PUBLISHING');
    await waitFor(() => asked.some(({ method }) => method === 'publishStream'));
    const [connect] = asked;
    expect(connect).toMatchObject({ method: 'connect', signed: true, body: { appKey, custom: { door: 'front' } } });
    expect(asked.find(({ method }) => method === 'publishStream')?.body).toMatchObject({ name, appKey });
  });

  it('refuses the connection when the backend says 403', async () => {
    answers['connect'] = { status: 403 };
    const page = await SdkPage.open(context, siteUrl);
    await page.startSession(wsUrl, { appKey });
    await page.waitForEvent('session', 'DISCONNECTED');
    expect((await page.events()).some(({ what }) => what === 'ESTABLISHED')).toBe(false);
  });

  it('refuses a stream when the backend says 403, if the rules make that final', async () => {
    answers['connect'] = { status: 200, body: { restClientConfig: { publishStream: { restOnError: 'FAIL' } } } };
    answers['publishStream'] = { status: 403 };
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { appKey });
    await page.publish('out', { name: newName() });
    await page.waitForEvent('out', 'FAILED');
  });
});
