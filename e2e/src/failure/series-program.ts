import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { sharedPlatform } from '../shared-platform.js';

const program = resolve(import.meta.dirname, '../../../deploy/single-machine/failure.mjs');

/**
 * Runs a series in its short form on the platform of the tests, as `npm run failure` does.
 * @returns what it prints
 * @throws if it broke weir
 */
export async function runSeries(name: string): Promise<string> {
  const args = ['--short', '--platform', JSON.stringify(sharedPlatform()), name];
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]).catch((error: unknown) => {
    const printed = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    throw new Error(`the series ${name} broke weir:\n${printed}`, { cause: error });
  });
  return stdout;
}
