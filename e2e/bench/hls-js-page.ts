import type { BrowserContext, Page } from 'playwright-core';

/** Plays with hls.js' default settings, in a new page. */
export async function playByHlsJs(context: BrowserContext, siteUrl: string, playlistUrl: string) {
  const page = await context.newPage();
  await page.goto(siteUrl);
  await page.addScriptTag({ url: `${siteUrl}/hls.js` });
  await page.evaluate((url) => {
    const { Hls } = window as unknown as {
      Hls: new () => { loadSource(source: string): void; attachMedia(element: HTMLMediaElement): void };
    };
    const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, id: 'hls' });
    document.body.prepend(video);
    const player = new Hls();
    player.loadSource(url);
    player.attachMedia(video);
  }, playlistUrl);
  return { page, video: '#hls' };
}

/**
 * Makes Chromium run a page that many times slower; 1 is normal speed.
 *
 * @returns a function that changes the rate
 */
export async function slowDown(context: BrowserContext, page: Page, rate: number) {
  const session = await context.newCDPSession(page);
  const change = async (to: number): Promise<void> => {
    await session.send('Emulation.setCPUThrottlingRate', { rate: to });
  };
  await change(rate);
  return change;
}
