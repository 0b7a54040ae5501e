import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { databaseAdapter } from '@weir/platform/database';
import { DEVICE_CONTROL, makeToken, parseToken, verifyToken } from '@weir/protocol-topvdn';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { generateApiKey } from './api-keys.js';
import { AuthInstance, startSurroundings, type Surroundings } from './testing/auth-instance.js';

let surroundings: Surroundings;
let file: string;
let single: Readonly<Record<string, string>>;

beforeAll(async () => {
  surroundings = await startSurroundings();
  file = path.join(surroundings.folder, 'credentials.json');
  single = { ...surroundings.env, WEIR_SINGLE_MACHINE: '1', WEIR_CREDENTIALS_FILE: file };
}, 60_000);

afterAll(() => surroundings.stop());

beforeEach(async () => {
  await rm(file, { force: true });
  const connection = await databaseAdapter({ url: surroundings.postgres.url, schema: 'auth' }).connect();
  await connection.executeScript('DROP SCHEMA IF EXISTS auth CASCADE');
  await connection.dispose();
});

/** Starts the service, asks it something, and stops it. */
const during = async <T>(
  env: Readonly<Record<string, string>>,
  work: (instance: AuthInstance) => Promise<T>,
): Promise<T> => {
  const instance = await AuthInstance.start(env);
  try {
    await instance.context.redis.flushall();
    return await work(instance);
  } finally {
    await instance.stop();
  }
};

const credentials = async () => JSON.parse(await readFile(file, 'utf8'));

/** Tries the credentials: the statuses of a log-in and of an operator's request. */
const tryOut = async (instance: AuthInstance, { user, operator }: Awaited<ReturnType<typeof credentials>>) => [
  (await instance.request('POST', '/auth/', { body: user })).status,
  (await instance.request('GET', '/auth/users', { as: operator.key })).status,
];

