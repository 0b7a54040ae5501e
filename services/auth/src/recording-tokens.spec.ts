import { grantsOfRole, RecordingAccess } from '@weir/access';
import { ErrorCode } from '@weir/contracts';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { generateApiKey } from './api-keys.js';
import { AuthInstance, startSurroundings, type Surroundings } from './testing/auth-instance.js';

let surroundings: Surroundings;
let instance: AuthInstance;
let access: RecordingAccess;
let operator: string;
let masterKey: string;
let masterKeyId: string;

beforeAll(async () => {
  surroundings = await startSurroundings();
  instance = await AuthInstance.start(surroundings.env);
  const { bus, redis, log } = instance.context;
  access = new RecordingAccess({ bus, redis, log });
  await instance.auth.database.tenant.create({ data: { name: 'acme' } });
  const grants = grantsOfRole('operator');
  operator = (await instance.auth.apiKeys.create({ tenant: 'acme', label: 'operator', grants })).key;
}, 60_000);

afterAll(async () => {
  await instance.stop();
  await surroundings.stop();
});

beforeEach(async () => {
  await instance.context.redis.flushall();
  const label = `recording ${crypto.randomUUID()}`;
  const made = await instance.request('POST', '/auth/keys', { as: operator, body: { label, apiId: 'doors' } });
  ({ key: masterKey, keyId: masterKeyId } = made.json);
});

const ask = (kind: string, body: object, from = '192.0.2.1') =>
  instance.request('POST', `/auth_v2/${kind}`, { body: { master_key: masterKey, ...body }, from });

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'accepted',
    (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
  );

describe('a master key makes', () => {
  test('the token of a client, for a day, which opens recording and nothing else', async () => {
    const { status, json } = await ask('client', { client_id: 'client-0' });
    expect([status, Object.keys(json)]).toEqual([201, ['auth_token']]);
    const claims = decodeJwt(json.auth_token);
    expect(claims).toMatchObject({ sub: 'client-0', kind: 'client', api_id: 'doors', tenant: 'acme' });
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(86_400);
    expect(await access.authenticate(json.auth_token)).toEqual({
      ...{ tag: 'client', clientId: 'client-0', tenant: 'acme', apiId: 'doors' },
      credential: { kind: 'token', tokenId: claims.jti, expiresAtMs: (claims.exp ?? 0) * 1000 },
    });
    expect((await instance.request('GET', '/auth/keys', { as: json.auth_token })).status).toBe(401);
  });

  test('the token of a supervisor, for one client', async () => {
    const body = { client_id: 'guard', client_to_monitor: 'client-0', token_ttl_s: 60 };
    const { json } = await ask('supervisor', body);
    expect(await access.authenticate(json.auth_token)).toMatchObject({
      tag: 'supervisor',
      clientId: 'guard',
      monitor: 'client-0',
    });
    expect((await ask('supervisor', { client_id: 'guard' })).json.error).toMatchObject({
      code: 'INVALID',
      fields: { client_to_monitor: expect.any(String) },
    });
  });

  test('the token for the stats, with or without a client_id', async () => {
    for (const body of [{}, { client_id: 'backend' }]) {
      const { status, json } = await ask('stats', body);
      expect(status).toBe(201);
      expect(await access.authenticate(json.auth_token)).toMatchObject({ tag: 'stats', apiId: 'doors' });
    }
  });

  test('tokens from a body of any content type', async () => {
    for (const type of ['application/x-www-form-urlencoded', 'text/plain;charset=UTF-8']) {
      const body = { master_key: masterKey, client_id: 'client-0' };
      const answer = await instance.request('POST', '/auth_v2/client', { body, headers: { 'content-type': type } });
      expect(answer.status).toBe(201);
    }
  });

  test('no token that lives longer than the platform or the key allows', async () => {
    expect((await ask('client', { client_id: 'c', token_ttl_s: 100 * 86_400 })).json.error).toMatchObject({
      code: 'INVALID',
      fields: { token_ttl_s: expect.stringMatching(/^at most \d+$/) },
    });
    const body = { label: 'short', apiId: 'doors', ttlS: 600 };
    masterKey = (await instance.request('POST', '/auth/keys', { as: operator, body })).json.key;
    expect((await ask('client', { client_id: 'c' })).status).toBe(400);
    expect((await ask('client', { client_id: 'c', token_ttl_s: 300 })).status).toBe(201);
  });
});

