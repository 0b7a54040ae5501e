import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive, isProcessIdentity, type ProcessIdentity } from '../setup/process-identity.mjs';
import { killGroup } from './supervised-process.js';

const POLL_INTERVAL_MS = 50;
const ORDERLY_END_MS = 5_000;

const RETRY_INTERVAL_MS = 1_000;

/**
 * The file in which a supervisor records its processes, for the next one, which may find them still running. If the
 * file can't be written because the disk is full, writing is tried again until it succeeds.
 */
export class ProcessRecord {
  readonly #processes = new Map<string, ProcessIdentity>();
  #retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly path: string,
    private readonly say: (line: string) => void = () => undefined,
  ) {}

  /** @param identity undefined if the process has ended */
  note(name: string, identity: ProcessIdentity | undefined): void {
    if (identity === undefined) this.#processes.delete(name);
    else this.#processes.set(name, identity);
    clearTimeout(this.#retry);
    this.#write(true);
  }

  #write(isFirst: boolean): void {
    try {
      const text = JSON.stringify(Object.fromEntries(this.#processes), null, 2);
      writeFileSync(`${this.path}.new`, text, { mode: 0o600 });
      renameSync(`${this.path}.new`, this.path);
    } catch (error) {
      if (isFirst) this.say(`${this.path} can't be written: ${error instanceof Error ? error.message : String(error)}`);
      this.#retry = setTimeout(() => this.#write(false), RETRY_INTERVAL_MS).unref();
    }
  }

  /** Ends the processes that a killed supervisor has left running. */
  async endLeftovers(say: (line: string) => void): Promise<void> {
    const leftovers = Object.entries(this.#read()).filter(([, identity]) => isAlive(identity));
    for (const [name, { pid }] of leftovers) say(`ending ${name} (process ${pid}), left over from a killed start`);
    for (const [, { pid }] of leftovers) process.kill(pid, 'SIGTERM');
    const identities = leftovers.map(([, identity]) => identity);
    await endOf(identities, ORDERLY_END_MS);
    for (const { pid } of identities) killGroup(pid);
    await endOf(identities, ORDERLY_END_MS);
  }

  #read(): Record<string, ProcessIdentity> {
    try {
      const value: unknown = JSON.parse(readFileSync(this.path, 'utf8'));
      const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
      return Object.fromEntries(
        entries.filter((entry): entry is [string, ProcessIdentity] => isProcessIdentity(entry[1])),
      );
    } catch (error) {
      const isExpected = error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT';
      if (!isExpected) throw error;
      return {};
    }
  }
}

/** Waits until all the processes have ended or the time is up. */
export async function endOf(identities: readonly ProcessIdentity[], timeoutMs: number): Promise<void> {
  const endMs = Date.now() + timeoutMs;
  while (identities.some(isAlive) && Date.now() < endMs) await delay(POLL_INTERVAL_MS);
}
