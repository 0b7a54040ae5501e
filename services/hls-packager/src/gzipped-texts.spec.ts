import { gunzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { GzippedTexts, takesGzip } from './gzipped-texts.js';

it.each([
  ['gzip', true],
  ['gzip, deflate, br', true],
  ['br;q=1.0, GZIP;q=0.5', true],
  ['*', true],
  ['x-gzip', true],
  ['identity', false],
  ['gzip;q=0', false],
  ['*, gzip;q=0', false],
  ['br', false],
  ['', false],
  [undefined, false],
])('a client that accepts %s is told apart', (header, takes) => {
  expect(takesGzip(header)).toBe(takes);
});

it('compresses a text once, and forgets the one that was asked for the longest ago', async () => {
  const texts = new GzippedTexts(2);
  const first = texts.of('one');
  expect(gunzipSync(await first).toString()).toBe('one');
  await texts.of('two');
  expect(texts.of('one')).toBe(first);
  await texts.of('three');
  expect(texts.of('one')).toBe(first);
  await Promise.all([texts.of('four'), texts.of('five')]);
  expect(texts.of('one')).not.toBe(first);
});
