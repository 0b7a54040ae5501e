import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Bus } from '@weir/bus';
import { InstanceEvents } from '@weir/contracts';
import { FaultyLink, freePort, startNats, startRedis, waitFor, type TestServer } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Instances } from './instances.js';

let nats: TestServer;
let redis: TestServer;
const children: ChildProcess[] = [];

beforeAll(async () => {
  [nats, redis] = await Promise.all([startNats(), startRedis()]);
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(() => Promise.all([nats.stop(), redis.stop()]));

/** Runs the service in its own process, from its build, as in production. */
async function startTiny(env: Record<string, string> = {}) {
  const port = await freePort();
  const child = spawn(process.execPath, [join(import.meta.dirname, '../out-tsc/spec/testing/tiny-service.js')], {
    env: {
      ...process.env,
      NATS_URL: nats.url,
      REDIS_URL: redis.url,
      WEIR_LISTEN_PORT: String(port),
      LOG_LEVEL: 'info',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const tiny = { child, output: '', url: `http://127.0.0.1:${port}/healthz` };
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      tiny.output += chunk.toString();
    });
  return tiny;
}

const messages = (output: string) =>
  output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => (JSON.parse(line) as { msg: string }).msg);

const connectBus = (service: string) => Bus.connect({ url: nats.url, service, instanceId: `${service}-test` });

describe('a service', () => {
  it('is healthy once it has started, and closes in order at SIGTERM', async () => {
    const tiny = await startTiny();
    await waitFor(async () => (await fetch(tiny.url)).status === 200);
    tiny.child.kill('SIGTERM');
    await waitFor(() => tiny.output.includes('draining'));
    const draining = await fetch(tiny.url);
    expect(draining.status).toBe(503);
    expect(await draining.json()).toMatchObject({ checks: { drain: { reason: 'the service is stopping' } } });
    await once(tiny.child, 'exit');
    expect(tiny.child.exitCode).toBe(0);
    const order = ['service started', 'service stopping', 'draining', 'drained', 'closed', 'service stopped'];
    expect(messages(tiny.output).filter((message) => order.includes(message))).toEqual(order);
  });

  it('names every wrong setting and exits with EX_CONFIG', async () => {
    const tiny = await startTiny({ TINY_NUMBER: 'x', LOG_LEVEL: 'loud' });
    await once(tiny.child, 'exit');
    expect(tiny.child.exitCode).toBe(78);
    expect(tiny.output).toContain('TINY_NUMBER');
    expect(tiny.output).toContain('LOG_LEVEL');
  });

  it("survives and logs an unhandled error of one request's promise or stream, and ends at an exception", async () => {
    const tiny = await startTiny();
    await waitFor(async () => (await fetch(tiny.url)).status === 200);
    tiny.child.kill('SIGUSR2');
    await waitFor(() =>
      ['a promise of one request', 'a stream of one request'].every((text) => tiny.output.includes(text)),
    );
    expect((await fetch(tiny.url)).status).toBe(200);
    tiny.child.kill('SIGHUP');
    await once(tiny.child, 'exit');
    expect(tiny.child.exitCode).toBe(1);
    expect(messages(tiny.output)).toContain('unexpected error, the process ends');
  });

  it('reports unavailable while Redis is away, and ok afterwards', async () => {
    const tiny = await startTiny();
    await waitFor(async () => (await fetch(tiny.url)).status === 200);
    await redis.kill();
    await waitFor(async () => (await fetch(tiny.url)).status === 503);
    const report = (await (await fetch(tiny.url)).json()) as { checks: Record<string, object> };
    expect(report.checks['redis']).toMatchObject({ status: 'unavailable' });
    expect(report.checks['nats']).toEqual({ status: 'ok' });
    await redis.restart();
    await waitFor(async () => (await fetch(tiny.url)).status === 200);
  });

  it('reports unavailable while NATS stands still with its connections up', async () => {
    const link = await FaultyLink.open({ port: nats.port });
    const tiny = await startTiny({ NATS_URL: link.through(nats.url) });
    await waitFor(async () => (await fetch(tiny.url)).status === 200);
    link.hold();
    await waitFor(async () => (await fetch(tiny.url)).status === 503);
    const report = (await (await fetch(tiny.url)).json()) as { checks: Record<string, object> };
    expect(report.checks['nats']).toMatchObject({ status: 'unavailable' });
    link.release();
    await waitFor(async () => (await fetch(tiny.url)).status === 200);
    await link.close();
  });

  it('is seen by other services while it lives, and reported lost after kill -9', async () => {
    const bus = await connectBus('watcher');
    const lost: string[] = [];
    const tinies = new Instances({
      bus,
      service: 'tiny',
      silentAfterMs: 2_000,
      onLost: (instanceId) => lost.push(instanceId),
    });
    const tiny = await startTiny();
    await waitFor(() => tinies.list().length === 1);
    tiny.child.kill('SIGKILL');
    await waitFor(() => lost.length === 1);
    expect(tinies.list()).toEqual([]);
    await tinies.close();
    await bus.drain();
  });

  it('announces its end when it stops on request', async () => {
    const bus = await connectBus('watcher');
    const tinies = new Instances({ bus, service: 'tiny', silentAfterMs: 60_000 });
    const tiny = await startTiny();
    await waitFor(() => tinies.list().length === 1);
    tiny.child.kill('SIGTERM');
    await waitFor(() => tinies.list().length === 0);
    await tinies.close();
    await bus.drain();
  });

  it('does not count as dead while the bus is gone', async () => {
    const [watcher, speaker] = await Promise.all([connectBus('watcher'), connectBus('tiny')]);
    const lost: string[] = [];
    const tinies = new Instances({
      bus: watcher,
      service: 'tiny',
      silentAfterMs: 1_000,
      onLost: (instanceId) => lost.push(instanceId),
    });
    const speak = () =>
      speaker.publish(InstanceEvents.method.alive, { service: 'tiny', instanceId: 'tiny-test', startedAtMs: 1n });
    const speaking = setInterval(speak, 200);
    await waitFor(() => tinies.has('tiny-test'));
    await nats.kill();
    await waitFor(() => !watcher.connected);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(lost).toEqual([]);
    await nats.restart();
    await waitFor(() => watcher.connected && speaker.connected);
    expect(tinies.has('tiny-test')).toBe(true);
    clearInterval(speaking);
    await waitFor(() => lost.length === 1);
    await tinies.close();
    await Promise.all([watcher.drain(), speaker.drain()]);
  });
});
