import { hash } from '@node-rs/argon2';
import { grant } from '@weir/access';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Login } from './login.js';
import { AuthInstance, startSurroundings, type Surroundings } from './testing/auth-instance.js';

const PASSWORD = 'correct horse battery';
const FORBIDDEN = {
  err: { ec: 105, em: 'The username or the password is wrong.' },
  ret: null,
  ext: null,
  ebd: null,
};

let surroundings: Surroundings;
let instance: AuthInstance;
let other: AuthInstance;

beforeAll(async () => {
  surroundings = await startSurroundings();
  [instance, other] = await Promise.all([
    AuthInstance.start(surroundings.env),
    AuthInstance.start({ ...surroundings.env, WEIR_AUTH_EXPIRE_UTC_OFFSET_HOURS: '0' }),
  ]);
  await instance.auth.users.create('default', 'ada@example.org', PASSWORD, [grant('play', '*')]);
  await instance.auth.users.create('default', 'locked', PASSWORD, []);
  await instance.auth.users.change('default', 'locked', { locked: true });
}, 60_000);

afterAll(async () => {
  await Promise.all([instance.stop(), other.stop()]);
  await surroundings.stop();
});

beforeEach(() => instance.context.redis.flushall());

const login = (body: unknown, options: { from?: string; url?: string; headers?: Record<string, string> } = {}) =>
  instance.request('POST', options.url ?? '/auth/', { body, ...options });

describe('POST /auth/', () => {
  test('answers as the original documents show it', async () => {
    const beforeS = Math.floor(Date.now() / 1000);
    const { status, json } = await login({ username: 'ada@example.org', password: PASSWORD });
    expect(status).toBe(200);
    expect(Object.keys(json)).toEqual(['err', 'ret', 'ext', 'ebd']);
    expect(json).toEqual({
      err: { ec: 0, em: 'ok' },
      ret: { token: expect.any(String), expire: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+08$/) },
      ext: null,
      ebd: null,
    });
    const { exp } = decodeJwt(json.ret.token);
    const instant = new Date(json.ret.expire.replace(' ', 'T').replace(/\d{3}\+08$/, '+08:00'));
    expect(instant.getTime() / 1000).toBe(exp);
    expect(exp).toBeGreaterThanOrEqual(beforeS + 12 * 60 * 60);
  });

  test('treats /auth like /auth/', async () => {
    const { status } = await login({ username: 'ada@example.org', password: PASSWORD }, { url: '/auth' });
    expect(status).toBe(200);
  });

  test('accepts the name in another case, and ignores unknown members', async () => {
    const body = { username: ' ADA@Example.org ', password: PASSWORD, app: 'x' };
    expect((await login(body)).status).toBe(200);
  });

  test('writes the time in the configured zone', async () => {
    const body = { username: 'ada@example.org', password: PASSWORD };
    const { json } = await other.request('POST', '/auth/', { body });
    expect(json.ret.expire).toMatch(/\+00$/);
  });

  test('sets a cookie that scripts and other sites can’t use', async () => {
    const body = { username: 'ada@example.org', password: PASSWORD };
    const plain = await login(body);
    expect(plain.headers['set-cookie']).toBe(
      `token=${plain.json.ret.token}; Path=/; Max-Age=${/Max-Age=(\d+)/.exec(String(plain.headers['set-cookie']))?.[1]}; HttpOnly; SameSite=Strict`,
    );
    const secure = await login(body, { headers: { 'x-forwarded-proto': 'https' } });
    expect(secure.headers['set-cookie']).toMatch(/; Secure$/);
  });

  test('returns a token with the user’s tenant and grants, which the published keys verify', async () => {
    const { json } = await login({ username: 'ada@example.org', password: PASSWORD });
    await instance.app.listen(0, '127.0.0.1');
    const keys = createRemoteJWKSet(new URL('/auth/jwks.json', await instance.app.getUrl()));
    const { payload, protectedHeader } = await jwtVerify(json.ret.token, keys, { issuer: 'weir', audience: 'weir' });
    expect(protectedHeader).toEqual({ alg: 'EdDSA', kid: instance.auth.keys.jwks.keys[0]?.kid, typ: 'JWT' });
    expect(payload).toEqual({
      iss: 'weir',
      aud: 'weir',
      sub: expect.stringMatching(/^user:/),
      tenant: 'default',
      jti: expect.any(String),
      iat: expect.any(Number),
      exp: expect.any(Number),
      grants: [{ verb: 'play', object: '*' }],
    });
    const wellKnown = await instance.request('GET', '/.well-known/jwks.json');
    expect(wellKnown.json).toEqual(instance.auth.keys.jwks);
    expect(JSON.stringify(wellKnown.json)).not.toContain('"d"');
  });
});

