import { writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

const BUSY_PAUSE_MS = 10;

/**
 * Lines for a file descriptor that may fail: a disk that is full, a reader that has gone. What it doesn't take is left
 * out, and counted in the log as soon as it takes something again; the process goes on meanwhile.
 */
export function logOutput(descriptor: number): DestinationStream {
  let lostLines = 0;
  let isTorn = false;

  const write = (text: string): boolean => {
    const bytes = Buffer.from(text);
    let written = 0;
    while (written < bytes.length) {
      try {
        written += writeSync(descriptor, bytes, written);
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') {
          pause();
          continue;
        }
        isTorn ||= written > 0;
        return false;
      }
    }
    return true;
  };

  return {
    write(line) {
      if (lostLines > 0) {
        const entry = {
          level: 'warn',
          time: new Date().toISOString(),
          lostLines,
          msg: 'lines of the log could not be written',
        };
        if (write(`${isTorn ? '\n' : ''}${JSON.stringify(entry)}\n`)) {
          lostLines = 0;
          isTorn = false;
        }
      }
      if (!write(line)) lostLines += 1;
    },
  };
}

/** A pipe whose reader is slow: waits for it, as there is nobody else to keep the line. */
const pause = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_PAUSE_MS);
