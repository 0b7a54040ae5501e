import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { startBrowser } from './browser.js';
import { BLUE, CallApp, ended, expectToHear, RED } from './call-app.js';
import { closeCall, type DevicePage } from './call-page.js';
import { isFirefoxInstalled, startFirefox, type Firefox } from './firefox.js';

const { httpUrl, siteUrl, calls } = inject('platform');

describe.skipIf(!isFirefoxInstalled())('a device in Firefox', () => {
  let chromium: Browser;
  let firefox: Firefox;

  beforeAll(async () => {
    [chromium, firefox] = await Promise.all([startBrowser(), startFirefox()]);
  });
  afterAll(() => Promise.all([chromium.close(), firefox.close()]));

  it.each(['calls', 'answers'])('%s one in Chromium: both see and hear the other', async (role) => {
    const app = new CallApp({ httpUrl, siteUrl, calls });
    const [a, b] = [app.device(0), app.device(1)];
    const [ofFirefox, ofChromium] = [await firefox.browser.createBrowserContext(), await chromium.newContext()];
    const [caller, callee] = await Promise.all([
      app.openPage<DevicePage>(role === 'calls' ? ofFirefox : ofChromium, a, RED),
      app.openPage<DevicePage>(role === 'calls' ? ofChromium : ofFirefox, b, BLUE),
    ]);
    expect(await app.call(a, { cid: b.cid, page: callee })).toBeUndefined();
    await Promise.all([expectToHear(caller, BLUE), expectToHear(callee, RED)]);
    await closeCall(callee);
    await ended(caller, 'closed');
    await Promise.all([ofFirefox.close(), ofChromium.close()]);
  });
});
