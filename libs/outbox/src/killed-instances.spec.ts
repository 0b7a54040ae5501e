import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { startPostgres, waitFor, type TestServer } from '@weir/testing';
import { Webhook as Verifier } from 'standardwebhooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Outbox } from './outbox.js';
import { newWebhookSecret } from './webhook-signature.js';

const secret = newWebhookSecret();
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
const children = new Set<ChildProcess>();
let postgres: TestServer;
let outbox: Outbox;
let receiver: Server;
/** The ids that the receiver has accepted, in order, and how many requests it had. */
const accepted: string[] = [];
let requests = 0;

beforeAll(async () => {
  postgres = await startPostgres();
  outbox = await Outbox.open({ url: postgres.url, owner: 'killed', instance: 'owner', log: silent });
  receiver = createServer((request, response) => {
    void text(request).then((body) => {
      new Verifier(secret).verify(body, request.headers as Record<string, string>);
      requests += 1;
      // It is down half of the time.
      if (requests % 2 === 0) return void response.writeHead(503).end();
      accepted.push(String(request.headers['webhook-id']));
      response.writeHead(204).end();
    });
  });
  await once(receiver.listen(0, '127.0.0.1'), 'listening');
}, 60_000);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await outbox.close();
  receiver.closeAllConnections();
  receiver.close();
  await postgres.stop();
});

/** In its own process. */
const start = async (): Promise<ChildProcess> => {
  const program = join(import.meta.dirname, '../testing/instance.mjs');
  const child = spawn(process.execPath, [program, postgres.url, secret], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  child.once('exit', () => children.delete(child));
  await once(child.stdout, 'data');
  return child;
};

it('no webhook is lost, and each key keeps its order, while its instances and PostgreSQL are killed', async () => {
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
  const ids = Array.from({ length: 40 }, (_, index) => `msg_${index}`);
  for (const [index, id] of ids.entries())
    await outbox.addAlone({ queue: 'webhook', id, key: `session-${index % 5}`, payload: { url, body: '{"a":1}' } });
  for (const [victim, after] of [['instance', 8] as const, ['PostgreSQL', 16] as const, ['instance', 28] as const]) {
    const child = await start();
    await waitFor(() => accepted.length >= after, { timeoutMs: 30_000 });
    if (victim === 'PostgreSQL') {
      await postgres.kill();
      await postgres.restart();
    } else {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  await start();
  const delivered = async () => (await outbox.list({ state: 'delivered', limit: 500 })).length;
  await waitFor(async () => (await delivered()) === ids.length, { timeoutMs: 30_000 });
  const firsts = [...new Set(accepted)];
  expect([...firsts].sort()).toEqual([...ids].sort());
  for (let key = 0; key < 5; key++) {
    const ofKey = (some: readonly string[]) => some.filter((id) => Number(id.slice(4)) % 5 === key);
    expect(ofKey(firsts)).toEqual(ofKey(ids));
  }
}, 90_000);
