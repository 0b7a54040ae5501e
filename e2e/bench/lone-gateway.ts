import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { freePorts } from '@weir/single-machine';
import { waitFor } from '@weir/testing';
import type { BenchPlatform } from './platform.js';

/** The compiled form of this file is in e2e/out-tsc/spec/bench. */
const checkout = resolve(import.meta.dirname, '../../../..');

/** A second gateway of weir, whose sockets go to a server that isn't part of weir. */
export class LoneGateway {
  private constructor(
    readonly pid: number,
    readonly wsUrl: string,
    private readonly child: ChildProcess,
  ) {}

  /** @param upstreamPort port of the server on loopback that gets all sockets */
  static async start(platform: BenchPlatform, upstreamPort: number): Promise<LoneGateway> {
    const [httpPort = 0, listenPort = 0] = await freePorts(2);
    const child = spawn(
      process.execPath,
      ['--import', '@weir/platform/register', join(checkout, 'services/gateway/dist/main.js')],
      {
        cwd: checkout,
        stdio: 'ignore',
        env: {
          ...process.env,
          WEIR_SOCKETS_PER_ADDRESS: '1000000',
          WEIR_UPGRADES_PER_MINUTE: '10000000',
          WEIR_HTTP_HOST: '127.0.0.1',
          WEIR_HTTP_PORT: String(httpPort),
          WEIR_LISTEN_HOST: '127.0.0.1',
          WEIR_LISTEN_PORT: String(listenPort),
          NATS_URL: platform.natsUrl,
          REDIS_URL: platform.redisUrl,
          WEIR_UPSTREAM_WCS_SIGNALLING: `http://127.0.0.1:${upstreamPort}`,
        },
      },
    );
    if (child.pid === undefined) throw new Error('the gateway has no process');
    const gateway = new LoneGateway(child.pid, `ws://127.0.0.1:${httpPort}`, child);
    try {
      // Any answer is enough: the health report includes the server behind the gateway, which has no /healthz.
      await waitFor(() => fetch(`http://127.0.0.1:${httpPort}/healthz`), { timeoutMs: 30_000, what: 'a lone gateway' });
      return gateway;
    } catch (error) {
      await gateway.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await exited;
  }
}
