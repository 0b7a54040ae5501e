import { expect, it } from 'vitest';
import { consoleLine } from './console-line.js';

const entry = (fields: object) =>
  JSON.stringify({ time: '2026-01-01T00:00:00Z', service: 'media', instanceId: 'media-1', ...fields });

it('shows a warning as one line, without the fields that say nothing on the console', () => {
  const line = entry({ level: 'warn', msg: 'worker died', pid: 7, stream: { tenant: 'a', name: 'b' } });
  expect(consoleLine('media', line)).toBe('media warn: worker died  pid=7  stream={"tenant":"a","name":"b"}');
});

it('shows only the message of an error', () => {
  const line = entry({ level: 'error', msg: 'failed', err: { message: 'no\nroute', stack: 'Error: no route\n at x' } });
  expect(consoleLine('media', line)).toBe('media error: failed  err=no route');
});

it('leaves anything less severe than a warning to the log file', () => {
  expect(consoleLine('media', entry({ level: 'info', msg: 'service started' }))).toBeUndefined();
});

it('can leave warnings to the log file, too', () => {
  const line = entry({ level: 'warn', msg: 'service does not answer' });
  expect(consoleLine('gateway', line, 'error')).toBeUndefined();
  expect(consoleLine('gateway', entry({ level: 'fatal', msg: 'lost' }), 'error')).toBe('gateway fatal: lost');
});

it("shows a line that isn't a log entry unchanged", () => {
  expect(consoleLine('auth', "auth: These settings can't be used:")).toBe("auth: auth: These settings can't be used:");
  expect(consoleLine('auth', '{ broken')).toBe('auth: { broken');
  expect(consoleLine('auth', '  ')).toBeUndefined();
});
