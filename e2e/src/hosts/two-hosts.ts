import { randomUUID } from 'node:crypto';
import { waitFor } from '@weir/testing';
import type { BrowserContext } from 'playwright-core';
import { received } from '../browser.js';
import type { SdkPage } from '../sdk-page.js';
import { Network } from './network.js';
import { WeirHost } from './weir-host.js';

/** Private networks; only the hosts' outbound settings open them. */
const LINK = { network: '10.0.0.0/24', first: '10.0.0.1', second: '10.0.0.2' };
const USERS = { first: '10.0.1', second: '10.0.2' };
/** An address that the hosts may not connect to. */
const FORBIDDEN = '10.0.9.9';

/** Two machines, each with a complete weir, and a cable between them. */
export class TwoHosts {
  readonly #contexts: BrowserContext[] = [];

  private constructor(
    private readonly network: Network,
    readonly first: WeirHost,
    readonly second: WeirHost,
  ) {}

  static async start(siteUrl: string): Promise<TwoHosts> {
    const network = await Network.open();
    const made: WeirHost[] = [];
    try {
      const hosts = { 'first.test': LINK.first, 'second.test': LINK.second, 'forbidden.test': FORBIDDEN };
      const create = async (label: 'first' | 'second') => {
        const host = await WeirHost.create({
          ...{ label, network, hosts, siteUrl },
          linkNetwork: LINK.network,
          address: LINK[label],
          userNetwork: USERS[label],
        });
        made.push(host);
        return host;
      };
      const [first, second] = [await create('first'), await create('second')];
      const ends = [first, second].map((host) => [host.namespace, `${host.address}/24`] as const);
      if (ends[0] !== undefined && ends[1] !== undefined) await network.connect('link', ends[0], ends[1]);
      await Promise.all(made.map((host) => host.start()));
      return new TwoHosts(network, first, second);
    } catch (error) {
      await Promise.allSettled(made.map((host) => host.stop()));
      await network.close();
      throw error;
    }
  }

  async stop(): Promise<void> {
    try {
      await Promise.all([this.first.stop(), this.second.stop()]);
    } finally {
      await this.network.close();
    }
  }

  /** Called between tests: closes all pages and ends all relays. */
  async clear(): Promise<void> {
    await Promise.all(this.#contexts.splice(0).map((context) => context.close()));
    for (const host of [this.first, this.second]) {
      await host.untilHealthy();
      for (const { uri } of await host.relays()) await host.rest('terminate', { uri });
    }
  }

  async page(host: WeirHost): Promise<SdkPage> {
    const context = await host.newContext();
    this.#contexts.push(context);
    return host.connectedPage(context);
  }

  async publisher(host: WeirHost, name: string): Promise<SdkPage> {
    const page = await this.page(host);
    await page.publish('out', { name });
    await page.waitForEvent('out', 'PUBLISHING', 40_000);
    return page;
  }

  async player(host: WeirHost, name: string): Promise<SdkPage> {
    const page = await this.page(host);
    await page.play('in', { name });
    await page.waitForEvent('in', 'PLAYING', 40_000);
    return page;
  }
}

export const newName = () => `two-${randomUUID().slice(0, 8)}`;

/** Waits until the player has shown that many more frames. */
export async function expectMoreFrames({ page }: SdkPage, frames: number, timeoutMs = 40_000): Promise<void> {
  const before = (await received(page)).framesDecoded;
  await waitFor(async () => (await received(page)).framesDecoded >= before + frames, {
    timeoutMs,
    what: `${frames} more frames`,
  });
}

/** How many key frames a publishing page was asked for and has made. */
export const keyFrames = ({ page }: SdkPage): Promise<{ asked: number; made: number }> =>
  page.evaluate(async () => {
    const { connections } = window as unknown as { connections: RTCPeerConnection[] };
    const total = { asked: 0, made: 0 };
    for (const connection of connections)
      for (const report of (await connection.getStats()).values() as Iterable<Record<string, number | string>>) {
        if (report['type'] !== 'outbound-rtp' || report['kind'] !== 'video') continue;
        total.asked += Number(report['pliCount'] ?? 0) + Number(report['firCount'] ?? 0);
        total.made += Number(report['keyFramesEncoded'] ?? 0);
      }
    return total;
  });
