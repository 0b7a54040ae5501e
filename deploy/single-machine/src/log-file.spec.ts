import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canMountDisks, SmallDisk } from '@weir/testing';
import { afterEach, expect, it } from 'vitest';
import { identify } from '../setup/process-identity.mjs';
import { LogFile } from './log-file.js';
import { ProcessRecord } from './process-record.js';

let disk: SmallDisk | undefined;
afterEach(() => {
  disk?.unmount();
  disk = undefined;
});

it('never takes more than twice its limit, keeps the newest lines, and appends when it is opened again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-log-'));
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
  rmSync(folder, { recursive: true });
});

it.runIf(canMountDisks)(
  'survives a full disk and uses the space that is freed (only root can mount a small disk)',
  () => {
    disk = SmallDisk.mount('128k');
    const { folder } = disk;
    const log = new LogFile(join(folder, 'media.log'), 16_000);
    log.writeLine('before');
    disk.fill();
    // These lines also reach the limit several times.
    for (let line = 0; line < 1_000; line++) log.writeLine(`while full ${line} ${'x'.repeat(60)}`);
    const unborn = new LogFile(join(folder, 'new', 'auth.log'));
    unborn.writeLine('nowhere');
    disk.makeRoom();
    mkdirSync(join(folder, 'new'));
    log.writeLine('after');
    unborn.writeLine('somewhere');
    for (const each of [log, unborn]) each.close();
    expect(readFileSync(join(folder, 'media.log'), 'utf8')).toMatch(/\(\d+ lines could not be written\)\nafter\n$/);
    expect(readFileSync(join(folder, 'new', 'auth.log'), 'utf8')).toBe('(1 lines could not be written)\nsomewhere\n');
  },
);

it.runIf(canMountDisks)(
  'a record of processes is written as soon as there is room (only root can mount a small disk)',
  async () => {
    disk = SmallDisk.mount('64k');
    const path = join(disk.folder, 'processes.json');
    const said: string[] = [];
    const record = new ProcessRecord(path, (line) => said.push(line));
    disk.fill();
    record.note('auth', identify(process.pid));
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('ENOSPC');
    disk.makeRoom();
    await expect
      .poll(() => (existsSync(path) ? readFileSync(path, 'utf8') : ''), { timeout: 10_000 })
      .toContain(String(process.pid));
  },
);
