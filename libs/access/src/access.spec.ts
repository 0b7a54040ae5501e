import { Bus, type Registration } from '@weir/bus';
import { Auth, ErrorCode, WeirError } from '@weir/contracts';
import { startNats, startRedis, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import {
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  SignJWT,
  UnsecuredJWT,
  type JWK,
  type JWTPayload,
} from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Access } from './access.js';
import { passOf } from './pass.js';
import { revocationKey } from './revocations.js';

interface Key {
  readonly kid: string;
  readonly jwk: JWK;
  readonly privateKey: Awaited<ReturnType<typeof generateKeyPair>>['privateKey'];
}

const newKey = async (): Promise<Key> => {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(jwk);
  return { kid, jwk: { ...jwk, kid, alg: 'EdDSA', use: 'sig' }, privateKey };
};

const START_S = 1_900_000_000;
const PASS = `weirp_${'p'.repeat(32)}`;
const API_KEY = `weir_abcdefghijkl_${'x'.repeat(43)}`;

let nats: TestServer;
let redisServer: TestServer;
let bus: Bus;
let redis: Redis;
let key: Key;

/** The keys that the auth service answers with. */
let published: Key[];
let fetches: number;
let keyQuestions: number;
let passQuestions: number;
let served: Registration[];
let nowMs: number;
let access: Access;

const claims = (changes: JWTPayload = {}): JWTPayload => ({
  iss: 'weir',
  aud: 'weir',
  sub: 'user:1',
  tenant: 'acme',
  jti: crypto.randomUUID(),
  iat: START_S,
  exp: START_S + 600,
  grants: [{ verb: 'publish', object: 'robot1/*' }],
  ...changes,
});

const sign = (payload: JWTPayload, by = key): Promise<string> =>
  new SignJWT(payload).setProtectedHeader({ alg: 'EdDSA', kid: by.kid }).sign(by.privateKey);

const codeOf = async (work: Promise<unknown>): Promise<ErrorCode | 'accepted'> => {
  try {
    await work;
    return 'accepted';
  } catch (error) {
    if (error instanceof WeirError) return error.code;
    throw error;
  }
};

const serve = (): Registration[] => [
  bus.serve(Auth.method.getJwks, () => {
    fetches++;
    return { json: JSON.stringify({ keys: published.map(({ jwk }) => jwk) }) };
  }),
  bus.serve(Auth.method.verifyApiKey, (request) => {
    keyQuestions++;
    if (request.key !== API_KEY) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'unknown');
    return { subject: 'key:abcdefghijkl', tenant: 'acme', grants: [{ verb: 'administer', object: '*' }] };
  }),
  bus.serve(Auth.method.verifyPass, ({ pass }) => {
    passQuestions++;
    if (pass !== PASS) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'unknown');
    const grants = [{ verb: 'play', object: '*' }];
    const expiresAtMs = BigInt((START_S + 600) * 1_000);
    return { subject: 'user:2', tenant: 'acme', grants, tokenId: 'token-2', expiresAtMs };
  }),
];

const stopServing = (): Promise<unknown> => Promise.all(served.map((registration) => registration.close()));

beforeAll(async () => {
  [nats, redisServer, key] = await Promise.all([startNats(), startRedis(), newKey()]);
  bus = await Bus.connect({ url: nats.url, service: 'access', instanceId: 'access-1' });
  redis = new Redis(redisServer.url, { maxRetriesPerRequest: 1, retryStrategy: () => 50 });
  // Emitted once for each test that kills the server; without a listener it would end the process.
  redis.on('error', () => undefined);
}, 60_000);

afterAll(async () => {
  redis.disconnect();
  await bus.drain();
  await Promise.all([nats.stop(), redisServer.stop()]);
});

beforeEach(() => {
  published = [key];
  fetches = 0;
  keyQuestions = 0;
  passQuestions = 0;
  nowMs = START_S * 1000;
  served = serve();
  access = new Access({ bus, redis, log: { warn: () => undefined }, nowMs: () => nowMs });
});

afterEach(stopServing);

