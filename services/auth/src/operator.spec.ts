import { Access, credentialRefMessage, grant, grantsOfRole, type CredentialRef, type Grant } from '@weir/access';
import { Bus } from '@weir/bus';
import { asWeirError } from '@weir/platform/database';
import { ApplicationPolicy, Auth, AuthEvents, ErrorCode } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AuthInstance, startSurroundings, type Surroundings } from './testing/auth-instance.js';

const PASSWORD = 'correct horse battery';

let surroundings: Surroundings;
let instance: AuthInstance;
/** Another service, with its own connection. */
let client: Bus;
let access: Access;
/** API keys by owner. */
const keys = { operator: '', stranger: '', member: '', clerk: '' };

const addKey = async (tenant: string, label: string, grants: readonly Grant[]): Promise<string> => {
  await instance.auth.database.tenant.createMany({ data: [{ name: tenant }], skipDuplicates: true });
  return (await instance.auth.apiKeys.create({ tenant, label, grants })).key;
};

beforeAll(async () => {
  surroundings = await startSurroundings();
  instance = await AuthInstance.start(surroundings.env);
  client = await Bus.connect({ url: surroundings.nats.url, service: 'client', instanceId: 'client-1' });
  access = new Access({ bus: client, redis: instance.context.redis, log: { warn: () => undefined } });
  keys.operator = await addKey('acme', 'operator', grantsOfRole('operator'));
  keys.stranger = await addKey('umbrella', 'operator', grantsOfRole('operator'));
  keys.member = await addKey('acme', 'member', grantsOfRole('member'));
  // The clerk may administer a few objects, and has few rights to grant.
  const little = ['users/robot-*', 'keys/robot-*', 'tokens/robot-*', 'applications/robot-*'];
  keys.clerk = await addKey('acme', 'clerk', [
    ...little.map((name) => grant('administer', name)),
    grant('play', 'robot-*'),
  ]);
}, 60_000);

afterAll(async () => {
  await client.drain();
  await instance.stop();
  await surroundings.stop();
});

const as = (key: string) => ({
  get: (url: string) => instance.request('GET', url, { as: key }),
  post: (url: string, body: unknown) => instance.request('POST', url, { as: key, body }),
  put: (url: string, body: unknown) => instance.request('PUT', url, { as: key, body }),
  delete: (url: string) => instance.request('DELETE', url, { as: key }),
});

const codeOf = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
    return 'accepted';
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error;
  }
};

