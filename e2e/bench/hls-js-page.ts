import type { BrowserContext, Page } from 'playwright-core';

/** Where the page's video is. */
export const HLS_JS_VIDEO = '#hls';

/** hls.js as it is when nothing is told to it, in a page of its own. */
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
  return { page, video: HLS_JS_VIDEO };
}

/**
 * Makes a page's processor so many times slower, by Chromium's own throttling; 1 is its own speed.
 *
 * @returns how to change that
 */
export async function slowDown(context: BrowserContext, page: Page, rate: number) {
  const session = await context.newCDPSession(page);
  const change = async (to: number): Promise<void> => {
    await session.send('Emulation.setCPUThrottlingRate', { rate: to });
  };
  await change(rate);
  return change;
}
