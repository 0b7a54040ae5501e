import { NameReservations } from '@weir/access';
import { ApplicationPolicy } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { credentialIn } from './admission.js';
import { Client, publication } from './testing/client.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
const clients: Client[] = [];

beforeAll(async () => {
  around = await startSurroundings();
  service = await startService(around);
  around.applications.set({ appKey: 'guarded', tenant: 'demo', policy: ApplicationPolicy.TOKEN });
});
afterEach(() => {
  for (const client of clients.splice(0)) client.end();
  around.media.published.clear();
  around.media.played.clear();
});
afterAll(async () => {
  await service.stop();
  await around.stop();
});

const connect = async (connection: Record<string, unknown>): Promise<Client> => {
  const client = await Client.connect(service.wsUrl, { appKey: 'guarded', ...connection });
  clients.push(client);
  return client;
};
const refused = async (connection: Record<string, unknown>): Promise<number> => {
  const client = await Client.open(service.wsUrl);
  clients.push(client);
  client.says('connection', { appKey: 'guarded', ...connection });
  const code = await client.closes();
  expect(client.heard.map(({ message }) => message)).toEqual(['fail']);
  return code;
};
const publisher = [{ verb: 'publish', object: 'cam*' }];

describe('credentialIn', () => {
  it.each([
    ['abc', 'abc'],
    [{ token: 'abc' }, 'abc'],
    [{ aclAuth: 'abc', room: 1 }, 'abc'],
    [{ token: 5 }, undefined],
    [undefined, undefined],
    ['', undefined],
    [['abc'], undefined],
  ])('reads %j as %j', (custom, credential) => {
    expect(credentialIn(custom)).toBe(credential);
  });
});

