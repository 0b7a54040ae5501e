import { describe, expect, it } from 'vitest';
import { RefusalLog, sentText } from './refusal-log.js';

describe('what a client sent', () => {
  it('is shown without its secrets, however deeply they are nested', () => {
    const shown = sentText(
      JSON.stringify({
        message: 'publishStream',
        data: [{ name: 'cam', authToken: 't0k', custom: { a: 1 }, sdp: 'v=0\r\na=ice-pwd:s3cret\r\nm=video 9' }],
        login: { username: 'u', password: 'p4ss', key: 'k3y' },
      }),
    );
    for (const secret of ['t0k', 's3cret', 'p4ss', 'k3y', '"a":1']) expect(shown).not.toContain(secret);
    for (const kept of ['publishStream', 'cam', 'm=video 9', '"username":"u"']) expect(shown).toContain(kept);
  });

  it('is shortened', () => {
    expect(sentText('x'.repeat(1_000_000)).length).toBeLessThan(2_100);
    expect(sentText({ many: Array.from({ length: 10_000 }, (_none, index) => index) }).length).toBeLessThan(2_100);
  });

  it.each(['['.repeat(100_000) + ']'.repeat(100_000), '{"a":'.repeat(50_000) + '1' + '}'.repeat(50_000)])(
    'may be nested too deeply for any serialiser: %.10s',
    (sent) => expect(sentText(sent)).toContain('[deeper]'),
  );

  it('is not shown if it is a file', () => {
    expect(sentText({ file: Buffer.alloc(1_000) })).toBe('{"file":"[1000 bytes]"}');
  });

  it('need not be JSON, and may be missing', () => {
    expect(sentText('{"half')).toBe('"{\\"half"');
    expect(sentText(undefined)).toBe('');
  });
});

it('a flood of refusals does not flood the log, and the lines left out are counted', async () => {
  const lines: { leftOut?: number; reason?: string }[] = [];
  const log = new RefusalLog({ info: (fields) => void lines.push(fields) });
  for (let index = 0; index < 1_000; index++) log.say('refused', { reason: String(index) });
  expect(lines.length).toBeLessThanOrEqual(40);
  const told = lines.length;
  const startedMs = performance.now();
  while (Math.floor(performance.now() / 1_000) === Math.floor(startedMs / 1_000));
  log.say('refused', { reason: 'last' });
  const leftOut = lines.reduce((sum, line) => sum + (line.leftOut ?? 0), 0);
  expect(lines.at(-1)).toMatchObject({ reason: 'last' });
  expect(told + leftOut).toBe(1_000);
});
