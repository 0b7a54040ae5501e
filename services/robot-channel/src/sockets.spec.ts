import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ofRobot } from './testing/grants.js';
import { App, Robot, type Client } from './testing/clients.js';
import { Instance, Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Instance;
let clients: Client[];

const opened = async <C extends Client>(client: Promise<C>): Promise<C> => {
  clients.push(await client);
  return client;
};
const app = async (token?: string): Promise<App> =>
  opened(App.open(service.wsUrl, token ?? (await around.auth.token())));
const refusalOf = ({ refused }: Client) => [refused?.status, JSON.parse(refused?.body ?? 'null')];
const restart = async (env: Record<string, string>) => {
  await service.stop();
  service = await Instance.start(around, env);
};

beforeAll(async () => {
  around = await Surroundings.start();
}, 60_000);
beforeEach(async () => {
  clients = [];
  service = await Instance.start(around);
});
afterEach(async () => {
  for (const client of clients) client.end();
  await service.stop();
});
afterAll(() => around.stop());

describe('a token', () => {
  it.each([
    ['?token=', (token: string) => [`/channel/app?token=${token}`, {}]],
    ['?tonken=', (token: string) => [`/channel/app?tonken=${token}`, {}]],
    ['a cookie', (token: string) => ['/channel/app', { cookie: `a=b; token=${token}` }]],
    ['Authorization: Bearer', (token: string) => ['/channel/app', { authorization: `Bearer ${token}` }]],
    ['a path with a slash at its end', (token: string) => [`/channel/app/?token=${token}`, {}]],
  ] satisfies [string, (token: string) => [string, Record<string, string>]][])('is taken by %s', async (_way, make) => {
    const [path, headers] = make(await around.auth.token());
    const client = await opened(App.openWith(`${service.wsUrl}${path}`, headers));
    expect((await client.asks('robot.list')).err?.ec).toBe(0);
  });

  it('that is missing or not valid opens nothing', async () => {
    const body = {
      err: { ec: 104, em: 'You are not logged in, or the log-in has ended. Log in again.', dm: 'not_logged_in' },
      ret: null,
      ext: null,
      ebd: null,
    };
    expect(refusalOf(await opened(App.open(service.wsUrl, undefined)))).toEqual([401, body]);
    expect(refusalOf(await app('nonsense'))).toEqual([401, body]);
    expect(refusalOf(await app(await around.auth.token(undefined, { life: '-1m' })))).toEqual([401, body]);
  });

  it.each([
    ['none', []],
    ['of a user', undefined],
    ['of two robots', [...ofRobot('robot_dog_sr_20001'), ...ofRobot('robot_dog_sr_20002')]],
    ['of robots by a pattern', [{ verb: 'publish', object: 'robot_dog_sr_2000*/front' }]],
    ['of a robot that does not exist', ofRobot('robot_dog_sr_29999')],
    ['without a camera', [{ verb: 'publish', object: 'robot_dog_sr_20001' }]],
    ['to play only', [{ verb: 'play', object: 'robot_dog_sr_20001/*' }]],
  ])('with the grants %s opens no robot’s socket', async (_what, grants) => {
    const dog = await opened(Robot.open(service.wsUrl, await around.auth.token(grants)));
    expect(refusalOf(dog)).toMatchObject([expect.toBeOneOf([403, 404]), { err: { ec: 107, dm: 'permission' } }]);
  });

  it('of another tenant’s robot of the same name opens no socket', async () => {
    const token = await around.auth.token(ofRobot('robot_dog_sr_20001'), { tenant: 'other' });
    expect((await opened(Robot.open(service.wsUrl, token))).refused?.status).toBe(404);
  });

  it('that is revoked closes what it opened, robots and apps alike', async () => {
    const [user, machine] = [
      await around.auth.mint([{ verb: 'play', object: '*' }]),
      await around.auth.mint(ofRobot('robot_dog_sr_20001')),
    ];
    const [client, dog] = [await app(user.token), await opened(Robot.open(service.wsUrl, machine.token))];
    around.auth.revoked(user.tokenId);
    around.auth.revoked(machine.tokenId);
    expect(await client.closes()).toBe(4401);
    expect(await dog.closes()).toBe(4401);
  });

  it('that expires closes what it opened', async () => {
    const client = await app(await around.auth.token(undefined, { life: '2s' }));
    expect((await client.asks('robot.list')).err?.ec).toBe(0);
    expect(await client.closes()).toBe(4401);
  });

  it('that is a key closes what it opened when the key is removed, even if the event is lost', async () => {
    await restart({ WEIR_ROBOT_CREDENTIAL_CHECK_MS: '100' });
    const keys = [
      around.auth.key(ofRobot('robot_dog_sr_20001')),
      around.auth.key(ofRobot('robot_dog_sr_20002')),
    ] as const;
    const robots = await Promise.all(keys.map((key) => opened(Robot.open(service.wsUrl, key))));
    await waitFor(() => service.channel.robots.count === 2);
    around.auth.removeKey(keys[0]);
    expect(await robots[0]?.closes()).toBe(4401);
    expect(service.channel.robots.count).toBe(1);
  });
});

describe('a socket', () => {
  it.each(['/', '/channel', '/channel/', '/channel/apps', '/channel/robots', '/channel/app/x'])(
    'is not taken on %s',
    async (path) => {
      const client = await opened(App.open(service.wsUrl, await around.auth.token(), path));
      expect(client.refused?.status).toBe(404);
    },
  );

  it('is told what was wrong with its frames, and stays open', async () => {
    const client = await app();
    client.raw('{"act":');
    client.raw(Buffer.from('hello'));
    client.raw(`{"id":1,"act":"robot.list","x":"${'x'.repeat(100_000)}"}`);
    await waitFor(() => client.heard.length === 3);
    expect(client.heard.map(({ act, err }) => [act, err?.ec, err?.dm])).toEqual(Array(3).fill(['!', 103, 'input']));
    expect((await client.asks('robot.fly')).err).toMatchObject({ ec: 102, dm: 'invalid_operation' });
    expect((await client.asks('robot.list')).err?.ec).toBe(0);
  });

  it.each([
    ['a quarter of a megabyte', 250_000, 4429],
    ['more than 256 Ki', 263_000, 1009],
  ])('is closed for a frame of %s, and others go on', async (_size, length, code) => {
    const [rude, polite] = [await app(), await app()];
    rude.raw(`{"act":"robot.list","x":"${'x'.repeat(length)}"}`);
    expect(await rude.closes()).toBe(code);
    expect((await polite.asks('robot.list')).err?.ec).toBe(0);
    await waitFor(() => service.channel.apps.count === 1);
  });

  it('is closed when it does not finish a frame in time, and others go on', async () => {
    await restart({ WEIR_ROBOT_FRAME_TIMEOUT_MS: '200' });
    const [rude, polite] = [await app(), await app()];
    rude.socket.send('{"act":', { fin: false });
    expect(await rude.closes()).toBe(1008);
    expect((await polite.asks('robot.list')).err?.ec).toBe(0);
  });

  it('is closed when it floods, and when it never sends anything useful', async () => {
    const [flooding, babbling] = [await app(), await app()];
    for (let count = 0; count < 200; count++) flooding.raw('{"id":1,"act":"robot.list"}');
    for (let count = 0; count < 10; count++) babbling.raw('?');
    expect(await flooding.closes()).toBe(4429);
    expect(await babbling.closes()).toBe(4400);
  });

  it('is closed when its robot floods', async () => {
    const dog = await opened(Robot.open(service.wsUrl, around.auth.key(ofRobot('robot_dog_sr_20001'))));
    for (let count = 0; count < 300; count++) dog.raw('{"act":"robot.nav.moved"}');
    expect(await dog.closes()).toBe(4429);
    await waitFor(() => service.channel.robots.count === 0);
  });

  it('is closed when its app does not read', async () => {
    const token = await around.auth.token();
    const principal = await service.channel.access.authenticate(token);
    const closes: number[] = [];
    const sent: string[] = [];
    const unread = {
      send: (text: string) => void sent.push(text),
      ping: () => undefined,
      close: (code: number) => void closes.push(code),
      get bufferedBytes() {
        return sent.length * 3 * 1024 * 1024;
      },
    };
    const client = service.channel.apps.open(unread, principal);
    client.frame('{"act":"robot.fly"}');
    expect(closes).toEqual([]);
    client.frame('{"act":"robot.fly"}');
    expect(closes).toEqual([4430]);
    expect(service.channel.apps.count).toBe(0);
  });

  it('is refused when the instance has no more room', async () => {
    await restart({ WEIR_ROBOT_MAX_SOCKETS: '1' });
    await app();
    expect(refusalOf(await app())).toMatchObject([503, { err: { ec: 503, dm: 'connection_error' } }]);
  });

  it('is refused to robots while the database is away, and apps are told so', async () => {
    const client = await app();
    await around.postgres.kill();
    try {
      // The child processes of a killed server still answer for a short time.
      await waitFor(async () => {
        const dog = await opened(Robot.open(service.wsUrl, around.auth.key(ofRobot('robot_dog_sr_20001'))));
        dog.end();
        return dog.refused?.status === 503;
      });
      expect((await client.asks('robot.list')).err).toMatchObject({ ec: 503, dm: 'connection_error' });
    } finally {
      await around.postgres.restart();
    }
    await waitFor(async () => (await client.asks('robot.list')).err?.ec === 0);
  }, 60_000);

  it('is closed when its robot is removed, and can not come back', async () => {
    await service.channel.fleet.create('demo', 'short-lived', []);
    const key = around.auth.key(ofRobot('short-lived'));
    const dog = await opened(Robot.open(service.wsUrl, key));
    await waitFor(() => service.channel.robots.count === 1);
    await service.channel.fleet.remove('demo', 'short-lived');
    expect(await dog.closes()).toBe(4403);
    expect((await opened(Robot.open(service.wsUrl, key))).refused?.status).toBe(404);
  });
});
