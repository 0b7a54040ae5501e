import { expect, it } from 'vitest';
import { Push } from './push.js';

/** What is known of a program that complains about this URL, as ffmpeg does, and ends. */
async function lastWordsOf(url: string): Promise<string> {
  const push = new Push({
    command: ['sh', '-c', 'echo "$0: Connection refused" >&2; exit 1', url],
    log: () => undefined,
    gaveUp: () => undefined,
  });
  expect(await push.start()).toBe(false);
  return push.lastWords;
}

it.each([
  ['a signature', 'rtsp://127.0.0.1:8554/demo/r1/front?expires=2&verb=publish&signature=SECRET'],
  ['a password', 'rtsp://r1:SECRET@127.0.0.1:8554/demo/r1/front'],
  ['both', 'rtsps://r1:SECRET@127.0.0.1:8554/demo/r1/front?signature=SECRET'],
])('the last words of an ffmpeg that can’t push to a URL with %s name the URL without it', async (_what, url) => {
  expect(await lastWordsOf(url)).toMatch(/^rtsps?:\/\/127\.0\.0\.1:8554\/demo\/r1\/front:? Connection refused$/);
});
