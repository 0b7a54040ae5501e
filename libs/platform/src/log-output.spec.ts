import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { logOutput } from './log-output.js';

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';

it.runIf(existsSync('/dev/full'))('goes on without lines that a full disk does not take', () => {
  const full = openSync('/dev/full', 'w');
  const output = logOutput(full);
  for (let line = 0; line < 3; line++) output.write(`${JSON.stringify({ line })}\n`);
  closeSync(full);
});

it.runIf(isRoot)('counts what was lost as soon as there is room again (only root can mount a small disk)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'weir-full', folder]);
  try {
    const descriptor = openSync(join(folder, 'log'), 'a');
    const output = logOutput(descriptor);
    output.write('{"line":1}\n');
    writeFileSync(join(folder, 'filler'), '');
    try {
      writeFileSync(join(folder, 'filler'), Buffer.alloc(128 * 1024));
    } catch {
      // full now
    }
    // The page that holds the first line has room for some more.
    for (let line = 0; line < 2_000; line++) output.write(`${JSON.stringify({ line, padding: 'x'.repeat(50) })}\n`);
    rmSync(join(folder, 'filler'));
    output.write('{"line":"last"}\n');
    closeSync(descriptor);
    const lines = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');
    const parsed = lines.flatMap((line) => {
      try {
        return [JSON.parse(line) as Record<string, unknown>];
      } catch {
        return [];
      }
    });
    expect(parsed.at(-2)).toMatchObject({ level: 'warn', lostLines: expect.any(Number) as number });
    expect(parsed.at(-1)).toEqual({ line: 'last' });
    // At most one line is torn.
    expect(lines.length - parsed.length).toBeLessThanOrEqual(1);
  } finally {
    execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true, force: true });
  }
});