describe('a refused log-in', () => {
  const cases = [
    ['a wrong password', { username: 'ada@example.org', password: 'wrong' }],
    ['an unknown user', { username: 'nobody', password: PASSWORD }],
    ['a locked user with the right password', { username: 'locked', password: PASSWORD }],
    ['a locked user with a wrong password', { username: 'locked', password: 'wrong' }],
  ] as const;

  test('is the same answer, down to the headers, for a wrong password, an unknown user and a locked user', async () => {
    const answers = await Promise.all(cases.map(([, body], i) => login(body, { from: `198.51.100.${i}` })));
    for (const { status, json, headers } of answers) {
      expect([status, json]).toEqual([401, FORBIDDEN]);
      expect({ ...headers, date: '' }).toEqual({ ...answers[0]?.headers, date: '' });
    }
  });

  test.each(cases)('does the same work for %s: one look-up, one verification', async (_name, body) => {
    const { counts, attempt } = countingLogin();
    expect(await attempt(body)).toEqual({ tag: 'refused' });
    expect(counts).toEqual({ lookUps: 1, verifications: 1 });
  });

  test('does the same work however many tenants have a user of that name', async () => {
    const { database, users } = instance.auth;
    await database.tenant.createMany({ data: [{ name: 'second' }, { name: 'third' }] });
    await users.create('second', 'eve', PASSWORD, []);
    await users.create('third', 'eve', PASSWORD, []);
    await users.create('third', 'zoe', PASSWORD, []);
    try {
      for (const username of ['nobody', 'zoe', 'eve']) {
        const { counts, attempt } = countingLogin();
        await attempt({ username, password: 'wrong' });
        expect({ username, ...counts }).toEqual({ username, lookUps: 1, verifications: 3 });
      }
    } finally {
      await database.tenant.deleteMany({ where: { name: { in: ['second', 'third'] } } });
    }
  });
});

/** The service's log-in, with counters of the user look-ups and the password verifications. */
const countingLogin = () => {
  const { users, passwords, limits, tokens } = instance.auth;
  const counts = { lookUps: 0, verifications: 0 };
  const login = new Login({
    ...{ limits, tokens, tokenTtlS: 60 },
    users: {
      findAccounts: (name, tenant) => {
        counts.lookUps++;
        return users.findAccounts(name, tenant);
      },
      getAccount: (userId) => users.getAccount(userId),
      replaceHash: (account, hash) => users.replaceHash(account, hash),
    },
    passwords: {
      verify: (hash, password) => {
        counts.verifications++;
        return passwords.verify(hash, password);
      },
      hash: (password) => passwords.hash(password),
      isCurrent: (hash) => passwords.isCurrent(hash),
    },
  });
  return {
    counts,
    attempt: (body: { username: string; password: string }) => login.attempt({ ...body, address: '203.0.113.9' }),
  };
};

