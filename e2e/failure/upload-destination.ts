import { EventEmitter, once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { serveOnLoopback, type LoopbackServer } from '../src/loopback-server.js';
import { wallMs } from './known-source.js';
import type { SeededRandom } from './seeded-random.js';

/** How a store takes a file. */
const HABITS = ['quick', 'pauses in the middle', 'answers late'] as const;
type Habit = (typeof HABITS)[number];

const PAUSE_MS = 1_000;
/** The receiver of webhooks is up and down in turns. */
const TURN_MS = 2_000;
const FAILURES = ['503', 'broken off', 'taken without an answer'] as const;

const hookBody = z.looseObject({
  status: z.string(),
  rec_id: z.string().optional(),
  session_id: z.string().optional(),
  recording_file_duration_ms: z.number().optional(),
  recording_file_size_bytes: z.number().optional(),
});

export interface TakenWebhook {
  readonly id: string;
  readonly body: z.output<typeof hookBody>;
}

/** Takes uploads by PUT at any time, and webhooks half of the time. */
export class UploadDestination {
  readonly webhooks: TakenWebhook[] = [];
  /** By name: when each complete PUT was answered. */
  readonly puts = new Map<string, number[]>();
  /** Things that no client may do. */
  readonly offences: string[] = [];
  isAlwaysUp = false;
  readonly #habits = new Map<string, Habit>();
  readonly #events = new EventEmitter();
  readonly #beganMs = wallMs();
  #server: LoopbackServer | undefined;
  #hooks = 0;

  private constructor(
    private readonly folder: string,
    private readonly random: SeededRandom,
  ) {}

  static async open(random: SeededRandom): Promise<UploadDestination> {
    const destination = new UploadDestination(await mkdtemp(join(tmpdir(), 'weir-uploads-')), random);
    destination.#server = await serveOnLoopback((request, response) => {
      const taken =
        request.method === 'PUT' ? destination.#put(request, response) : destination.#hook(request, response);
      taken.catch(() => response.destroy()); // the client was killed
    });
    return destination;
  }

  get webhookUrl(): string {
    return `${this.#server?.url}/hook`;
  }

  /** A URL for a new file, with a habit of its own. */
  urlFor(name: string): string {
    this.#habits.set(name, this.random.pick(HABITS));
    return `${this.#server?.url}/${name}`;
  }

  fileOf(name: string): string {
    return join(this.folder, name);
  }

  /** Resolves when a PUT of one of the names has sent its first bytes, or its last. */
  async sees(moment: 'first bytes' | 'last bytes', names: readonly string[], signal: AbortSignal): Promise<void> {
    for (;;) {
      const [name] = (await once(this.#events, moment, { signal })) as [string];
      if (names.includes(name)) return;
    }
  }

  async close(): Promise<void> {
    await this.#server?.close();
    await rm(this.folder, { recursive: true });
  }

  async #put(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const name = (request.url ?? '').slice(1);
    const habit = this.#habits.get(name);
    const { headers } = request;
    if (habit === undefined || headers.authorization !== undefined) {
      this.offences.push(`a PUT to ${name}, which nobody has asked for`);
      response.writeHead(400).end();
      return;
    }
    request.once('readable', () => this.#events.emit('first bytes', name));
    if (habit === 'pauses in the middle') await sleep(PAUSE_MS);
    const body = await buffer(request);
    if (!request.complete) return;
    if (Number(headers['content-length']) !== body.length) {
      this.offences.push(`a PUT to ${name} without its length`);
      response.writeHead(411).end();
      return;
    }
    this.#events.emit('last bytes', name);
    await writeFile(this.fileOf(name), body);
    if (habit === 'answers late') await sleep(PAUSE_MS);
    this.puts.set(name, [...(this.puts.get(name) ?? []), wallMs()]);
    response.writeHead(200).end();
  }

  async #hook(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isUp = this.isAlwaysUp || Math.floor((wallMs() - this.#beganMs) / TURN_MS) % 2 === 0;
    const failure = isUp ? undefined : FAILURES[this.#hooks++ % FAILURES.length];
    if (failure === 'broken off') {
      request.destroy();
      return;
    }
    const text = (await buffer(request)).toString();
    if (failure === '503') {
      response.writeHead(503).end();
      return;
    }
    this.webhooks.push({ id: String(request.headers['webhook-id']), body: hookBody.parse(JSON.parse(text)) });
    if (failure === undefined) response.writeHead(204).end();
    else request.destroy();
  }
}
