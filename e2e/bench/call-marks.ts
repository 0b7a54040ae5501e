import type { Call, Device } from '@weir/device';
import { waitFor } from '@weir/testing';
import type { Page } from 'playwright-core';
import type { MarkedWindow } from './join-marks.js';

const SIDE_MARKS = ['asked', 'answered', 'connected', 'decoded'] as const;

/** The moments of one side of a call, in milliseconds since the opener called `open()`. */
export interface SideMarks {
  /** The device has sent its offer. */
  readonly asked: number;
  /** It has received the server's answer. */
  readonly answered: number;
  /** ICE and DTLS are up. */
  readonly connected: number;
  /** The first picture of the other side has left the decoder. */
  readonly decoded: number;
}

export interface CallMarks {
  /** The side that opens the other one's URL. */
  readonly opener: SideMarks;
  readonly opened: SideMarks;
}

/** Two pages with a device each, which `installJoinMarks` watches. */
export interface CallPages {
  readonly opener: Page;
  readonly opened: Page;
  /** The URL of `opened`. */
  readonly url: string;
}

type DeviceWindow = MarkedWindow & { readonly device: Device; readonly call?: Call };

/** Measures one call from `open()` to the first decoded picture on both sides, and ends it. */
export async function measureCall({ opener, opened, url }: CallPages): Promise<CallMarks> {
  const pages = [opener, opened];
  await Promise.all(
    pages.map((page) =>
      page.evaluate(() => {
        (window as unknown as DeviceWindow).joinMarks = {};
      }),
    ),
  );
  const [beganMs, ofOpener, ofOpened] = await Promise.all([open(opener, url), marksOf(opener), marksOf(opened)]);
  await opener.evaluate(() => (window as unknown as DeviceWindow).call?.close());
  for (const page of pages)
    await waitFor(() => page.evaluate(() => (window as unknown as DeviceWindow).device.calls.length === 0));
  const since = (marks: SideMarks): SideMarks => ({
    asked: marks.asked - beganMs,
    answered: marks.answered - beganMs,
    connected: marks.connected - beganMs,
    decoded: marks.decoded - beganMs,
  });
  return { opener: since(ofOpener), opened: since(ofOpened) };
}

/** @returns when it called `open()`, in milliseconds of a clock that all pages share */
const open = (page: Page, url: string): Promise<number> =>
  page.evaluate(async (target) => {
    const beganMs = performance.timeOrigin + performance.now();
    await (window as unknown as DeviceWindow).device.open(target);
    return beganMs;
  }, url);

/** Waits for the moments of the call that is being set up; by the same clock. */
const marksOf = (page: Page): Promise<SideMarks> =>
  page.evaluate(async (names) => {
    const { joinMarks } = window as unknown as DeviceWindow;
    const beganMs = performance.now();
    while (names.some((name) => joinMarks[name] === undefined)) {
      if (performance.now() - beganMs > 20_000) throw new Error('no call within 20 s');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const at = (name: (typeof names)[number]) => performance.timeOrigin + (joinMarks[name] ?? NaN);
    return { asked: at('asked'), answered: at('answered'), connected: at('connected'), decoded: at('decoded') };
  }, SIDE_MARKS);
