import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { calculateJwkThumbprint, exportJWK, SignJWT, type JWTPayload } from 'jose';
import type { PublicJwk } from './operator-body.js';

interface PublicKey {
  readonly id: string;
  readonly jwk: PublicJwk;
}

const PEM_BLOCK = /-----BEGIN (PRIVATE|PUBLIC) KEY-----[\s\S]+?-----END \1 KEY-----/g;

const publicKeyOf = async (key: KeyObject): Promise<PublicKey> => {
  if (key.asymmetricKeyType !== 'ed25519')
    throw new Error(`it holds a key of type ${key.asymmetricKeyType} instead of ed25519`);
  const { kty, crv, x } = await exportJWK(key.type === 'private' ? createPublicKey(key) : key);
  const jwk = { kty: kty ?? '', crv: crv ?? '', x: x ?? '' };
  const id = await calculateJwkThumbprint(jwk);
  return { id, jwk: { ...jwk, kid: id, alg: 'EdDSA', use: 'sig' } };
};

/**
 * The platform's keys for tokens. A key's id is its RFC 7638 thumbprint, so every instance gives it the same id.
 * To replace a key, add the new one in second place and restart; then move it to first place and restart; remove the
 * old one when its last token has expired.
 */
export class SigningKeys {
  private constructor(
    private readonly signer: KeyObject,
    private readonly signerId: string,
    /** RFC 7517; public parts only. */
    readonly jwks: { readonly keys: readonly PublicJwk[] },
  ) {}

  /** Throws, naming the file, if it can't be read, holds no private key or holds a key that isn't Ed25519. */
  static async load(file: string): Promise<SigningKeys> {
    try {
      return await SigningKeys.parse(await readFile(file, 'utf8'));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`The signing keys in ${file} can't be used: ${reason}`, { cause });
    }
  }

  static async parse(pem: string): Promise<SigningKeys> {
    const keys = [...pem.matchAll(PEM_BLOCK)].map(([block, kind]) =>
      kind === 'PRIVATE' ? createPrivateKey(block) : createPublicKey(block),
    );
    const signer = keys.find((key) => key.type === 'private');
    if (signer === undefined) throw new Error('it holds no "PRIVATE KEY" in PEM form');
    const publicKeys = await Promise.all(keys.map(publicKeyOf));
    const { id } = await publicKeyOf(signer);
    const unique = new Map(publicKeys.map((key) => [key.id, key.jwk]));
    return new SigningKeys(signer, id, { keys: [...unique.values()] });
  }

  sign(claims: JWTPayload): Promise<string> {
    return new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', kid: this.signerId, typ: 'JWT' }).sign(this.signer);
  }
}
