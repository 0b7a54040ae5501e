import { waitFor } from '@weir/testing';
import { z } from 'zod';
import type { BenchPlatform } from './platform.js';

const recording = z.object({
  id: z.string(),
  state: z.string(),
  reason: z.string(),
  durationMs: z.number().nullable(),
  sizeBytes: z.number().nullable(),
});
export type BenchRecording = z.output<typeof recording>;

export type Destination = { readonly kind: 'put'; readonly url: string } | { readonly kind: 'folder' };

const TIMEOUT_MS = 120_000;

/** Starts, watches and ends recordings of the demo tenant's streams, by the operator's REST. */
export class RecordingsClient {
  constructor(
    private readonly platform: BenchPlatform,
    private readonly pollMs: number,
  ) {}

  /** Resolves when the service answers, for example after its restart. */
  async untilReady(): Promise<void> {
    await this.#until('an answer of the recorder', async () => (await this.#ask('GET', '/recordings?limit=1')) !== '');
  }

  async start(stream: string, destination?: Destination): Promise<string> {
    return recording.parse(await this.#ask('POST', '/recordings', { stream, ...(destination && { destination }) })).id;
  }

  async find(id: string): Promise<BenchRecording> {
    return recording.parse(await this.#ask('GET', `/recordings/${id}`));
  }

  /** Resolves when an instance works on all of them and has written something since. */
  async untilWritten(ids: readonly string[]): Promise<void> {
    const before = new Map<string, number>();
    for (const id of ids) {
      const now = await this.#until(`bytes of ${id}`, async () => {
        const seen = await this.find(id);
        const { sizeBytes } = seen;
        if (['finished', 'failed'].includes(seen.state)) return seen;
        if (sizeBytes === null) return false;
        const first = before.get(id);
        before.set(id, first ?? sizeBytes);
        return first !== undefined && sizeBytes > first && seen;
      });
      if (now.state !== 'recording') throw new Error(`recording ${id} is ${now.state}: ${now.reason}`);
    }
  }

  async stop(id: string): Promise<void> {
    await this.#ask('POST', `/recordings/${id}/stop`, {});
  }

  /** @throws if it fails instead */
  async until(state: 'finished' | 'delivered', id: string): Promise<BenchRecording> {
    const ended = await this.#until(`${id} to be ${state}`, async () => {
      const now = await this.find(id);
      return [state, 'failed'].includes(now.state) && now;
    });
    if (ended.state === 'failed') throw new Error(`recording ${id} has failed: ${ended.reason}`);
    return ended;
  }

  /** A URL from which its file can be read. */
  async fileUrl(id: string): Promise<string> {
    return z.object({ url: z.url() }).parse(await this.#ask('POST', `/recordings/${id}/playback`, {})).url;
  }

  async remove(id: string): Promise<void> {
    await this.#ask('DELETE', `/recordings/${id}`);
  }

  /** Ends the recordings and deletes their files. @returns how long they were together, in ms */
  async discard(ids: readonly string[]): Promise<number> {
    await Promise.all(ids.map((id) => this.stop(id)));
    let recordedMs = 0;
    for (const id of ids) recordedMs += (await this.until('finished', id)).durationMs ?? 0;
    for (const id of ids) await this.remove(id);
    return recordedMs;
  }

  #until<Value>(what: string, condition: () => Promise<Value>): Promise<Exclude<Value, undefined | null | false>> {
    return waitFor(condition, { what, timeoutMs: TIMEOUT_MS, intervalMs: this.pollMs });
  }

  async #ask(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.platform.httpUrl}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.platform.operatorKey}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(30_000),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} is answered with ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }
}