describe('every route of the operator', () => {
  const routes = [
    ['GET', '/auth/applications', undefined],
    ['POST', '/auth/applications', { appKey: 'new', policy: 'open' }],
    ['PUT', '/auth/applications/app', { policy: 'open' }],
    ['DELETE', '/auth/applications/app', undefined],
    ['GET', '/auth/users', undefined],
    ['POST', '/auth/users', { username: 'new', password: PASSWORD }],
    ['PUT', '/auth/users/user', { locked: true }],
    ['DELETE', '/auth/users/user', undefined],
    ['GET', '/auth/keys', undefined],
    ['POST', '/auth/keys', { label: 'new' }],
    ['DELETE', '/auth/keys/KEYID', undefined],
    ['GET', '/auth/tokens', undefined],
    ['POST', '/auth/tokens', { subject: 'new', ttlS: 60 }],
    ['POST', '/auth/revoke', { tokenId: 'TOKENID' }],
  ] as const;

  let keyId: string;
  let tokenId: string;

  beforeEach(async () => {
    await as(keys.operator).post('/auth/applications', { appKey: 'app', policy: 'token' });
    await as(keys.operator).post('/auth/users', { username: 'user', password: PASSWORD });
    keyId = (await as(keys.operator).post('/auth/keys', { label: 'key' })).json.keyId;
    tokenId = (await as(keys.operator).post('/auth/tokens', { subject: 'somebody', ttlS: 60 })).json.tokenId;
  });

  afterEach(async () => {
    const { database } = instance.auth;
    await database.application.deleteMany({ where: { appKey: { in: ['app', 'new'] } } });
    await database.user.deleteMany({ where: { username: { in: ['user', 'new'] } } });
    await database.apiKey.deleteMany({ where: { label: { in: ['key', 'new'] } } });
  });

  const ask = (method: (typeof routes)[number][0], path: string, body: unknown, credential?: string) =>
    instance.request(method, path.replace('KEYID', keyId), {
      ...(credential !== undefined && { as: credential }),
      ...(body !== undefined && { body: JSON.stringify(body).replace('TOKENID', tokenId) }),
    });

  test.each(routes)('%s %s: the operator may', async (method, path, body) => {
    const { status } = await ask(method, path, body, keys.operator);
    expect(status).toBe({ GET: 200, PUT: 200, DELETE: 204, POST: path === '/auth/revoke' ? 200 : 201 }[method]);
  });

  test.each(routes)('%s %s: not without a credential or with a wrong one', async (method, path, body) => {
    const unknownKey = `weir_abcdefghijkl_${'x'.repeat(43)}`;
    for (const credential of [undefined, 'nonsense', unknownKey]) {
      const { status, json } = await ask(method, path, body, credential);
      expect([status, json.error.code]).toEqual([401, 'UNAUTHENTICATED']);
    }
  });

  test.each(routes)('%s %s: not as a member, who has rights to streams only', async (method, path, body) => {
    const { status, json } = await ask(method, path, body, keys.member);
    expect([status, json.error.code]).toEqual([403, 'FORBIDDEN']);
  });

  test.each(routes)('%s %s: another tenant’s operator sees and changes nothing here', async (method, path, body) => {
    const before = await contents('acme');
    const { status, json } = await ask(method, path, body, keys.stranger);
    expect(await contents('acme')).toEqual(before);
    if (method === 'GET') expect(JSON.stringify(json)).not.toMatch(/"app"|"user"|"key"|"somebody"|acme/);
    else if (method !== 'POST' || path === '/auth/revoke')
      expect([status, json.error.code]).toEqual([404, 'NOT_FOUND']);
  });

  test.each(routes)(
    '%s %s: not with a credential in a cookie or a URL, which a browser would send on its own',
    async (method, path, body) => {
      for (const [url, headers] of [
        [path, { cookie: `token=${keys.operator}` }],
        [`${path}?token=${keys.operator}`, {}],
      ] as const) {
        const { status } = await instance.request(method, url, { headers, ...(body !== undefined && { body }) });
        expect(status).toBe(401);
      }
    },
  );
});

/** Everything that a tenant has. */
const contents = async (tenantName: string) => {
  const { database } = instance.auth;
  const where = { where: { tenantName } };
  return {
    applications: await database.application.findMany({ ...where, orderBy: { appKey: 'asc' } }),
    users: await database.user.findMany({ ...where, orderBy: { id: 'asc' } }),
    keys: await database.apiKey.findMany({ ...where, orderBy: { id: 'asc' } }),
    tokens: await database.token.findMany({ ...where, orderBy: { id: 'asc' } }),
  };
};

