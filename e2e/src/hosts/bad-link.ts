import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { z } from 'zod';
import type { Namespace } from './network.js';

export interface LinkSettings {
  lossPercent?: number;
  /** In one direction. */
  delayMs?: number;
  rateKbps?: number;
  /** If the rate is exceeded, packets that would have to wait longer than this are lost. */
  queueMs?: number;
  seed?: number;
}

export interface LinkEnd {
  namespace: Namespace;
  /** The address at which the other end knows it, on whatever device. */
  address: string;
}

const counts = z.array(z.object({ carried: z.number(), lost: z.number() }));
export type LinkCounts = z.output<typeof counts>;

/**
 * A bad link between two hosts that also have a good one. While it exists, it is the more specific route to the other's
 * address, so that open connections switch to it, and back when it is gone. See impair.py.
 */
export class BadLink {
  private constructor(
    private readonly process: ChildProcessByStdio<Writable, Readable, null>,
    private readonly lines: AsyncIterator<string>,
  ) {}

  static async open(a: LinkEnd, b: LinkEnd, settings: LinkSettings): Promise<BadLink> {
    const program = join(import.meta.dirname, 'impair.py');
    const process = spawn('/usr/bin/python3', [program, a.namespace.name, b.namespace.name], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const link = new BadLink(process, createInterface(process.stdout)[Symbol.asyncIterator]());
    try {
      if ((await link.#line()) !== 'ready') throw new Error('impair.py did not become ready');
      await link.set(settings);
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        await from.namespace.ip('link', 'set', 'dev', 'bad', 'up');
        await from.namespace.ip('route', 'add', `${to.address}/32`, 'dev', 'bad', 'src', from.address);
      }
      return link;
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  /** @returns how many packets it has carried and lost so far: from the first end to the second, and back */
  async set(settings: LinkSettings): Promise<LinkCounts> {
    this.process.stdin.write(`${JSON.stringify(settings)}\n`);
    return counts.parse(JSON.parse(await this.#line()));
  }

  /** Switches back to the good link. */
  async close(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, 'exit');
    this.process.stdin.end();
    await ended;
  }

  async #line(): Promise<string> {
    const { value, done } = await this.lines.next();
    if (done === true) throw new Error('impair.py has ended');
    return value;
  }
}