describe('policy token', () => {
  it('lets a token of the connection publish what it grants and nothing else', async () => {
    const { token } = await around.auth.mint(publisher);
    const client = await connect({ custom: { token } });
    await client.publishes('p', 'cam1');
    client.says('publishStream', publication('p2', 'other'));
    expect(await client.status('p2', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    client.says('playStream', publication('v', 'cam1'));
    expect(await client.status('v', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    client.says('availableStream', { mediaSessionId: 'a', name: 'cam1' });
    expect(await client.hears('availableStream')).toEqual({ id: 'a', status: 'false', info: 'Restricted access' });
  });

  it('takes the token as a bare string and as the authToken too', async () => {
    const { token } = await around.auth.mint(publisher);
    await (await connect({ custom: token })).publishes('p', 'cam1');
    await (await connect({ authToken: token })).publishes('p', 'cam2');
  });

  it('accepts a connection without a token whose streams bring their own', async () => {
    const client = await connect({ authToken: '/127.0.0.1:5/127.0.0.1:6' });
    client.says('publishStream', publication('p1', 'cam1'));
    expect(await client.status('p1', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    const { token } = await around.auth.mint(publisher);
    client.says('publishStream', { ...publication('p2', 'cam1'), custom: { token } });
    await client.status('p2', 'PUBLISHING');
  });

  it('refuses a connection whose token is forged or of another tenant', async () => {
    expect(await refused({ custom: { token: 'a.b.c' } })).toBe(4401);
    const { token } = await around.auth.mint([{ verb: 'publish', object: '*' }], { tenant: 'other' });
    expect(await refused({ custom: { token } })).toBe(4403);
  });

  it('ends what a revoked token opened: a session, or only the streams that brought it', async () => {
    const [session, stream] = await Promise.all([around.auth.mint(publisher), around.auth.mint(publisher)]);
    const whole = await connect({ custom: session.token });
    const partly = await connect({});
    await whole.publishes('p', 'cam1');
    partly.says('publishStream', { ...publication('p', 'cam2'), custom: stream.token });
    await partly.status('p', 'PUBLISHING');
    around.auth.revoked(session.tokenId);
    expect(await whole.closes()).toBe(4401);
    around.auth.revoked(stream.tokenId);
    expect(await partly.status('p', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    expect(partly.closeCode).toBeUndefined();
    await waitFor(() => around.media.published.size === 0);
  });

  it('ends what an expired token opened: a session, or only the streams that brought it', async () => {
    const [session, stream] = await Promise.all([
      around.auth.mint(publisher, { life: '2s' }),
      around.auth.mint(publisher, { life: '2s' }),
    ]);
    const whole = await connect({ custom: session.token });
    const partly = await connect({});
    await whole.publishes('p', 'cam1');
    partly.says('publishStream', { ...publication('p', 'cam2'), custom: stream.token });
    await partly.status('p', 'PUBLISHING');
    expect(await whole.closes()).toBe(4401);
    expect(await partly.status('p', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    expect(partly.closeCode).toBeUndefined();
    await waitFor(() => around.media.published.size === 0);
  });

  it('applies to sessions that were opened before it', async () => {
    around.applications.set({ appKey: 'changing', tenant: 'demo', policy: ApplicationPolicy.OPEN });
    const client = await connect({ appKey: 'changing' });
    await client.publishes('p', 'before');
    around.applications.set({ appKey: 'changing', tenant: 'demo', policy: ApplicationPolicy.TOKEN });
    let attempt = 0;
    await waitFor(async () => {
      attempt += 1;
      client.says('publishStream', publication(`q${attempt}`, `after${attempt}`));
      const { status } = await client.hears(
        'notifyStreamStatusEvent',
        ({ mediaSessionId }) => mediaSessionId === `q${attempt}`,
      );
      return status === 'FAILED';
    });
    expect(await client.status(`q${attempt}`, 'FAILED')).toMatchObject({ info: 'Restricted access' });
  });

  it('asks for an application once, not for every session', async () => {
    around.applications.set({ appKey: 'popular', tenant: 'demo', policy: ApplicationPolicy.OPEN });
    await connect({ appKey: 'popular' });
    const before = around.applications.asked;
    for (let count = 0; count < 5; count++) await connect({ appKey: 'popular' });
    expect(around.applications.asked).toBe(before);
  });
});

describe('an application that is removed', () => {
  it.each([ApplicationPolicy.OPEN, ApplicationPolicy.TOKEN])(
    'takes its sessions with it, policy %s',
    async (policy) => {
      around.applications.set({ appKey: 'short-lived', tenant: 'demo', policy });
      const { token } = await around.auth.mint([...publisher, { verb: 'play', object: '*' }]);
      const [publishing, playing, other] = [
        await connect({ appKey: 'short-lived', custom: token }),
        await connect({ appKey: 'short-lived', custom: token }),
        await connect({}),
      ];
      await publishing.publishes('p', 'cam1');
      await playing.plays('v', 'cam1');
      around.applications.remove('short-lived');
      expect([await publishing.closes(), await playing.closes()]).toEqual([4404, 4404]);
      await waitFor(() => around.media.published.size + around.media.played.size === 0);
      expect(other.closeCode).toBeUndefined();
    },
  );
});

describe('names that are reserved', () => {
  const NAME = 'dog/front';
  let names: Redis;

  beforeAll(async () => {
    names = new Redis(around.redis.url);
    await new NameReservations({ redis: names, owner: 'robots' }).reserve({ tenant: 'demo', prefix: 'dog/' });
  });
  afterAll(() => names.disconnect());

  /** Everything that a client learns about a name from all its attempts. */
  const heardOf = async (name: string): Promise<string[]> => {
    const client = await connect({ appKey: 'defaultApp' });
    client.says('playStream', { ...publication('v', name), published: false });
    client.says('availableStream', publication('a', name));
    client.says('snapshot', publication('s', name));
    await client.status('v', 'FAILED');
    await client.hears('availableStream');
    await waitFor(() => client.heard.length >= 6);
    return client.heard
      .filter(({ message }) => !['getUserData', 'getVersion', 'ping'].includes(message))
      .map((heard) =>
        JSON.stringify(heard)
          .replaceAll(name, 'NAME')
          .replace(/"createDate":\d+/g, '"createDate":0'),
      )
      .sort();
  };

  it('do not exist for anonymous players, whether or not there is a stream', async () => {
    const owner = await connect({
      appKey: 'guarded',
      custom: (await around.auth.mint([{ verb: 'publish', object: 'dog/*' }])).token,
    });
    const missing = await heardOf('nowhere/at-all');
    expect(await heardOf(NAME)).toEqual(missing);
    await owner.publishes('p', NAME);
    expect(await heardOf(NAME)).toEqual(missing);
    expect(around.media.played.size).toBe(0);
  });

  it('are played with the right to do so, also in an open application, as long as the right lasts', async () => {
    const publishing = await around.auth.mint([{ verb: 'publish', object: 'dog/*' }]);
    await (await connect({ custom: publishing.token })).publishes('p', NAME);
    const { token, tokenId } = await around.auth.mint([{ verb: 'play', object: '*' }]);
    const player = await connect({ appKey: 'defaultApp', custom: { token } });
    await player.plays('v', NAME);
    around.auth.revoked(tokenId);
    expect(await player.status('v', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    expect(player.closeCode).toBeUndefined();
  });

  it('are published by nobody without a right to exactly these names, even in an open application', async () => {
    const { token: wide } = await around.auth.mint([{ verb: 'publish', object: '*' }]);
    for (const custom of [undefined, { token: wide }, { token: 'nonsense' }]) {
      const client = await connect({ appKey: 'defaultApp', custom });
      client.says('publishStream', publication('p', NAME));
      expect(await client.status('p', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    }
    const { token: narrow } = await around.auth.mint([{ verb: 'publish', object: 'dog/*' }]);
    const robot = await connect({ appKey: 'defaultApp', custom: { token: narrow } });
    await robot.publishes('p', NAME);
  });

  it('are passed to the media core with the rights of the client that claims them, and it decides', async () => {
    const { token, tokenId } = await around.auth.mint([
      { verb: 'publish', object: 'cam*' },
      { verb: 'play', object: '*' },
    ]);
    await (await connect({ custom: token })).publishes('p', 'cam1');
    const [{ request } = { request: undefined }] = around.media.published.values();
    expect(request?.claim).toMatchObject({ owner: '', publishPatterns: ['cam*'], claimer: `token:${tokenId}` });
  });
});

describe('an auth service that is away', () => {
  it('lets nobody in, and says that the problem may pass', async () => {
    const other = await startSurroundings();
    const alone = await startService(other);
    await other.auth.stop();
    const client = await Client.open(alone.wsUrl);
    client.says('connection', {});
    expect(await client.closes()).toBe(4503);
    await alone.stop();
    await other.stop();
  });
});
