import type { Page } from 'playwright-core';
import { ageMs, CLOCK_BITS, CLOCK_BLOCK_PIXELS, readClock } from './picture-clock.js';

/** What was on the screen at one moment. `clock` is the time that the picture shows; undefined if it can't be read. */
export interface ClockReading {
  atMs: number;
  clock: number | undefined;
}

interface WatchedWindow {
  clockRows: { atMs: number; bits: boolean[] }[];
}

/** The age of the picture on the screen at each moment at which the screen was read. */
export interface AgeSeries {
  samples: { atMs: number; ageMs: number }[];
  /** Pictures without a readable clock. */
  unreadable: number;
}

/**
 * Reads the clock in a page's video about nine times a second from now on, even if the video is frozen: a frozen
 * picture grows old. The moments are random, so that they don't synchronise with the pictures.
 */
export async function watchClock(page: Page, selector: string): Promise<void> {
  await page.evaluate(
    ([videoSelector, blockPixels, blocks]) => {
      const watched = window as unknown as WatchedWindow;
      watched.clockRows = [];
      const canvas = new OffscreenCanvas(blockPixels * blocks, 1);
      const drawing = canvas.getContext('2d', { willReadFrequently: true });
      const look = () => {
        setTimeout(look, 90 + Math.random() * 40);
        const video = document.querySelector<HTMLVideoElement>(videoSelector);
        if (video === null || video.videoWidth === 0 || drawing === null) return;
        const row = [0, blockPixels / 2, canvas.width, 1] as const;
        drawing.drawImage(video, ...row, 0, 0, canvas.width, 1);
        const atMs = Date.now();
        const { data } = drawing.getImageData(0, 0, canvas.width, 1);
        const bits = Array.from({ length: blocks }, (_bit, block) => {
          const middle = (block * blockPixels + blockPixels / 2) * 4;
          return (data[middle - 4] ?? 0) + (data[middle] ?? 0) > 255;
        });
        watched.clockRows.push({ atMs, bits });
      };
      look();
    },
    [selector, CLOCK_BLOCK_PIXELS, CLOCK_BITS] as const,
  );
}

/** Returns the readings since the last call. */
export async function takeReadings(page: Page): Promise<ClockReading[]> {
  const rows = await page.evaluate(() => (window as unknown as WatchedWindow).clockRows.splice(0));
  return rows.map(({ atMs, bits }) => ({ atMs, clock: readClock(bits) }));
}

export function agesOf(readings: readonly ClockReading[]): AgeSeries {
  const samples = readings.flatMap(({ atMs, clock }) =>
    clock === undefined ? [] : [{ atMs, ageMs: ageMs(clock, atMs) }],
  );
  return { samples, unreadable: readings.length - samples.length };
}

/** By how many milliseconds the age grows per minute, according to the regression line through the samples. */
export function driftMsPerMin(samples: AgeSeries['samples']): number {
  const count = samples.length;
  const firstMs = samples[0]?.atMs ?? 0;
  const meanX = samples.reduce((total, { atMs }) => total + (atMs - firstMs), 0) / count;
  const meanY = samples.reduce((total, sample) => total + sample.ageMs, 0) / count;
  let covariance = 0;
  let variance = 0;
  for (const { atMs, ageMs: age } of samples) {
    const x = atMs - firstMs - meanX;
    covariance += x * (age - meanY);
    variance += x * x;
  }
  return variance === 0 ? 0 : (covariance / variance) * 60_000;
}
