import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { canMountDisks, SmallDisk } from '@weir/testing';
import { expect, it } from 'vitest';
import { logOutput } from './log-output.js';

it.runIf(existsSync('/dev/full'))('goes on without lines that a full disk does not take', () => {
  const full = openSync('/dev/full', 'w');
  const output = logOutput(full);
  for (let line = 0; line < 3; line++) output.write(`${JSON.stringify({ line })}\n`);
  closeSync(full);
});

it.runIf(canMountDisks)(
  'counts what was lost as soon as there is room again (only root can mount a small disk)',
  () => {
    const disk = SmallDisk.mount('64k');
    try {
      const path = join(disk.folder, 'log');
      const descriptor = openSync(path, 'a');
      const output = logOutput(descriptor);
      output.write('{"line":1}\n');
      disk.fill();
      // The page that holds the first line has room for some more.
      for (let line = 0; line < 2_000; line++) output.write(`${JSON.stringify({ line, padding: 'x'.repeat(50) })}\n`);
      disk.makeRoom();
      output.write('{"line":"last"}\n');
      closeSync(descriptor);
      const lines = readFileSync(path, 'utf8').trim().split('\n');
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
      disk.unmount();
    }
  },
);
