import { randomUUID } from 'node:crypto';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, inject, it } from 'vitest';
import type { Browser } from 'playwright-core';
import { startBrowser } from './browser.js';
import type { Span } from './otlp-sink.js';
import { SdkPage } from './sdk-page.js';

const { httpUrl, siteUrl, otlpUrl } = inject('platform');

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser.close());

const seen = async <Kind extends 'spans' | 'metrics'>(kind: Kind) =>
  (await (await fetch(`${otlpUrl}/seen/${kind}`)).json()) as Kind extends 'spans' ? Span[] : string[];

describe('telemetry', () => {
  it("has one trace from a client's frame through the bus to the media core", async () => {
    const page = await SdkPage.open(await browser.newContext(), siteUrl);
    await page.connect(httpUrl.replace('http:', 'ws:'));
    const name = `traced-${randomUUID()}`;
    await page.publish('out', { name });
    await page.waitForEvent('out', 'PUBLISHING');
    await waitFor(
      async () => {
        const spans = await seen('spans');
        const frames = spans.filter((span) => span.name === 'wcs publishStream');
        return frames.some((frame) => {
          const trace = spans.filter(({ traceId }) => traceId === frame.traceId);
          return trace.some(({ service, name: what }) => service === 'weir-media' && /publish/i.test(what));
        });
      },
      { timeoutMs: 20_000, intervalMs: 250, what: 'a trace that reaches media' },
    );
  });

  it('has the first metrics', async () => {
    const wanted = [
      ...['weir.media.joins', 'weir.media.streams', 'weir.media.sessions', 'weir.media.worker.cpu'],
      ...['weir.wcs.join.duration', 'weir.wcs.sessions', 'weir.bus.call.duration', 'nodejs.eventloop.delay.p99'],
    ];
    await waitFor(
      async () => {
        const names = await seen('metrics');
        const missing = wanted.filter((name) => !names.includes(name));
        if (missing.length > 0) throw new Error(`missing ${missing.join(', ')}; there are ${names.join(', ')}`);
        return true;
      },
      { timeoutMs: 20_000, intervalMs: 500, what: 'the metrics' },
    );
  });
});
