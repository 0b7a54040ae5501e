import { connect } from '@nats-io/transport-node';
import { PrismaPg } from '@prisma/adapter-pg';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { startPostgres } from './postgres.js';
import { findBinary } from './server-process.js';
import { type TestServer, startNats, startRedis } from './servers.js';

const servers: TestServer[] = [];
const keep = (server: TestServer): TestServer => {
  servers.push(server);
  return server;
};
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

describe('the test servers', () => {
  it('run two nats-servers side by side, one of them with a password and a small payload', async () => {
    const [open, closed] = await Promise.all([
      startNats().then(keep),
      startNats({ user: 'weir', password: 'a"b c', maxPayloadBytes: 2048 }).then(keep),
    ]);
    const openClient = await connect({ servers: open.url });
    expect(openClient.info?.auth_required).not.toBe(true);
    await openClient.close();
    await expect(connect({ servers: `127.0.0.1:${closed.port}`, reconnect: false })).rejects.toThrow(/authorization/i);
    const closedClient = await connect({ servers: `127.0.0.1:${closed.port}`, user: 'weir', pass: 'a"b c' });
    expect(closedClient.info?.max_payload).toBe(2048);
    await closedClient.close();
  });

  it('keep what redis-server stored before it was killed', async () => {
    const server = keep(await startRedis({ password: 'secret' }));
    const before = new Redis(server.url, { lazyConnect: true });
    await before.set('robot', 'r1');
    before.disconnect();
    await server.kill();
    await server.restart();
    const after = new Redis(server.url);
    expect(await after.get('robot')).toBe('r1');
    after.disconnect();
  });

  it('keep what PostgreSQL stored before it was killed', { timeout: 60_000 }, async () => {
    const server = keep(await startPostgres());
    const before = await new PrismaPg(
      { connectionString: server.url },
      { onConnectionError: () => undefined },
    ).connect();
    await before.executeScript("create table robots (name text); insert into robots values ('r1')");
    await server.kill();
    await server.restart();
    await before.dispose();
    const after = await new PrismaPg({ connectionString: server.url }).connect();
    const { rows } = await after.queryRaw({ sql: 'select name from robots', args: [], argTypes: [] });
    expect(rows).toEqual([['r1']]);
    await after.dispose();
  });

  it('say which Debian package contains a missing program', () => {
    expect(() => findBinary({ name: 'no-such-server', debianPackage: 'such-server' })).toThrow(
      "no-such-server isn't installed: apt-get install such-server",
    );
  });

  it("don't run twice at the same time", async () => {
    const server = keep(await startRedis());
    await expect(server.restart()).rejects.toThrow('is still running');
  });
});