describe('the single-machine mode', () => {
  test('makes a demo tenant with working credentials and an open application', async () => {
    await during(single, async (instance) => {
      const made = await credentials();
      expect(made).toEqual({
        user: { username: 'demo', password: expect.stringMatching(/^[\w-]{20}$/) },
        operator: { key: expect.stringMatching(/^weir_/) },
        recording: { apiId: 'demo', masterKey: expect.stringMatching(/^weir_/) },
        calls: {
          appId: 'demo',
          appKey: expect.stringMatching(/^[0-9a-f]{32}$/),
          devices: [1_003_538, 1_003_181, 1_003_469].map((cid) => ({ cid, token: expect.any(String) })),
        },
        robots: ['robot_dog_sr_20001', 'robot_dog_sr_20002'].map((id) => ({
          id,
          token: expect.stringMatching(/^weir_/),
          cameras: ['front', 'back'],
        })),
      });
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      expect(await tryOut(instance, made)).toEqual([200, 200]);
      const { json } = await instance.request('GET', '/auth/applications', { as: made.operator.key });
      expect(json.applications).toEqual([{ appKey: 'defaultApp', tenant: 'demo', policy: 'open' }]);
    });
  });

  test('binds the token of each robot to it', async () => {
    await during(single, async ({ auth }) => {
      const { robots } = await credentials();
      for (const { id, token } of robots)
        expect(await auth.apiKeys.verify(token)).toMatchObject({
          tenant: 'demo',
          grants: [{ verb: 'publish', object: `${id}/*` }],
        });
    });
  });

  test('makes a master key for recording, another one for another api_id, and the old one stops working', async () => {
    const ask = async (instance: AuthInstance, master_key: string) =>
      (await instance.request('POST', '/auth_v2/client', { body: { master_key, client_id: 'c' } })).status;
    const old = await during(single, async (instance) => {
      const { recording } = await credentials();
      expect(await ask(instance, recording.masterKey)).toBe(201);
      return recording;
    });
    const mine = { apiId: 'mine', masterKey: generateApiKey() };
    await writeFile(file, JSON.stringify({ ...(await credentials()), recording: mine }));
    await during(single, async (instance) => {
      expect((await credentials()).recording).toEqual(mine);
      expect(await instance.auth.apiKeys.verifyMaster(mine.masterKey)).toMatchObject({ tenant: 'demo', apiId: 'mine' });
      expect(await ask(instance, old.masterKey)).toBe(401);
    });
  });

  test('makes tokens of devices that the key of their app signs and that are valid for months', async () => {
    const months = (count: number) => Date.now() + count * 30 * 24 * 60 * 60 * 1_000;
    const validAt = (token: string, key: string, atMs: number) => {
      const reading = parseToken(token);
      return reading.tag === 'token' && verifyToken(reading.token, key, atMs).tag === 'valid';
    };
    await during(single, async () => undefined);
    const { calls, ...rest } = await credentials();
    for (const { token } of calls.devices) expect(validAt(token, calls.appKey, months(5))).toBe(true);
    const [first, second, third] = calls.devices;
    const expireS = Math.floor(months(0.5) / 1_000);
    const stale = { ...second, token: makeToken({ cid: second.cid, control: DEVICE_CONTROL, expireS }, calls.appKey) };
    const stranger = { cid: 7, token: 'unknown here' };
    await writeFile(file, JSON.stringify({ ...rest, calls: { ...calls, devices: [stranger, stale, first] } }));
    await during(single, async () => undefined);
    const mended = (await credentials()).calls;
    expect(mended.devices.slice(0, 2)).toEqual([stranger, first]);
    const renewed = mended.devices.slice(2);
    expect(renewed.map(({ cid }: { cid: number }) => cid)).toEqual([second.cid, third.cid]);
    for (const { token } of renewed) expect(validAt(token, calls.appKey, months(5))).toBe(true);
    const appKey = 'm'.repeat(32);
    await writeFile(file, JSON.stringify({ ...rest, calls: { ...mended, appKey } }));
    await during(single, async () => undefined);
    const moved = (await credentials()).calls;
    expect(moved.appKey).toBe(appKey);
    for (const { token } of moved.devices.slice(1)) expect(validAt(token, appKey, months(5))).toBe(true);
  });

  test('makes a new token for a robot that lost its own, and leaves other robots alone', async () => {
    await during(single, async () => undefined);
    const { robots, ...rest } = await credentials();
    const stranger = { id: 'mine', token: 'unknown here' };
    await writeFile(file, JSON.stringify({ ...rest, robots: [stranger, { id: robots[0].id }, robots[1]] }));
    await during(single, async ({ auth }) => {
      const mended = await credentials();
      expect(mended.robots).toEqual([stranger, robots[1], { ...robots[0], token: expect.any(String) }]);
      expect(mended.robots[2].token).not.toBe(robots[0].token);
      await expect(auth.apiKeys.verify(robots[0].token)).rejects.toThrow();
      for (const { token } of mended.robots.slice(1)) await auth.apiKeys.verify(token);
    });
  });

  test('keeps its credentials, and what others wrote beside them, across a restart', async () => {
    await during(single, async () => undefined);
    const first = { ...(await credentials()), devices: [{ id: 'd1' }] };
    await writeFile(file, JSON.stringify(first));
    await during(single, async (instance) => expect(await tryOut(instance, first)).toEqual([200, 200]));
    expect(await credentials()).toEqual(first);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test('makes new secrets when the file is lost, and the old ones stop working', async () => {
    await during(single, async () => undefined);
    const lost = await credentials();
    await rm(file);
    await during(single, async (instance) => {
      const made = await credentials();
      expect(await tryOut(instance, made)).toEqual([200, 200]);
      expect(await tryOut(instance, lost)).toEqual([401, 401]);
    });
  });

  test.each([
    ['a new password', () => single],
    ['another mode', () => surroundings.env],
  ])('ends the tokens of a log-in, and of the operator’s key, with %s', async (_what, next) => {
    const tokens = await during(single, async (instance) => {
      const { user, operator } = await credentials();
      const login = await instance.request('POST', '/auth/', { body: user });
      const body = { subject: 'page', role: 'operator', ttlS: 600 };
      const minted = await instance.request('POST', '/auth/tokens', { as: operator.key, body });
      return [login.json.ret.token, minted.json.token];
    });
    await rm(file);
    await during(next(), async (instance) => {
      const statusOf = async (as: string) => (await instance.request('GET', '/auth/users', { as })).status;
      for (const token of tokens) await expect.poll(() => statusOf(token), { timeout: 10_000 }).toBe(401);
    });
  });

  test('makes what the file lacks and keeps the rest', async () => {
    await during(single, async () => undefined);
    const { user } = await credentials();
    await writeFile(file, JSON.stringify({ user, devices: 3 }));
    await during(single, async (instance) => {
      const mended = await credentials();
      expect(mended).toMatchObject({ user, devices: 3, operator: { key: expect.any(String) } });
      expect(await tryOut(instance, mended)).toEqual([200, 200]);
    });
  });

  test('uses the credentials of the file when the database is new', async () => {
    const kept = { user: { username: 'demo', password: 'chosen by me' }, operator: { key: generateApiKey() } };
    await writeFile(file, JSON.stringify(kept));
    await during(single, async (instance) => expect(await tryOut(instance, kept)).toEqual([200, 200]));
  });

  test('does not restore a removed application', async () => {
    await during(single, async (instance) => {
      const { operator } = await credentials();
      await instance.request('DELETE', '/auth/applications/defaultApp', { as: operator.key });
    });
    await during(single, async (instance) =>
      expect(await instance.auth.applications.find('defaultApp')).toBeUndefined(),
    );
  });

  test('does not touch a file that it can’t read', async () => {
    await writeFile(file, '{');
    await expect(AuthInstance.start(single)).rejects.toThrow(file);
    expect(await readFile(file, 'utf8')).toBe('{');
  });

  test('needs to know where the file is', async () => {
    const env = { ...surroundings.env, WEIR_SINGLE_MACHINE: '1' };
    await expect(AuthInstance.start(env)).rejects.toThrow('WEIR_CREDENTIALS_FILE');
  });

  test('two instances that start together make one set of credentials', async () => {
    const instances = await Promise.all([AuthInstance.start(single), AuthInstance.start(single)]);
    try {
      const made = await credentials();
      for (const instance of instances) expect(await tryOut(instance, made)).toEqual([200, 200]);
      expect(await instances[0].auth.database.apiKey.count()).toBe(4);
    } finally {
      await Promise.all(instances.map((instance) => instance.stop()));
    }
  });
});

describe('outside the single-machine mode', () => {
  test('there is no user, no key and no file, and defaultApp asks for a token', async () => {
    await during({ ...surroundings.env, WEIR_CREDENTIALS_FILE: file }, async ({ auth }) => {
      expect(await auth.database.user.count()).toBe(0);
      expect(await auth.database.apiKey.count()).toBe(0);
      expect(await auth.database.application.findMany()).toMatchObject([
        { appKey: 'defaultApp', tenantName: 'default', policy: 'TOKEN' },
      ]);
    });
    await expect(stat(file)).rejects.toThrow('ENOENT');
  });

  test('what the single-machine mode created is removed', async () => {
    await during(single, async () => undefined);
    const old = await credentials();
    await during(surroundings.env, async (instance) => {
      expect(await tryOut(instance, old)).toEqual([401, 401]);
      expect(await instance.auth.applications.find('defaultApp')).toMatchObject({
        tenantName: 'default',
        policy: 'TOKEN',
      });
    });
  });

  test('the first operator’s key comes from the environment, and a new one replaces it', async () => {
    const [first, second] = [generateApiKey(), generateApiKey()];
    const withKey = (key: string) => ({ ...surroundings.env, WEIR_BOOTSTRAP_OPERATOR_KEY: key });
    const status = (instance: AuthInstance, key: string) =>
      instance.request('GET', '/auth/users', { as: key }).then((response) => response.status);
    await during(withKey(first), async (instance) => expect(await status(instance, first)).toBe(200));
    await during(withKey(second), async (instance) => {
      expect(await status(instance, second)).toBe(200);
      expect(await status(instance, first)).toBe(401);
    });
    await during(surroundings.env, async (instance) => expect(await status(instance, second)).toBe(200));
  });

  test('the first operator’s key can come from a file, for a tenant of any name', async () => {
    const key = generateApiKey();
    const keyFile = path.join(surroundings.folder, 'operator-key');
    await writeFile(keyFile, `${key}\n`);
    const env = {
      ...surroundings.env,
      WEIR_BOOTSTRAP_OPERATOR_KEY_FILE: keyFile,
      WEIR_BOOTSTRAP_TENANT: 'acme',
    };
    await during(env, async (instance) => {
      const { json } = await instance.request('GET', '/auth/applications', { as: key });
      expect(json.applications).toEqual([{ appKey: 'defaultApp', tenant: 'acme', policy: 'token' }]);
    });
    await writeFile(keyFile, 'not a key');
    await expect(AuthInstance.start(env)).rejects.toThrow(keyFile);
  });

  test('a malformed key is refused together with the other settings', async () => {
    const env = { ...surroundings.env, WEIR_BOOTSTRAP_OPERATOR_KEY: 'secret' };
    await expect(AuthInstance.start(env)).rejects.toThrow('WEIR_BOOTSTRAP_OPERATOR_KEY');
  });
});
