import { existsSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { FIREFOX, startBrowser, startFirefox } from './browser.js';
import { BLUE, CallApp, ended, expectToHear, RED } from './call-app.js';
import { closeCall } from './call-page.js';

const { httpUrl, siteUrl, calls } = inject('platform');

describe.skipIf(!existsSync(FIREFOX))('a device in Firefox', () => {
  let chromium: Browser;
  let firefox: Browser;

  beforeAll(async () => {
    [chromium, firefox] = await Promise.all([startBrowser(), startFirefox()]);
  });
  afterAll(() => Promise.all([chromium.close(), firefox.close()]));

  it.each(['calls', 'answers'])('%s one in Chromium: both see and hear the other', async (role) => {
    const app = new CallApp({ httpUrl, siteUrl, calls });
    const [a, b] = [app.device(0), app.device(1)];
    const [ofCaller, ofCallee] = role === 'calls' ? [firefox, chromium] : [chromium, firefox];
    const [caller, callee] = await Promise.all([
      app.openPage(await ofCaller.newContext(), a, RED),
      app.openPage(await ofCallee.newContext(), b, BLUE),
    ]);
    expect(await app.call(a, { cid: b.cid, page: callee })).toBeUndefined();
    await Promise.all([expectToHear(caller, BLUE), expectToHear(callee, RED)]);
    await closeCall(callee);
    await ended(caller, 'closed');
    await Promise.all([caller.close(), callee.close()]);
  });
});
