import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '@weir/testing';
import { describe, expect, it } from 'vitest';
import { spawnTied } from './tied-process.js';

const TIED_PROCESS = join(import.meta.dirname, '../out-tsc/spec/src/tied-process.js');

const isRunning = (pid: number) =>
  existsSync(`/proc/${pid}/stat`) && !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');

describe('a tied process', () => {
  it('passes the arguments to the program unchanged', async () => {
    const child = spawnTied('echo', ['$HOME; *', 'b'], { stdio: ['ignore', 'pipe', 'ignore'] });
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await once(child, 'close');
    expect(output).toBe('$HOME; * b\n');
  });

  it('ends when its parent is killed with -9', async () => {
    const script = `
      import { spawnTied } from ${JSON.stringify(TIED_PROCESS)};
      const child = spawnTied('sleep', ['600'], { stdio: 'ignore' });
      setTimeout(() => console.log(child.pid), 300);
      setInterval(() => undefined, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [chunk] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(chunk.toString());
    expect(isRunning(pid)).toBe(true);
    parent.kill('SIGKILL');
    await waitFor(() => !isRunning(pid));
  });
});
