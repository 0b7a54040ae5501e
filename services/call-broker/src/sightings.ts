import type { Logger } from '@weir/platform';
import type { AppStore } from './app-store.js';

/** A device that was noted so recently isn't noted again. */
const NOTED_FOR_MS = 60 * 60_000;
const MAX_REMEMBERED = 100_000;

/** Notes in the database that devices exist, when they connect: application servers may list those that have been seen. */
export class Sightings {
  readonly #notedMs = new Map<number, number>();

  constructor(
    private readonly apps: Pick<AppStore, 'seen'>,
    private readonly log: Pick<Logger, 'warn'>,
  ) {}

  note(cid: number): void {
    const nowMs = Date.now();
    if (nowMs - (this.#notedMs.get(cid) ?? 0) < NOTED_FOR_MS) return;
    if (this.#notedMs.size >= MAX_REMEMBERED) this.#notedMs.clear();
    this.#notedMs.set(cid, nowMs);
    this.apps.seen([cid]).catch((err: unknown) => {
      this.#notedMs.delete(cid);
      this.log.warn({ err, cid }, 'a device is not in the list of its app yet');
    });
  }
}