test.each([
  ['no client_id', {}],
  ['an empty client_id', { client_id: '' }],
  ['a client_id that is too long', { client_id: 'x'.repeat(257) }],
  ['a client_id that is a number', { client_id: 7 }],
  ['no master key', { client_id: 'c', master_key: undefined }],
])('a request with %s is refused with 400', async (_what, body) => {
  const { status, json } = await ask('client', body);
  expect([status, json.error.code]).toEqual([400, 'INVALID']);
});

describe('a key of the wrong kind', () => {
  test('makes no token: an unknown master key, an ordinary API key, nonsense', async () => {
    for (const master_key of [generateApiKey(), operator, 'nonsense']) {
      const { status, json } = await ask('client', { client_id: 'c', master_key });
      expect([status, json.error.code]).toEqual([401, 'UNAUTHENTICATED']);
    }
  });

  test('opens nothing else: a master key is no API key', async () => {
    expect((await instance.request('GET', '/auth/keys', { as: masterKey })).status).toBe(401);
  });

  test("opens no recording: an ordinary token isn't one for recording", async () => {
    const body = { subject: 'page', role: 'operator', ttlS: 600 };
    const { token } = (await instance.request('POST', '/auth/tokens', { as: operator, body })).json;
    expect(await codeOf(access.authenticate(token))).toBe(ErrorCode.UNAUTHENTICATED);
    expect(await codeOf(access.authenticate('nonsense'))).toBe(ErrorCode.UNAUTHENTICATED);
  });
});

describe('wrong master keys', () => {
  test('make their address wait, also with the right key, and no other address', async () => {
    const master_key = generateApiKey();
    const statuses: number[] = [];
    for (let i = 0; i < 7; i++) statuses.push((await ask('client', { client_id: 'c', master_key })).status);
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429, 429]);
    const waiting = await ask('client', { client_id: 'c' });
    expect([waiting.status, Number(waiting.headers['retry-after'])]).toEqual([429, expect.any(Number)]);
    expect(waiting.json.error.code).toBe('EXHAUSTED');
    expect((await ask('client', { client_id: 'c' }, '192.0.2.2')).status).toBe(201);
  });

  test('are counted, right ones are not: a backend makes many tokens at the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => ask('client', { client_id: `c${i}` })));
    expect(answers.map(({ status }) => status)).toEqual(Array(40).fill(201));
  });
});

describe('the operator', () => {
  test('lists master keys with their api_id, and never with the key', async () => {
    const { json } = await instance.request('GET', '/auth/keys', { as: operator });
    expect(json.keys).toContainEqual(expect.objectContaining({ keyId: masterKeyId, apiId: 'doors', grants: [] }));
    expect(JSON.stringify(json)).not.toContain(masterKey);
  });

  test('removes a master key, and with it the tokens that it made', async () => {
    const { auth_token: token } = (await ask('client', { client_id: 'client-0' })).json;
    await access.authenticate(token);
    expect((await instance.request('DELETE', `/auth/keys/${masterKeyId}`, { as: operator })).status).toBe(204);
    expect((await ask('client', { client_id: 'client-0' })).status).toBe(401);
    await expect.poll(() => codeOf(access.authenticate(token))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test("can't make a master key with rights of its own, or without the rights that it gives", async () => {
    const withRole = { label: 'x', apiId: 'doors', role: 'operator' };
    expect((await instance.request('POST', '/auth/keys', { as: operator, body: withRole })).status).toBe(400);
    const grants = [{ verb: 'administer', object: '*' }];
    const clerk = (await instance.request('POST', '/auth/keys', { as: operator, body: { label: 'clerk', grants } }))
      .json;
    const refused = await instance.request('POST', '/auth/keys', {
      as: clerk.key,
      body: { label: 'y', apiId: 'doors' },
    });
    expect([refused.status, refused.json.error.fields.missing]).toEqual([
      403,
      'publish recordings/*, record recordings/*, play recordings/*',
    ]);
  });
});
