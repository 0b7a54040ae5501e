import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { waitFor } from '@weir/testing';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { openPage, received, startBrowser } from './browser.js';

const { httpUrl, dataDir } = inject('platform');
const program = resolve(import.meta.dirname, '../../libs/device/demo/app-server.mjs');

let server: ChildProcess;
let pageUrl: string;
let browser: Browser;

beforeAll(async () => {
  server = spawn(process.execPath, [program], {
    env: { ...process.env, WEIR_URL: httpUrl, CREDENTIALS: join(dataDir, 'credentials.json'), PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (server.stdout === null) throw new Error('the server has no output');
  const [line] = (await once(createInterface(server.stdout), 'line')) as [string];
  pageUrl = /http:\S+/.exec(line)?.[0] ?? '';
  browser = await startBrowser();
});
afterAll(async () => {
  await browser.close();
  server.kill();
  await once(server, 'exit');
});

async function devicePair(): Promise<[string, string]> {
  const devices = (await (await fetch(new URL('devices', pageUrl))).json()) as number[];
  const [first, second] = devices.map(String);
  if (first === undefined || second === undefined) throw new Error('the platform has no two devices');
  return [first, second];
}

/** Opens the page and brings its device online. */
async function openTab(cid: string): Promise<Page> {
  const page = await openPage(await browser.newContext(), pageUrl);
  await page.selectOption('#own', cid);
  await page.click('#start');
  await showsStatus(page, 'Online');
  return page;
}

const showsStatus = (page: Page, text: string) =>
  waitFor(async () => ((await page.textContent('#status')) ?? '').includes(text), {
    timeoutMs: 30_000,
    what: `the status ${text}`,
  });

const seesAndHears = (page: Page) =>
  waitFor(
    async () => {
      const { framesDecoded, audioEnergy } = await received(page);
      return framesDecoded > 20 && audioEnergy > 0;
    },
    { timeoutMs: 30_000, what: 'the picture and the sound of the other tab' },
  );

describe('on the demo page of calls', () => {
  it('two tabs call each other through the example application server', async () => {
    const [first, second] = await devicePair();
    const caller = await openTab(first);
    const callee = await openTab(second);

    await caller.selectOption('#other', second);
    await caller.click('#call');
    await callee.click('#answer', { timeout: 30_000 });
    await Promise.all([seesAndHears(caller), seesAndHears(callee)]);
    await showsStatus(caller, 'established');

    await caller.click('#camera');
    await waitFor(async () => (await callee.textContent('#peer-muted')) === '(camera off)', { what: 'the mute' });

    await callee.click('#hang-up');
    await showsStatus(caller, 'The call has ended: closed');
    expect(await caller.isVisible('#talking')).toBe(false);
  });

  it('a tab declines, and the other one says so', async () => {
    const [first, second] = await devicePair();
    const caller = await openTab(first);
    const callee = await openTab(second);
    await caller.selectOption('#other', second);
    await caller.click('#call');
    await callee.click('#decline', { timeout: 30_000 });
    await showsStatus(caller, 'Not any more: declined');
    await showsStatus(callee, 'Declined');
    expect(await Promise.all([caller.isVisible('#talking'), callee.isVisible('#ring')])).toEqual([false, false]);
  });
});