describe('applications', () => {
  const changes: string[] = [];
  beforeAll(() => {
    client.subscribe(AuthEvents.method.applicationChanged, ({ appKey }) => void changes.push(appKey));
  });

  test('can be created, found by services, changed and removed, and every change is published', async () => {
    const operator = as(keys.operator);
    const made = await operator.post('/auth/applications', {
      appKey: 'robots',
      policy: 'hook',
      hookUrl: 'https://hooks.example/weir',
    });
    expect(made.json).toEqual({
      appKey: 'robots',
      tenant: 'acme',
      policy: 'hook',
      hookUrl: 'https://hooks.example/weir',
      hookSecret: expect.stringMatching(/^[\w-]{43}$/),
    });
    expect(await client.call(Auth.method.getApplication, { appKey: 'robots' })).toMatchObject({
      appKey: 'robots',
      tenant: 'acme',
      policy: ApplicationPolicy.HOOK,
      hookUrl: 'https://hooks.example/weir',
      hookSecret: made.json.hookSecret,
    });

    const moved = { policy: 'hook', hookUrl: 'https://hooks.example/2' };
    const changed = await operator.put('/auth/applications/robots', moved);
    expect(changed.json).toMatchObject({ ...moved, hookSecret: made.json.hookSecret });

    await operator.put('/auth/applications/robots', { policy: 'token' });
    expect(await client.call(Auth.method.getApplication, { appKey: 'robots' })).toMatchObject({
      policy: ApplicationPolicy.TOKEN,
      hookUrl: '',
      hookSecret: '',
    });
    const { json } = await operator.get('/auth/applications');
    expect(json.applications).toEqual([{ appKey: 'robots', tenant: 'acme', policy: 'token' }]);

    await operator.delete('/auth/applications/robots');
    expect(await codeOf(client.call(Auth.method.getApplication, { appKey: 'robots' }))).toBe(ErrorCode.NOT_FOUND);
    await expect.poll(() => changes.filter((appKey) => appKey === 'robots')).toHaveLength(4);
  });

  test('have keys that are unique within their tenant: a tenant doesn’t learn of another’s', async () => {
    const make = (key: string, policy: string) => as(key).post('/auth/applications', { appKey: 'doors', policy });
    const found = async (appKey: string) => {
      const { tenant, policy } = await client.call(Auth.method.getApplication, { appKey });
      return [tenant, policy];
    };
    expect((await make(keys.operator, 'token')).status).toBe(201);
    expect(await make(keys.stranger, 'open')).toMatchObject({ status: 201, json: { tenant: 'umbrella' } });
    const again = await make(keys.operator, 'token');
    expect([again.status, again.json.error]).toEqual([
      409,
      { code: 'ALREADY_EXISTS', message: 'Another application has this appKey', fields: { appKey: 'doors' } },
    ]);
    // A client that names no tenant gets the older application.
    expect(await found('doors')).toEqual(['acme', ApplicationPolicy.TOKEN]);
    expect(await found('acme/doors')).toEqual(['acme', ApplicationPolicy.TOKEN]);
    expect(await found('umbrella/doors')).toEqual(['umbrella', ApplicationPolicy.OPEN]);
    expect((await as(keys.stranger).delete('/auth/applications/doors')).status).toBe(204);
    expect(await found('doors')).toEqual(['acme', ApplicationPolicy.TOKEN]);
    expect(await codeOf(found('umbrella/doors'))).toBe(ErrorCode.NOT_FOUND);
    await as(keys.operator).delete('/auth/applications/doors');
  });

  test.each(['a\0b', '\0', 'a/b/c', '/', 'acme/', 'ACME/doors', '', 'a b', '\ud83d'])(
    'are not found by %j, which is no valid name',
    async (appKey) => {
      expect(await codeOf(client.call(Auth.method.getApplication, { appKey }))).toBe(ErrorCode.NOT_FOUND);
    },
  );

  test.each([
    [{ policy: 'open' }, 'appKey'],
    [{ appKey: 'a b', policy: 'open' }, 'appKey'],
    [{ appKey: 'a' }, 'policy'],
    [{ appKey: 'a', policy: 'closed' }, 'policy'],
    [{ appKey: 'a', policy: 'hook' }, 'hookUrl'],
    [{ appKey: 'a', policy: 'hook', hookUrl: 'ftp://hooks.example/' }, 'hookUrl'],
    [{ appKey: 'a', policy: 'hook', hookUrl: 'http://10.0.0.1/' }, 'hookUrl'],
    [{ appKey: 'a', policy: 'hook', hookUrl: 'https://93.184.216.34:25/' }, 'hookUrl'],
    [{ appKey: 'a', policy: 'hook', hookUrl: 'https://user:secret@93.184.216.34/' }, 'hookUrl'],
    [{ appKey: 'a', policy: 'hook', hookUrl: 'https://hooks.example/', hookSecret: 'short' }, 'hookSecret'],
    [{ appKey: 'a', policy: 'open', hookUrl: 'https://hooks.example/' }, 'body'],
    ['"text"', 'body'],
  ])('with %j are refused, naming %s', async (body, field) => {
    const { status, json } = await as(keys.operator).post('/auth/applications', body);
    expect([status, json.error.code, Object.keys(json.error.fields)]).toEqual([400, 'INVALID', [field]]);
  });
});

