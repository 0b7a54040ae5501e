import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { sharedPlatform } from '../shared-platform.js';

const program = resolve(import.meta.dirname, '../../../deploy/single-machine/failure.mjs');

/** In its short form, as `npm run failure` does, on the platform of the tests. @throws with what was broken */
const attack = async (series: string): Promise<string> => {
  const args = ['--short', '--platform', JSON.stringify(sharedPlatform()), series];
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
  return stdout;
};

describe('an anonymous client costs nobody else anything', { timeout: 180_000 }, () => {
  it('by 330 bodies that it does not finish, and breaks off', async () => {
    expect(await attack('bodies')).toContain('330 unfinished POST bodies of one address');
  });

  it('by 420 blocking reloads, and answers that it does not read', async () => {
    expect(await attack('reloads')).toContain('420 clients of one address');
  });

  it('by WebSockets with frames that it does not finish', async () => {
    expect(await attack('frames')).toContain('WebSockets of one address with unfinished frames');
  });

  it('by RTSP connections that do not read, say nothing or do not finish', async () => {
    expect(await attack('rtsp')).toContain('300 RTSP connections of one address');
  });
});