describe('limits', () => {
  const wrong = { username: 'ada@example.org', password: 'wrong' };
  const right = { username: 'ada@example.org', password: PASSWORD };

  test('make an address that guesses a password wait, at every instance, and say how long', async () => {
    const from = '198.51.100.9';
    for (let i = 0; i < 6; i++) await login(wrong, { from });
    for (const where of [instance, other]) {
      const { status, json, headers } = await where.request('POST', '/auth/', { body: right, from });
      expect([status, json.err.ec]).toEqual([429, 429]);
      expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    }
    // Another user of that address doesn't wait.
    expect((await login({ ...wrong, username: 'bob' }, { from })).status).toBe(401);
  });

  test('never lock a user out: the right password works from every other address', async () => {
    for (let i = 0; i < 200; i++) await instance.auth.limits.admit('ada@example.org', `203.0.113.${i}`);
    for (let i = 0; i < 6; i++) await login(wrong, { from: '2001:db8:0:1::5' });
    for (const from of ['198.51.100.20', '2001:db8:0:2::5', '::ffff:198.51.100.21'])
      expect([from, (await login(right, { from })).status]).toEqual([from, 200]);
    expect((await login(right, { from: '2001:db8:0:1::9' })).status).toBe(429);
  });

  test('count the address that the gateway names first, whatever proxies are in between', async () => {
    const through = (client: string) => `${client}, 10.1.2.3`;
    for (let i = 0; i < 6; i++) await login(wrong, { from: through('198.51.100.9') });
    expect((await login(right, { from: through('198.51.100.9') })).status).toBe(429);
    expect((await login(right, { from: through('198.51.100.10') })).status).toBe(200);
  });

  test('make an address wait, whatever user names it tries, and say how long', async () => {
    const from = '198.51.100.77';
    for (let i = 0; i < 30; i++) await login({ username: `user${i}`, password: 'wrong' }, { from });
    const { status, json, headers } = await other.request('POST', '/auth/', { body: right, from });
    expect(status).toBe(429);
    expect(json).toEqual({ err: { ec: 429, em: expect.any(String) }, ret: null, ext: null, ebd: null });
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    expect((await login(right, { from: '198.51.100.78' })).status).toBe(200);
  });

  test('trust the address that the gateway reports, and nobody else’s report', async () => {
    const direct = await AuthInstance.start({ ...surroundings.env, WEIR_AUTH_TRUSTED_PROXIES: '192.0.2.1' });
    try {
      for (let i = 0; i < 30; i++) {
        await direct.request('POST', '/auth/', { body: { ...wrong, username: `u${i}` }, from: `198.51.100.${i}` });
      }
      const { status } = await direct.request('POST', '/auth/', { body: right, from: '198.51.100.200' });
      expect(status).toBe(429);
    } finally {
      await direct.stop();
    }
  });
});

test.each([
  ['none', ''],
  ["curl's and urllib's", 'application/x-www-form-urlencoded'],
  ["a browser's", 'text/plain;charset=UTF-8'],
  ['no type at all', 'json'],
])('JSON is accepted with any content type: %s', async (_name, type) => {
  const body = { username: 'ada@example.org', password: PASSWORD };
  expect((await login(body, { headers: { 'content-type': type } })).status).toBe(200);
});

test.each(['GET', 'PUT', 'DELETE'] as const)('%s is refused in the envelope', async (method) => {
  const { status, headers, json } = await instance.request(method, '/auth/?token=secret');
  expect([status, headers.allow]).toEqual([405, 'POST']);
  expect(json).toEqual({
    err: { ec: 103, em: 'Another method is needed here: POST' },
    ret: null,
    ext: null,
    ebd: null,
  });
});

describe('a user name that two tenants have', () => {
  const OTHER_PASSWORD = 'another horse battery';
  const tenantOf = (token: string) => decodeJwt(token)['tenant'];

  beforeAll(async () => {
    await instance.auth.database.tenant.create({ data: { name: 'second' } });
    await instance.auth.users.create('second', 'ada@example.org', OTHER_PASSWORD, []);
    for (const tenant of ['second', 'default']) await instance.auth.users.create(tenant, 'twin', PASSWORD, []);
  });
  afterAll(async () => {
    await instance.auth.database.tenant.delete({ where: { name: 'second' } });
  });

  test.each([
    [{ username: 'ada@example.org', password: PASSWORD }, 'default'],
    [{ username: 'ada@example.org', password: OTHER_PASSWORD }, 'second'],
    // Both have this password; the user of `second` is older.
    [{ username: 'twin', password: PASSWORD }, 'second'],
    [{ username: 'twin', password: PASSWORD, tenant: 'default' }, 'default'],
  ])('means the user with that password, or of the named tenant: %j', async (body, tenant) => {
    const { status, json } = await login(body);
    expect([status, tenantOf(json.ret.token)]).toEqual([200, tenant]);
  });

  test('is refused if the request names the tenant of the other user', async () => {
    const { status, json } = await login({ username: 'ada@example.org', password: PASSWORD, tenant: 'second' });
    expect([status, json]).toEqual([401, FORBIDDEN]);
  });
});

