import { chromium } from 'playwright-core';
import { it } from 'vitest';
import { H264, OPUS } from './spec/fake-media.js';
import { servePlayerPage } from './spec/page-server.js';
import { startService, startSurroundings } from './spec/service.js';

it('debug', async () => {
  const around = await startSurroundings();
  const service = await startService(around);
  const pages = await servePlayerPage(() => service.url);
  const token = await around.auth.token();
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
  });
  await around.media.publish('live', { video: H264, audio: OPUS });
  const page = await browser.newPage();
  const t0 = Date.now();
  page.on('console', (m) => console.log(Date.now() - t0, m.text().slice(0, 300)));
  page.on('response', async (r) => {
    const n = r.url().split('/').pop()?.slice(0, 60);
    console.log(Date.now() - t0, r.status(), n);
    if (process.env.BODY && r.url().includes('media.m3u8')) console.log(await r.text());
  });
  page.on('requestfailed', (r) => console.log(Date.now() - t0, 'FAILED', r.url().slice(-80), r.failure()?.errorText));
  await page.goto(pages.url);
  await page.evaluate(
    ({ bearer }) => {
      const player = new window.Hls({
        lowLatencyMode: true,
        debug: true,
        xhrSetup: (xhr: XMLHttpRequest, a: string) => {
          if (a.includes('.m3u8')) xhr.setRequestHeader('authorization', 'Bearer ' + bearer);
        },
      });
      player.loadSource('/videos/live/index.m3u8');
      const v = document.querySelector('video')!;
      player.attachMedia(v);
      void v.play();
    },
    { bearer: token },
  );
  await new Promise((r) => setTimeout(r, 9000));
  await browser.close();
  await service.stop();
  await around.stop();
  await pages.close();
}, 60000);