describe('what can’t be stored', () => {
  const user = { username: 'x', password: PASSWORD };
  test.each([
    ['POST', '/auth/users', { ...user, username: 'a\0b' }],
    ['POST', '/auth/users', { ...user, grants: [{ verb: 'play', object: 'a\0' }] }],
    ['POST', '/auth/users', { ...user, grants: [{ verb: 'play', object: '\ud83d' }] }],
    ['PUT', '/auth/users/a%00b', { locked: true }],
    ['DELETE', '/auth/users/a%00b', undefined],
    ['POST', '/auth/keys', { label: 'a\0b' }],
    ['POST', '/auth/keys', { label: 'x', ttlS: 9e15 }],
    ['POST', '/auth/keys', { label: 'x', ttlS: 8.64e12 }],
    ['POST', '/auth/keys', { label: 'x', ttlS: 1e300 }],
    ['DELETE', '/auth/keys/%00', undefined],
    ['POST', '/auth/tokens', { subject: 'a\0b', ttlS: 60 }],
    ['POST', '/auth/tokens', { subject: 'x', ttlS: 9e15 }],
    ['GET', '/auth/tokens?subject=%00', undefined],
    ['GET', '/auth/tokens?limit=9e15', undefined],
    ['POST', '/auth/revoke', { tokenId: '\0' }],
    ['POST', '/auth/applications', { appKey: 'x', policy: 'hook', hookUrl: 'http://a/\0' }],
    [
      'POST',
      '/auth/applications',
      { appKey: 'x', policy: 'hook', hookUrl: 'http://a/', hookSecret: `${'\0'.repeat(20)}` },
    ],
    ['PUT', '/auth/applications/%00', { policy: 'open' }],
  ] as const)('is refused with 400: %s %s %j', async (method, url, body) => {
    const { status, json } = await instance.request(method, url, { as: keys.operator, body });
    expect([status, json.error.code]).toEqual([400, 'INVALID']);
  });

  test('is INVALID even if nothing checked it before', async () => {
    const { users, apiKeys } = instance.auth;
    const error = async (work: Promise<unknown>) =>
      codeOf(work.catch((cause: unknown) => Promise.reject(asWeirError(cause))));
    expect(await error(users.create('acme', 'a\0b', PASSWORD, []))).toBe(ErrorCode.INVALID);
    expect(await error(users.create('acme', 'x', PASSWORD, [grant('play', '\0')]))).toBe(ErrorCode.INVALID);
    expect(await error(apiKeys.create({ tenant: 'acme', label: 'a\0', grants: [] }))).toBe(ErrorCode.INVALID);
  });
});

describe('users', () => {
  test('have names that are unique within their tenant: a tenant doesn’t learn of another’s', async () => {
    const body = { username: 'shared', password: PASSWORD };
    for (const key of [keys.operator, keys.stranger]) {
      expect((await as(key).post('/auth/users', body)).status).toBe(201);
      expect((await as(key).post('/auth/users', body)).status).toBe(409);
    }
    for (const key of [keys.operator, keys.stranger])
      expect((await as(key).delete('/auth/users/shared')).status).toBe(204);
  });

  test('are made with a role, listed without a hash, and removed', async () => {
    const operator = as(keys.operator);
    const made = await operator.post('/auth/users', { username: ' Ada ', password: PASSWORD, role: 'viewer' });
    expect(made.json).toMatchObject({ username: 'ada', grants: [{ verb: 'play', object: '*' }], locked: false });
    const listed = await operator.get('/auth/users');
    expect(listed.json.users).toEqual([made.json]);
    expect(JSON.stringify(listed.json)).not.toContain('argon2');
    expect((await operator.post('/auth/users', { username: 'ADA', password: PASSWORD })).status).toBe(409);
    expect((await operator.delete('/auth/users/ADA')).status).toBe(204);
    expect((await operator.delete('/auth/users/ada')).status).toBe(404);
  });

  test('lose their tokens when they are locked, changed or removed', async () => {
    const operator = as(keys.operator);
    await operator.post('/auth/users', { username: 'bob', password: PASSWORD, role: 'viewer' });
    const logIn = async (password = PASSWORD) => {
      const { json } = await instance.request('POST', '/auth/', { body: { username: 'bob', password } });
      return json.ret === null ? 'refused' : String(json.ret.token);
    };
    const ends = async (token: string) =>
      expect.poll(() => codeOf(access.verifyToken(token)), { timeout: 2_000 }).toBe(ErrorCode.UNAUTHENTICATED);

    let token = await logIn();
    expect((await access.verifyToken(token)).tenant).toBe('acme');
    await operator.put('/auth/users/bob', { locked: true });
    await ends(token);
    expect(await logIn()).toBe('refused');

    await operator.put('/auth/users/bob', { locked: false, password: 'another password' });
    expect(await logIn()).toBe('refused');
    token = await logIn('another password');
    await access.verifyToken(token);
    await operator.put('/auth/users/bob', { role: 'publisher' });
    await ends(token);

    token = await logIn('another password');
    expect((await access.verifyToken(token)).grants).toEqual(grantsOfRole('publisher'));
    await operator.delete('/auth/users/bob');
    await ends(token);
  });

  test.each([
    [{ username: 'a', password: 'short' }, 'password'],
    [{ username: '', password: PASSWORD }, 'username'],
    [{ username: 'a', password: PASSWORD, role: 'king' }, 'role'],
    [{ username: 'a', password: PASSWORD, grants: [{ verb: 'fly', object: '*' }] }, 'grants.0.verb'],
    [{ username: 'a', password: PASSWORD, grants: [{ verb: 'play', object: '' }] }, 'grants.0.object'],
    [{ username: 'a', password: PASSWORD, admin: true }, 'body'],
  ])('with %j are refused, naming %s', async (body, field) => {
    const { status, json } = await as(keys.operator).post('/auth/users', body);
    expect([status, Object.keys(json.error.fields)]).toEqual([400, [field]]);
    expect(JSON.stringify(json)).not.toContain(PASSWORD);
  });
});

