import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { sharedPlatform } from '../shared-platform.js';

const program = resolve(import.meta.dirname, '../../../deploy/single-machine/failure.mjs');

/** Runs a series in its short form on the platform of the tests, as `npm run failure` does. @throws if it broke weir */
const attack = async (series: string): Promise<string> => {
  const args = ['--short', '--platform', JSON.stringify(sharedPlatform()), series];
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
  return stdout;
};

describe('an anonymous client does not harm other clients', { timeout: 180_000 }, () => {
  it('with 330 unfinished bodies, which it then aborts', async () => {
    expect(await attack('bodies')).toContain('330 unfinished POST bodies from one address');
  });

  it('with 420 blocking reloads, and with answers that it does not read', async () => {
    expect(await attack('reloads')).toContain('420 clients from one address');
  });

  it('with unfinished frames on WebSockets', async () => {
    expect(await attack('frames')).toContain('WebSockets from one address with unfinished frames');
  });

  it('with RTSP connections that do not read, say nothing or never finish', async () => {
    expect(await attack('rtsp')).toContain('300 RTSP connections from one address');
  });
});
