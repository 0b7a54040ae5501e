import { writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

const BUSY_PAUSE_MS = 10;

/**
 * Writes lines to a file descriptor that may fail, because a disk is full or the reader has gone. A line that can't be
 * written is dropped. As soon as writing works again, the log tells how many were lost. The process goes on meanwhile.
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

/** Waits for the slow reader of a pipe, because nothing else keeps the line. */
const pause = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_PAUSE_MS);