describe('a malformed log-in', () => {
  test.each([
    ['no JSON', '{"username":', 400, {}],
    ['an empty body', '', 400, {}],
    ['a list', [], 400, {}],
    ['no password', { username: 'ada' }, 400, {}],
    ['an empty password', { username: 'ada', password: '' }, 400, {}],
    ['a password that is a number', { username: 'ada', password: 7 }, 400, {}],
    ['a name that is too long', { username: 'a'.repeat(257), password: PASSWORD }, 400, {}],
    ['a password that is too long', { username: 'ada', password: 'a'.repeat(1025) }, 400, {}],
    ['a form', 'username=ada&password=x', 400, { 'content-type': 'application/x-www-form-urlencoded' }],
    ['plain text', 'ada x', 400, { 'content-type': 'text/plain' }],
    ['an unknown content type', 'x', 400, { 'content-type': 'application/x-unheard-of' }],
    ['a NUL in the name', { username: 'a\0da', password: PASSWORD }, 400, {}],
    ['a NUL in the password', { username: 'ada', password: `a\0${PASSWORD}` }, 400, {}],
    ['half of a surrogate pair', { username: 'ada\ud83d', password: PASSWORD }, 400, {}],
    ['a large body', { username: 'ada', password: 'a'.repeat(40_000) }, 413, {}],
    ['a member that would set the prototype', '{"__proto__":{"a":1},"username":"a","password":"b"}', 400, {}],
  ])('with %s is refused in the envelope', async (_name, body, status, headers) => {
    const response = await login(body, { headers });
    expect(response.status).toBe(status);
    expect(response.json).toEqual({ err: { ec: 103, em: expect.any(String) }, ret: null, ext: null, ebd: null });
  });
});

describe('without its servers', () => {
  const right = { username: 'ada@example.org', password: PASSWORD };
  const unavailable = { err: { ec: 503, em: expect.any(String) }, ret: null, ext: null, ebd: null };

  test('Redis: nobody gets in until it is back', async () => {
    await surroundings.redis.kill();
    const { status, json } = await login(right);
    expect([status, json]).toEqual([503, unavailable]);
    await surroundings.redis.restart();
    await expect.poll(async () => (await login(right)).status, { timeout: 10_000 }).toBe(200);
  }, 30_000);

  test('PostgreSQL: nobody gets in until it is back', async () => {
    await surroundings.postgres.kill();
    const { status, json } = await login(right);
    expect([status, json]).toEqual([503, unavailable]);
    await surroundings.postgres.restart();
    await instance.context.redis.flushall();
    await expect.poll(async () => (await login(right)).status, { timeout: 10_000 }).toBe(200);
  }, 30_000);

  test('answers 503 and says why while the database has no room to write', async () => {
    const { database } = instance.auth;
    await database.$executeRawUnsafe(
      `CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`,
    );
    await database.$executeRawUnsafe(
      'CREATE TRIGGER no_room BEFORE INSERT ON "Token" FOR EACH ROW EXECUTE FUNCTION no_room()',
    );
    try {
      const { status, json } = await login(right);
      expect([status, json]).toEqual([503, unavailable]);
      expect(json.err.em).toContain('its disk or memory is full');
    } finally {
      await database.$executeRawUnsafe('DROP FUNCTION no_room CASCADE');
    }
    expect((await login(right)).status).toBe(200);
  });
});

test('a hash with older parameters is replaced at the next log-in', async () => {
  await instance.auth.users.create('default', 'old', PASSWORD, []);
  const passwordHash = await hash(PASSWORD, { memoryCost: 8192, timeCost: 1 });
  await instance.auth.database.user.update({
    where: { tenantName_username: { tenantName: 'default', username: 'old' } },
    data: { passwordHash },
  });
  expect((await login({ username: 'old', password: PASSWORD })).status).toBe(200);
  const { accounts } = await instance.auth.users.findAccounts('old', undefined);
  expect(accounts[0]?.passwordHash).toMatch(/^\$argon2id\$v=19\$m=19456,/);
  expect((await login({ username: 'old', password: PASSWORD })).status).toBe(200);
});

test('a user who is locked while logging in gets no token', async () => {
  const { users, passwords, limits, tokens } = instance.auth;
  const attempt = new Login({
    ...{ users, passwords, tokens, tokenTtlS: 60 },
    limits: {
      admit: (name, address) => limits.admit(name, address),
      // The user is locked after the password has been checked and before the token is made.
      succeeded: async () => void (await users.change('default', 'ada@example.org', { locked: true })),
    },
  });
  try {
    expect(await attempt.attempt({ username: 'ada@example.org', password: PASSWORD, address: '::1' })).toEqual({
      tag: 'refused',
    });
    const { userId } = await users.get('default', 'ada@example.org');
    expect(await tokens.list('default', `user:${userId}`, 10)).toEqual([]);
  } finally {
    await users.change('default', 'ada@example.org', { locked: false });
  }
});
