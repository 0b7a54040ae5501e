import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { identify } from '../setup/process-identity.mjs';
import { LogFile } from './log-file.js';
import { ProcessRecord } from './process-record.js';

const folder = mkdtempSync(join(tmpdir(), 'weir-log-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('never takes more than twice its limit, keeps the newest lines, and appends when it is opened again', () => {
  const path = join(folder, 'media.log');
  for (const part of [0, 1]) {
    const log = new LogFile(path, 100);
    for (let line = 0; line < 25; line++) log.writeLine(`line ${part * 25 + line}`);
    log.close();
  }
  const [older, newer] = [readFileSync(`${path}.1`, 'utf8'), readFileSync(path, 'utf8')];
  expect(older.length).toBeLessThanOrEqual(100);
  expect(newer.length).toBeLessThanOrEqual(100);
  const lines = (older + newer).trim().split('\n');
  expect(lines.at(-1)).toBe('line 49');
  expect(lines).toEqual(Array.from({ length: lines.length }, (_, index) => `line ${50 - lines.length + index}`));
});

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';

it.runIf(isRoot)('survives a full disk and uses the space that is freed (only root can mount a small disk)', () => {
  mkdirSync(folder, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'weir-full', folder]);
  try {
    const log = new LogFile(join(folder, 'media.log'), 16_000);
    const filler = join(folder, 'filler');
    log.writeLine('before');
    fill(filler);
    // These lines also reach the limit several times.
    for (let line = 0; line < 1_000; line++) log.writeLine(`while full ${line} ${'x'.repeat(60)}`);
    const unborn = new LogFile(join(folder, 'new', 'auth.log'));
    unborn.writeLine('nowhere');
    rmSync(filler);
    mkdirSync(join(folder, 'new'));
    log.writeLine('after');
    unborn.writeLine('somewhere');
    for (const each of [log, unborn]) each.close();
    expect(readFileSync(join(folder, 'media.log'), 'utf8')).toMatch(/\(\d+ lines could not be written\)\nafter\n$/);
    expect(readFileSync(join(folder, 'new', 'auth.log'), 'utf8')).toBe('(1 lines could not be written)\nsomewhere\n');
  } finally {
    execFileSync('umount', [folder]);
  }
});

it.runIf(isRoot)(
  'a record of processes is written as soon as there is room (only root can mount a small disk)',
  async () => {
    mkdirSync(folder, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'weir-full', folder]);
    try {
      const said: string[] = [];
      const record = new ProcessRecord(join(folder, 'processes.json'), (line) => said.push(line));
      fill(join(folder, 'filler'));
      record.note('auth', identify(process.pid));
      expect(said).toHaveLength(1);
      expect(said[0]).toContain('ENOSPC');
      rmSync(join(folder, 'filler'));
      await expect
        .poll(
          () =>
            existsSync(join(folder, 'processes.json')) ? readFileSync(join(folder, 'processes.json'), 'utf8') : '',
          {
            timeout: 10_000,
          },
        )
        .toContain(String(process.pid));
    } finally {
      execFileSync('umount', [folder]);
    }
  },
);

/** Uses up all the remaining space. */
function fill(path: string): void {
  const descriptor = openSync(path, 'w');
  try {
    for (;;) writeSync(descriptor, Buffer.alloc(4_096));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(descriptor);
  }
}
