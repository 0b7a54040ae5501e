import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createLogger, nestLogger } from './logger.js';

function capture() {
  const lines: Record<string, unknown>[] = [];
  const to = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  return { log: createLogger('auth', 'auth-1', 'info', to), lines };
}

describe('the log', () => {
  it('names the service and the instance, and keeps the message apart from the fields', () => {
    const { log, lines } = capture();
    log.info({ streamName: 's' }, 'stream started');
    expect(lines[0]).toMatchObject({
      level: 'info',
      service: 'auth',
      instanceId: 'auth-1',
      streamName: 's',
      msg: 'stream started',
    });
  });

  it('hides secrets, also inside objects', () => {
    const { log, lines } = capture();
    log.info({ password: 'p4ss', request: { token: 't0k', headers: { authorization: 'Bearer x' } } }, 'log-in');
    const text = JSON.stringify(lines[0]);
    for (const secret of ['p4ss', 't0k', 'Bearer x']) expect(text).not.toContain(secret);
    expect(text).toContain('[redacted]');
  });

  it("doesn't log a request that its client broke off as an error", () => {
    const { log, lines } = capture();
    nestLogger(log).error(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }));
    expect(lines).toEqual([]);
    nestLogger(log).error(new Error('read ECONNRESET'));
    expect(lines).toMatchObject([{ level: 'error', msg: 'Error: read ECONNRESET' }]);
  });
});
