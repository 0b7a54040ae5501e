import { waitFor } from '@weir/testing';
import { expect } from 'vitest';
import { middlePixel, received } from './browser.js';
import type { SdkPage } from './sdk-page.js';

/** Expects the fake camera's green clock face and the fake microphone's beep. */
export async function expectPictureAndSound({ page }: SdkPage): Promise<void> {
  await waitFor(
    async () => {
      const { framesDecoded, audioEnergy } = await received(page);
      return framesDecoded > 20 && audioEnergy > 0;
    },
    { timeoutMs: 30_000, what: 'picture and sound' },
  );
  const [red = 0, green = 0, blue = 0] = await middlePixel(page, '#remote video');
  expect(green).toBeGreaterThan(Math.max(red, blue));
}