describe('API keys', () => {
  test('are shown once, work, and end together with the tokens that they made', async () => {
    const operator = as(keys.operator);
    const made = await operator.post('/auth/keys', { label: 'backend', role: 'operator' });
    expect(made.json.key).toMatch(/^weir_[a-z0-9]{12}_[\w-]{43}$/);
    const listed = await operator.get('/auth/keys');
    expect(JSON.stringify(listed.json)).not.toContain(made.json.key.slice(-43));
    expect(listed.json.keys).toContainEqual(expect.objectContaining({ label: 'backend', keyId: made.json.keyId }));

    const principal = await access.authenticate(made.json.key);
    expect(principal).toMatchObject({ subject: `key:${made.json.keyId}`, tenant: 'acme', credential: { kind: 'key' } });
    const minted = await as(made.json.key).post('/auth/tokens', { subject: 'page', role: 'operator', ttlS: 600 });
    const child = await as(minted.json.token).post('/auth/tokens', { subject: 'page2', role: 'viewer', ttlS: 60 });
    await access.verifyToken(minted.json.token);
    await access.verifyToken(child.json.token);

    expect((await operator.delete(`/auth/keys/${made.json.keyId}`)).status).toBe(204);
    for (const credential of [made.json.key, minted.json.token, child.json.token]) {
      await expect
        .poll(() => codeOf(access.authenticate(credential)), { timeout: 2_000 })
        .toBe(ErrorCode.UNAUTHENTICATED);
    }
  });

  test('are recognised by the whole key, not by its public part', async () => {
    const forged = `${keys.operator.slice(0, -43)}${'A'.repeat(43)}`;
    expect(await codeOf(client.call(Auth.method.verifyApiKey, { key: forged }))).toBe(ErrorCode.UNAUTHENTICATED);
    expect(await codeOf(client.call(Auth.method.verifyApiKey, { key: '' }))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('end when they expire', async () => {
    const expiresAt = new Date(Date.now() - 1);
    const { key } = await instance.auth.apiKeys.create({ tenant: 'acme', label: 'past', grants: [], expiresAt });
    expect(await codeOf(client.call(Auth.method.verifyApiKey, { key }))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('are stored as hashes', async () => {
    const row = await instance.auth.database.apiKey.findFirstOrThrow({
      where: { tenantName: 'acme', label: 'operator' },
    });
    expect(row.keyHash).toHaveLength(32);
    expect(JSON.stringify(row)).not.toContain(keys.operator.slice(-43));
  });

  test('have one label each', async () => {
    expect((await as(keys.operator).post('/auth/keys', { label: 'operator' })).status).toBe(409);
  });
});

describe('nobody can grant rights that they lack', () => {
  const robot = [{ verb: 'play', object: 'robot-1' }];
  const password = PASSWORD;
  test.each([
    ['a user of their own kind', 'POST', '/auth/users', { username: 'robot-1', password, grants: robot }, 201],
    ['a user outside their field', 'POST', '/auth/users', { username: 'human', password, grants: robot }, 403],
    ['a user with more rights', 'POST', '/auth/users', { username: 'robot-2', password, role: 'viewer' }, 403],
    ['a key of their own kind', 'POST', '/auth/keys', { label: 'robot-1', grants: robot }, 201],
    ['a key with more rights', 'POST', '/auth/keys', { label: 'robot-2', role: 'operator' }, 403],
    ['a key outside their field', 'POST', '/auth/keys', { label: 'human', grants: robot }, 403],
    ['a token of their own kind', 'POST', '/auth/tokens', { subject: 'robot-1', ttlS: 60, grants: robot }, 201],
    [
      'a token for more robots',
      'POST',
      '/auth/tokens',
      { subject: 'robot-1', ttlS: 60, grants: [{ verb: 'play', object: 'rob*' }] },
      403,
    ],
    [
      'a token for another verb',
      'POST',
      '/auth/tokens',
      { subject: 'robot-1', ttlS: 60, grants: [{ verb: 'publish', object: 'robot-1' }] },
      403,
    ],
    ['an application that asks for tokens', 'POST', '/auth/applications', { appKey: 'robot-1', policy: 'token' }, 201],
    ['an application open to all', 'POST', '/auth/applications', { appKey: 'robot-2', policy: 'open' }, 403],
    ['an application open to all by a change', 'PUT', '/auth/applications/robot-1', { policy: 'open' }, 403],
    [
      'an application that asks their own server',
      'PUT',
      '/auth/applications/robot-1',
      { policy: 'hook', hookUrl: 'https://hooks.example/' },
      403,
    ],
  ] as const)('a clerk makes %s', async (_name, method, url, body, status) => {
    const { status: actual, json } = await instance.request(method, url, { as: keys.clerk, body });
    expect([actual, json?.error?.code]).toEqual([status, status === 403 ? 'FORBIDDEN' : undefined]);
  });

  test('a clerk can’t set the password of a user who has more rights', async () => {
    await as(keys.operator).post('/auth/users', { username: 'robot-9', password: PASSWORD, role: 'operator' });
    const { status, json } = await as(keys.clerk).put('/auth/users/robot-9', { password: 'another password' });
    expect([status, json.error.fields.missing]).toEqual([403, expect.stringContaining('publish *')]);
  });

  test('a token can’t make one that outlives it', async () => {
    const { json } = await as(keys.operator).post('/auth/tokens', { subject: 'page', role: 'operator', ttlS: 100 });
    const page = as(json.token);
    expect((await page.post('/auth/tokens', { subject: 'x', ttlS: 90 })).status).toBe(201);
    const refused = await page.post('/auth/tokens', { subject: 'x', ttlS: 101 });
    expect([refused.status, Object.keys(refused.json.error.fields)]).toEqual([400, ['ttlS']]);
  });

  test('no token is made for longer than the setting allows, or in the name of a user', async () => {
    const operator = as(keys.operator);
    expect((await operator.post('/auth/tokens', { subject: 'x', ttlS: 30 * 86_400 + 1 })).status).toBe(400);
    expect((await operator.post('/auth/tokens', { subject: 'user:1', ttlS: 60 })).status).toBe(400);
  });
});

describe('tokens', () => {
  const revoked: string[] = [];
  beforeAll(() => {
    client.subscribe(AuthEvents.method.tokenRevoked, ({ tokenId }) => void revoked.push(tokenId));
  });

  const mint = async (body: object = {}) =>
    (await as(keys.operator).post('/auth/tokens', { subject: 'page', role: 'viewer', ttlS: 60, ...body })).json;

  test('made for a page carry exactly the rights that were asked for', async () => {
    const grants = [{ verb: 'publish', object: 'robot-1/front' }];
    const { token, tokenId, expiresAt } = await mint({ role: undefined, grants });
    expect(await access.verifyToken(token)).toEqual({
      subject: 'page',
      tenant: 'acme',
      grants,
      credential: { kind: 'token', tokenId, expiresAtMs: Date.parse(expiresAt) },
    });
  });

  test('have a short pass that is accepted in their place until they are revoked', async () => {
    const { token, pass, tokenId } = await mint();
    expect(pass).toMatch(/^weirp_[\w-]{32}$/);
    // A service that hasn't seen the token asks auth about the pass.
    const elsewhere = new Access({ bus: client, redis: instance.context.redis, log: { warn: () => undefined } });
    const holder = await elsewhere.authenticate(pass);
    expect(holder).toEqual(await access.authenticate(token));
    expect(await access.authenticate(`Bearer ${pass}`)).toEqual(holder);
    const stored = await instance.auth.database.token.findUnique({ where: { id: tokenId } });
    expect(JSON.stringify(stored)).not.toContain(pass);
    await as(keys.operator).post('/auth/revoke', { tokenId });
    const later = new Access({ bus: client, redis: instance.context.redis, log: { warn: () => undefined } });
    expect(await codeOf(later.authenticate(pass))).toBe(ErrorCode.UNAUTHENTICATED);
    // A service that has seen the pass while it was valid hears of its end over the bus.
    for (const one of [access, elsewhere])
      await waitFor(async () => (await codeOf(one.authenticate(pass))) === ErrorCode.UNAUTHENTICATED);
  });

  test('give their holder their pass, even if they were issued before there were passes', async () => {
    const { token, pass, tokenId, expiresAt } = await mint();
    await instance.auth.database.token.update({ where: { id: tokenId }, data: { passHash: null } });
    for (const credential of [token, pass]) {
      const told = await as(credential).post('/auth/passes', undefined);
      expect([told.status, told.json]).toEqual([201, { pass, expiresAt }]);
    }
    expect((await instance.auth.tokens.findByPass(pass)).tokenId).toBe(tokenId);
    expect((await as(keys.operator).post('/auth/passes', undefined)).status).toBe(400);
    expect((await as(`weirp_${'x'.repeat(32)}`).post('/auth/passes', undefined)).status).toBe(401);
  });

  test('are listed while they are valid', async () => {
    const { tokenId } = await mint({ subject: 'listed' });
    const list = async () => (await as(keys.operator).get('/auth/tokens?subject=listed')).json.tokens;
    expect(await list()).toEqual([expect.objectContaining({ tokenId, subject: 'listed' })]);
    await as(keys.operator).post('/auth/revoke', { tokenId });
    expect(await list()).toEqual([]);
  });

  test('stop within two seconds after their holder revokes them, and every service is told', async () => {
    const { token, tokenId } = await mint();
    await access.verifyToken(token);
    expect((await as(token).post('/auth/revoke', {})).json).toEqual({ tokenId });
    await expect.poll(() => codeOf(access.verifyToken(token)), { timeout: 2_000 }).toBe(ErrorCode.UNAUTHENTICATED);
    await expect.poll(() => revoked).toContain(tokenId);
    const lifeMs = await instance.context.redis.pttl(`auth:revoked:${tokenId}`);
    expect(lifeMs).toBeGreaterThan(60_000);
    expect(lifeMs).toBeLessThanOrEqual(120_000);
  });

  test('can be revoked by their holder without a body', async () => {
    const { token } = await mint();
    expect((await instance.request('POST', '/auth/revoke', { as: token })).status).toBe(200);
  });

  test('can’t be revoked by the holder of another token, and an API key must name the token', async () => {
    const [mine, other] = [await mint(), await mint()];
    expect((await as(mine.token).post('/auth/revoke', { tokenId: other.tokenId })).status).toBe(403);
    expect((await as(keys.operator).post('/auth/revoke', {})).status).toBe(400);
    expect((await as(keys.operator).post('/auth/revoke', { tokenId: 'unknown' })).status).toBe(404);
  });

  test('stay revoked when Redis loses its data', async () => {
    const { token, tokenId } = await mint();
    await as(keys.operator).post('/auth/revoke', { tokenId });
    await instance.context.redis.flushall();
    await surroundings.redis.kill();
    await surroundings.redis.restart();
    await expect
      .poll(() => instance.context.redis.exists(`auth:revoked:${tokenId}`).catch(() => 0), {
        timeout: 10_000,
      })
      .toBe(1);
    expect(await codeOf(access.verifyToken(token))).toBe(ErrorCode.UNAUTHENTICATED);
  }, 20_000);

  test('stay revoked when Redis is emptied while it runs', async () => {
    const { token, tokenId } = await mint();
    await as(keys.operator).post('/auth/revoke', { tokenId });
    await instance.context.redis.flushall();
    await expect.poll(() => instance.context.redis.exists(`auth:revoked:${tokenId}`), { timeout: 10_000 }).toBe(1);
    await expect.poll(() => codeOf(access.verifyToken(token)), { timeout: 5_000 }).toBe(ErrorCode.UNAUTHENTICATED);
  }, 20_000);

  test('can’t be revoked without Redis, and the operator is told', async () => {
    const { token, tokenId } = await mint();
    await surroundings.redis.kill();
    expect(await codeOf(instance.auth.tokens.revoke(tokenId))).toBe(ErrorCode.UNAVAILABLE);
    await surroundings.redis.restart();
    await expect.poll(() => codeOf(access.verifyToken(token)), { timeout: 10_000 }).toBe('accepted');
  }, 20_000);

  test('are forgotten an hour after they expire', async () => {
    const { tokenId: old } = await mint();
    const { tokenId: young } = await mint();
    const expire = (id: string, agoMs: number) =>
      instance.auth.database.token.update({ where: { id }, data: { expiresAt: new Date(Date.now() - agoMs) } });
    await expire(old, 61 * 60_000);
    await expire(young, 59 * 60_000);
    await instance.auth.tokens.purge();
    expect(await instance.auth.tokens.find('acme', old)).toBeUndefined();
    expect(await instance.auth.tokens.find('acme', young)).toBeDefined();
  });
});

describe('credentials behind open sessions', () => {
  const endedAmong = async (...refs: CredentialRef[]): Promise<number[]> =>
    (await client.call(Auth.method.findEnded, { credentials: refs.map(credentialRefMessage) })).ended;
  const inAnHourMs = Date.now() + 3_600_000;

  test('are sorted: the revoked, expired and removed ones apart from the valid ones', async () => {
    const operator = as(keys.operator);
    const mint = async () => (await operator.post('/auth/tokens', { subject: 'x', role: 'viewer', ttlS: 600 })).json;
    const newKey = async (label: string) => (await operator.post('/auth/keys', { label, role: 'viewer' })).json;
    const [kept, revoked] = [await mint(), await mint()];
    const [held, removed, expired] = [await newKey('held'), await newKey('removed'), await newKey('expired')];
    await operator.post('/auth/applications', { appKey: 'standing', policy: 'open' });
    await operator.post('/auth/revoke', { tokenId: revoked.tokenId });
    await operator.delete(`/auth/keys/${removed.keyId}`);
    const past = { expiresAt: new Date(Date.now() - 1) };
    await instance.auth.database.apiKey.update({ where: { id: expired.keyId }, data: past });
    const token = ({ tokenId }: { tokenId: string }, expiresAtMs = inAnHourMs) =>
      ({ kind: 'token', tokenId, expiresAtMs }) as const;
    const key = ({ keyId }: { keyId: string }) => ({ kind: 'key', keyId }) as const;
    const application = (appKey: string, tenant: string) => ({ kind: 'application', appKey, tenant }) as const;
    const good = [token(kept), key(held), application('standing', 'acme')];
    const bad = [
      ...[token(revoked), token(kept, Date.now()), key(removed), key(expired)],
      ...[application('standing', 'umbrella'), application('never', 'acme')],
    ];
    expect(await endedAmong(...good, ...bad)).toEqual(bad.map((_ref, index) => good.length + index));
  });

  test('that are keys are announced when they are removed, and tokens live no longer than their key', async () => {
    const told: string[] = [];
    const listening = client.subscribe(AuthEvents.method.keyRemoved, ({ keyId }) => void told.push(keyId));
    const body = { label: 'short', role: 'operator', ttlS: 600 };
    const { key, keyId } = (await as(keys.operator).post('/auth/keys', body)).json;
    expect((await as(key).post('/auth/tokens', { subject: 'x', role: 'viewer', ttlS: 3_600 })).status).toBe(400);
    expect((await as(key).post('/auth/tokens', { subject: 'x', role: 'viewer', ttlS: 300 })).status).toBe(201);
    await as(keys.operator).delete(`/auth/keys/${keyId}`);
    await expect.poll(() => told).toContain(keyId);
    expect(await codeOf(access.authenticate(key))).toBe(ErrorCode.UNAUTHENTICATED);
    await listening.close();
  });
});

test('an unknown path is answered in JSON', async () => {
  const { status, json } = await instance.request('GET', '/auth/nothing');
  expect([status, json.error.code]).toEqual([404, 'NOT_FOUND']);
});
