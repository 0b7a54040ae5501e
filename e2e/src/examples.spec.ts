import { randomUUID } from 'node:crypto';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { openPage, received, startBrowser } from './browser.js';

const { httpUrl, siteUrl } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');
const examples = `${siteUrl}/websdk/examples/demo/streaming`;

let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  browser = await startBrowser();
  context = await browser.newContext();
});
afterAll(() => browser.close());

const expectPlaying = (page: Page) =>
  waitFor(async () => (await received(page)).framesDecoded > 20, { timeoutMs: 30_000, what: 'decoded frames' });

describe("the SDK's own example pages", () => {
  it('Two Way Streaming publishes and plays, and Player plays the same stream', async () => {
    const name = `example-${randomUUID().slice(0, 8)}`;
    const page = await openPage(context, `${examples}/two_way_streaming/two_way_streaming.html`);
    await page.fill('#urlServer', wsUrl);
    await page.click('#connectBtn');
    await expectText(page, '#connectStatus', 'ESTABLISHED');
    await page.fill('#publishStream', name);
    await page.click('#publishBtn');
    await expectText(page, '#publishStatus', 'PUBLISHING');
    await page.fill('#playStream', name);
    await page.click('#availableBtn');
    await expectText(page, '#availableStatus', 'AVAILABLE');
    await page.click('#playBtn');
    await expectText(page, '#playStatus', 'PLAYING');
    await expectPlaying(page);
    await page.click('#sendDataBtn');
    await waitFor(async () => ((await page.textContent('#receivedData')) ?? '').includes('23'));

    const player = await openPage(context, `${examples}/player/player.html`);
    await player.fill('#url', wsUrl);
    await player.fill('#streamName', name);
    await player.click('#playBtn');
    await expectText(player, '#status', 'PLAYING');
    await expectPlaying(player);
    await player.click('#playBtn');
    await expectText(player, '#status', 'STOPPED');

    await page.click('#publishBtn');
    await expectText(page, '#publishStatus', 'UNPUBLISHED');
  });

  it("weir's own first page publishes and plays", async () => {
    const page = await openPage(context, httpUrl);
    await expect(page.title()).resolves.toMatch(/weir/i);
  });
});

const expectText = (page: Page, selector: string, text: string) =>
  waitFor(async () => ((await page.textContent(selector)) ?? '').toUpperCase().includes(text), {
    timeoutMs: 30_000,
    what: `${text} in ${selector}`,
  });
