import { expect, test } from 'vitest';
import { createLogger } from './logger.js';
import { withheldSecrets } from './withheld-secrets.js';

const TOKEN = `eyJhbGciOiJFZERTQSJ9.${Buffer.from('{"sub":"user:1","tenant":"demo"}').toString('base64url')}.c2lnbmF0dXJl`;
const KEY = `weir_abcdefghijkl_${'x'.repeat(43)}`;

test.each([
  [
    'rtsp://127.0.0.1:8554/demo/r/front?expires=2&verb=publish&salt=ab&signature=SECRET: Connection refused',
    'rtsp://127.0.0.1:8554/demo/r/front?expires=2&verb=publish&salt=ab&signature=[withheld]: Connection refused',
  ],
  ['GET /videos/cam/index.m3u8?tonken=SECRET&x=1 404', 'GET /videos/cam/index.m3u8?tonken=[withheld]&x=1 404'],
  ['segment3.m4s?ticket=ZGVtbw.SECRET', 'segment3.m4s?ticket=[withheld]'],
  ['{"url":"rtsp://admin:SECRET@10.0.0.1/live"}', '{"url":"rtsp://admin:[withheld]@10.0.0.1/live"}'],
  ['rtsp://admin:SEC#RET@10.0.0.1/live', 'rtsp://admin:[withheld]@10.0.0.1/live'],
  ['cookie: a=b; token=SECRET', 'cookie: a=b; token=[withheld]'],
  ['{"authorization":"Bearer SECRET"}', '{"authorization":"Bearer [withheld]"}'],
  [`refused ${TOKEN} of somebody`, 'refused [withheld] of somebody'],
  [`refused ${KEY}`, 'refused weir_abcdefghijkl_[withheld]'],
  ['a token is needed: ?token=', 'a token is needed: ?token='],
  ['postgresql://weir@127.0.0.1:5432/weir?schema=auth', 'postgresql://weir@127.0.0.1:5432/weir?schema=auth'],
])('withholds only the secrets of %s', (text, expected) => {
  expect(withheldSecrets(text)).toBe(expected);
});

test('a log contains no secret, however deeply and wherever it was nested', () => {
  const lines: string[] = [];
  const log = createLogger('media', 'media-1', 'info', { write: (line) => void lines.push(line) });
  const url = 'rtsp://host/demo/cam?verb=play&signature=SECRET';
  log.warn({ a: { b: { c: { d: { url } } } }, complaint: `[tcp @ 0x1] Connection to ${url} failed` }, 'ffmpeg ended');
  log.error({ err: new Error(`no answer of ${url} with ${TOKEN}`) }, 'failed');
  expect(lines).toHaveLength(2);
  for (const line of lines) {
    expect(() => JSON.parse(line)).not.toThrow();
    expect(line).not.toContain('SECRET');
    expect(line).not.toContain(TOKEN);
  }
});
