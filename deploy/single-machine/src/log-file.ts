import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

const MAX_BYTES = 10 * 1024 * 1024;

/**
 * A log that never takes more than twice its limit: a full file is renamed and replaces the one renamed before it. It
 * never throws: lines that don't fit on a full disk are left out, and their number is logged once there is room again.
 */
export class LogFile {
  #descriptor: number | undefined;
  #bytes = 0;
  #lostLines = 0;
  /** Whether the file ends with a part of a line. */
  #isTorn = false;

  constructor(
    readonly path: string,
    private readonly maxBytes = MAX_BYTES,
  ) {
    this.#attempt(() => this.#open());
  }

  writeLine(line: string): void {
    const isWritten = this.#attempt(() => {
      const lost = this.#lostLines;
      if (lost > 0) this.#write(`${this.#isTorn ? '\n' : ''}(${lost} lines could not be written)\n`);
      this.#lostLines = 0;
      this.#write(`${line}\n`);
    });
    if (!isWritten) this.#lostLines += 1;
  }

  close(): void {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined) this.#attempt(() => closeSync(descriptor));
  }

  #write(text: string): void {
    const bytes = Buffer.from(text);
    if (this.#bytes > 0 && this.#bytes + bytes.length > this.maxBytes) {
      this.close();
      renameSync(this.path, `${this.path}.1`);
    }
    const descriptor = this.#descriptor ?? this.#open();
    const written = writeSync(descriptor, bytes);
    this.#bytes += written;
    this.#isTorn = written < bytes.length;
    if (this.#isTorn) throw new Error('only a part of the line was written');
  }

  #open(): number {
    const descriptor = openSync(this.path, 'a', 0o600);
    this.#descriptor = descriptor;
    this.#bytes = fstatSync(descriptor).size;
    return descriptor;
  }

  /** @returns whether it succeeded. If a log can't be written, there is nowhere to report the reason. */
  #attempt(work: () => void): boolean {
    try {
      work();
      return true;
    } catch {
      return false;
    }
  }
}
