import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { expect, test } from 'vitest';
import { SigningKeys } from './signing-keys.js';

const pair = () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
};

test('the first private key signs and every key verifies', async () => {
  const [first, second, retired] = [pair(), pair(), pair()];
  const before = await SigningKeys.parse(retired.privatePem);
  const keys = await SigningKeys.parse(retired.publicPem + first.privatePem + second.privatePem);
  const verify = createLocalJWKSet({ keys: [...keys.jwks.keys] });

  const token = await keys.sign({ sub: 'x' });
  expect((await jwtVerify(token, verify)).payload.sub).toBe('x');
  const alone = await SigningKeys.parse(first.privatePem);
  expect(decodeProtectedHeader(token).kid).toBe(alone.jwks.keys[0]?.kid);
  expect((await jwtVerify(await before.sign({ sub: 'old' }), verify)).payload.sub).toBe('old');
});

test('publishes the public parts and nothing else', async () => {
  const keys = await SigningKeys.parse(pair().privatePem);
  expect(keys.jwks.keys).toEqual([
    { kty: 'OKP', crv: 'Ed25519', x: expect.any(String), kid: expect.any(String), alg: 'EdDSA', use: 'sig' },
  ]);
});

test('every instance gives a key the same id, the thumbprint of RFC 7638', async () => {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
  const { createPublicKey } = await import('node:crypto');
  const publicPem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }).toString();
  const keys = await SigningKeys.parse(pair().privatePem + publicPem);
  // The example of RFC 8037, appendix A.3.
  expect(keys.jwks.keys[1]?.kid).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
});

test('a key that is listed twice is published once', async () => {
  const { privatePem, publicPem } = pair();
  expect((await SigningKeys.parse(privatePem + publicPem)).jwks.keys).toHaveLength(1);
});

test.each([
  ['nothing', ''],
  ['only a public key', pair().publicPem],
  [
    'an RSA key',
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
  ],
  ['a damaged key', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'],
])('a file with %s is refused, and the error names the file', async (_name, pem) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'weir-keys-'));
  const file = path.join(folder, 'keys.pem');
  try {
    await writeFile(file, pem);
    await expect(SigningKeys.load(file)).rejects.toThrow(file);
  } finally {
    await rm(folder, { recursive: true });
  }
});