describe('verifyToken', () => {
  test('tells who the holder is and what the holder may do', async () => {
    const payload = claims({ jti: 'token-1' });
    expect(await access.verifyToken(await sign(payload))).toEqual({
      subject: 'user:1',
      tenant: 'acme',
      grants: [{ verb: 'publish', object: 'robot1/*' }],
      credential: { kind: 'token', tokenId: 'token-1', expiresAtMs: (START_S + 600) * 1000 },
    });
  });

  test.each([
    ['of another issuer', { iss: 'elsewhere' }],
    ['for another audience', { aud: 'elsewhere' }],
    ['that has expired', { exp: START_S - 6 }],
    ['that never expires', { exp: undefined }],
    ['that is not valid yet', { nbf: START_S + 60 }],
    ['without an id', { jti: undefined }],
    ['without a subject', { sub: undefined }],
    ['without a tenant', { tenant: undefined }],
    ['with a tenant that is not a string', { tenant: 7 }],
    ['with grants that are not a list', { grants: 'all' }],
    ['without grants', { grants: undefined }],
  ])('refuses a token %s', async (_name, changes) => {
    expect(await codeOf(access.verifyToken(await sign(claims(changes))))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('forgives clocks that differ by a few seconds', async () => {
    expect(await codeOf(access.verifyToken(await sign(claims({ exp: START_S - 4 }))))).toBe('accepted');
  });

  test('refuses an unsigned token, one that a stranger signed and one whose key is a shared secret', async () => {
    const stranger = await newKey();
    const secret = new TextEncoder().encode(JSON.stringify(key.jwk));
    const tokens = [
      new UnsecuredJWT(claims()).encode(),
      await sign(claims(), { ...stranger, kid: key.kid }),
      await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', kid: key.kid }).sign(secret),
    ];
    for (const token of tokens) expect(await codeOf(access.verifyToken(token))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('refuses a token that was changed', async () => {
    const [header = '', , signature = ''] = (await sign(claims())).split('.');
    const payload = Buffer.from(JSON.stringify(claims({ tenant: 'other' }))).toString('base64url');
    expect(await codeOf(access.verifyToken(`${header}.${payload}.${signature}`))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test.each(['', 'a', 'a.b.c', '..', '💥.💥.💥'])('refuses the nonsense %j', async (token) => {
    expect(await codeOf(access.verifyToken(token))).toBe(ErrorCode.UNAUTHENTICATED);
  });
});

describe('the keys', () => {
  test('are asked for once, however many tokens arrive together', async () => {
    const tokens = await Promise.all(Array.from({ length: 20 }, () => sign(claims())));
    await Promise.all(tokens.map((token) => access.verifyToken(token)));
    expect(fetches).toBe(1);
  });

  test('are asked for again when a token names one that is not among them', async () => {
    await access.verifyToken(await sign(claims()));
    const next = await newKey();
    published = [next, key];
    nowMs += 3_000;
    expect(await codeOf(access.verifyToken(await sign(claims(), next)))).toBe('accepted');
    expect(await codeOf(access.verifyToken(await sign(claims())))).toBe('accepted');
    expect(fetches).toBe(2);
  });

  test('are not asked for each time a stranger invents a key', async () => {
    const strangers = await Promise.all(Array.from({ length: 10 }, newKey));
    for (const stranger of strangers) await codeOf(access.verifyToken(await sign(claims(), stranger)));
    expect(fetches).toBe(1);
    nowMs += 3_000;
    for (const stranger of strangers) await codeOf(access.verifyToken(await sign(claims(), stranger)));
    expect(fetches).toBe(2);
  });

  test('that are taken out of the set stop verifying', async () => {
    await access.verifyToken(await sign(claims()));
    published = [await newKey()];
    nowMs += 60_001;
    // The first verification after that time starts the request and doesn't wait for the answer.
    await access.verifyToken(await sign(claims()));
    await expect.poll(async () => codeOf(access.verifyToken(await sign(claims())))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('stay in use while the auth service is away', async () => {
    await access.verifyToken(await sign(claims()));
    await stopServing();
    nowMs += 120_000;
    expect(await codeOf(access.verifyToken(await sign(claims())))).toBe('accepted');
    const stranger = await newKey();
    expect(await codeOf(access.verifyToken(await sign(claims(), stranger)))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('that were never received make every token UNAVAILABLE until the auth service is back', async () => {
    await stopServing();
    expect(await codeOf(access.verifyToken(await sign(claims())))).toBe(ErrorCode.UNAVAILABLE);
    served = serve();
    expect(await codeOf(access.verifyToken(await sign(claims())))).toBe('accepted');
  });
});

describe('revocation', () => {
  test('takes effect within a second', async () => {
    const payload = claims();
    const token = await sign(payload);
    await access.verifyToken(token);
    await redis.set(revocationKey(String(payload.jti)), '1', 'PX', 60_000);
    nowMs += 1_000;
    expect(await codeOf(access.verifyToken(token))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('is looked up only once a second for a token in constant use', async () => {
    let questions = 0;
    const counting = {
      exists: (name: string) => {
        questions++;
        return redis.exists(name);
      },
    };
    access = new Access({ bus, redis: counting, log: { warn: () => undefined }, nowMs: () => nowMs });
    const token = await sign(claims());
    for (let i = 0; i < 10; i++) await access.verifyToken(token);
    nowMs += 1_000;
    for (let i = 0; i < 10; i++) await access.verifyToken(token);
    expect(questions).toBe(2);
  });

  test('cannot be looked up while Redis is away: the token counts as unchecked until Redis is back', async () => {
    const token = await sign(claims());
    await redisServer.kill();
    expect(await codeOf(access.verifyToken(token))).toBe(ErrorCode.UNAVAILABLE);
    await redisServer.restart();
    await expect.poll(() => codeOf(access.verifyToken(token)), { timeout: 5_000 }).toBe('accepted');
  }, 20_000);

  test('is unknown when Redis does not answer', async () => {
    const silent = { exists: () => new Promise<number>(() => undefined) };
    access = new Access({ bus, redis: silent, log: { warn: () => undefined }, nowMs: () => nowMs });
    expect(await codeOf(access.verifyToken(await sign(claims())))).toBe(ErrorCode.UNAVAILABLE);
  });
});

describe('API keys', () => {
  test('are asked about at most once a second', async () => {
    const expected = {
      subject: 'key:abcdefghijkl',
      tenant: 'acme',
      grants: [{ verb: 'administer', object: '*' }],
      credential: { kind: 'key' },
    };
    expect(await access.verifyApiKey(API_KEY)).toEqual(expected);
    expect(await access.authenticate(`Bearer ${API_KEY}`)).toEqual(expected);
    expect(keyQuestions).toBe(1);
    nowMs += 1_000;
    await access.verifyApiKey(API_KEY);
    expect(keyQuestions).toBe(2);
  });

  test('are refused when unknown or malformed; auth is not even asked about malformed ones', async () => {
    const unknown = API_KEY.replaceAll('x', 'y');
    expect(await codeOf(access.verifyApiKey(unknown))).toBe(ErrorCode.UNAUTHENTICATED);
    expect(await codeOf(access.verifyApiKey('weir_short'))).toBe(ErrorCode.UNAUTHENTICATED);
    expect(keyQuestions).toBe(1);
  });

  test('cannot be checked without the auth service', async () => {
    await stopServing();
    expect(await codeOf(access.verifyApiKey(API_KEY))).toBe(ErrorCode.UNAVAILABLE);
  });
});

describe('a pass', () => {
  test('is short enough for ffmpeg, which keeps 127 characters of user name and password', async () => {
    expect(passOf(await sign(claims())).length).toBeLessThan(100);
  });

  test('of a token that was seen here works even while auth is away', async () => {
    const token = await sign(claims());
    const holder = await access.authenticate(token);
    await stopServing();
    expect(await access.authenticate(passOf(token))).toEqual(holder);
    expect(await codeOf(access.authenticate(PASS))).toBe(ErrorCode.UNAVAILABLE);
  });

  test('of a token that was not seen here is asked about once, and ends with its token', async () => {
    const expected = {
      subject: 'user:2',
      tenant: 'acme',
      grants: [{ verb: 'play', object: '*' }],
      credential: { kind: 'token', tokenId: 'token-2', expiresAtMs: (START_S + 600) * 1_000 },
    };
    expect(await access.authenticate(PASS)).toEqual(expected);
    nowMs += 599_000;
    expect(await access.authenticate(PASS)).toEqual(expected);
    expect(passQuestions).toBe(1);
    nowMs += 1_000;
    await access.authenticate(PASS);
    expect(passQuestions).toBe(2);
    expect(await codeOf(access.authenticate(`weirp_${'q'.repeat(32)}`))).toBe(ErrorCode.UNAUTHENTICATED);
  });

  test('ends when its token is revoked', async () => {
    const token = await sign(claims({ jti: 'token-3' }));
    await access.authenticate(token);
    nowMs += 1_000;
    await redis.set(revocationKey('token-3'), '1', 'PX', 60_000);
    expect(await codeOf(access.authenticate(passOf(token)))).toBe(ErrorCode.UNAUTHENTICATED);
  });
});

test('authenticate takes a token with or without "Bearer", and nothing longer than 8 KiB', async () => {
  const token = await sign(claims());
  expect((await access.authenticate(token)).subject).toBe('user:1');
  expect((await access.authenticate(`bearer ${token}`)).subject).toBe('user:1');
  expect(await codeOf(access.authenticate('a'.repeat(8193)))).toBe(ErrorCode.UNAUTHENTICATED);
});
