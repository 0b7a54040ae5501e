import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { LogFile } from './log-file.js';

const folder = mkdtempSync(join(tmpdir(), 'weir-log-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('never takes more than twice its bound, keeps the newest lines, and goes on where it was when opened again', () => {
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
