import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Only root can mount a `SmallDisk`. */
export const canMountDisks = process.getuid?.() === 0 && process.platform === 'linux';

const BLOCK = Buffer.alloc(64 * 1024);

/** A folder that is a disk of its own, to be full in a test. */
export class SmallDisk {
  private constructor(readonly folder: string) {}

  /** @param size as mount takes it: `64k`, `32m` */
  static mount(size: string): SmallDisk {
    const folder = mkdtempSync(join(tmpdir(), 'weir-disk-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'weir-disk', folder]);
    return new SmallDisk(folder);
  }

  /** Takes all the space that is left. */
  fill(): void {
    const descriptor = openSync(this.#filler, 'w');
    try {
      for (;;) writeSync(descriptor, BLOCK);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
    } finally {
      closeSync(descriptor);
    }
  }

  /** Gives back what `fill` took. */
  makeRoom(): void {
    rmSync(this.#filler, { force: true });
  }

  /** Also while processes that are about to end still have files open. */
  unmount(): void {
    execFileSync('umount', ['--lazy', this.folder]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #filler(): string {
    return join(this.folder, 'filler');
  }
}
