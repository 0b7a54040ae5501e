import { randomUUID } from 'node:crypto';
import { revocationKey, TOKEN_AUDIENCE, TOKEN_ISSUER } from '@weir/access';
import { Bus } from '@weir/bus';
import { Auth, ErrorCode, WeirError } from '@weir/contracts';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { Redis } from 'ioredis';

export interface MintedToken {
  readonly token: string;
  readonly tokenId: string;
}

/** An auth service that keeps the contract, with the key that signs tokens and one API key. */
export class FakeAuth {
  readonly apiKey = `weir_abcdefghijkl_${'A'.repeat(43)}`;

  private constructor(
    readonly bus: Bus,
    private readonly redis: Redis,
    private readonly sign: (claims: Record<string, unknown>, life: string) => Promise<string>,
    jwks: string,
  ) {
    bus.serve(Auth.method.getJwks, () => ({ json: jwks }));
    bus.serve(Auth.method.verifyApiKey, ({ key }) => {
      if (key !== this.apiKey) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'no such key');
      return { subject: 'key:1', tenant: 'demo', grants: [{ verb: 'play', object: '*' }] };
    });
  }

  static async start(natsUrl: string, redisUrl: string): Promise<FakeAuth> {
    const bus = await Bus.connect({ url: natsUrl, service: 'auth', instanceId: 'auth-fake' });
    const { publicKey, privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
    const jwk = await exportJWK(publicKey);
    const kid = await calculateJwkThumbprint(jwk);
    const jwks = JSON.stringify({ keys: [{ ...jwk, kid, alg: 'EdDSA', use: 'sig' }] });
    const sign = (claims: Record<string, unknown>, life: string) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'EdDSA', kid })
        .setIssuer(TOKEN_ISSUER)
        .setAudience(TOKEN_AUDIENCE)
        .setIssuedAt()
        .setExpirationTime(life)
        .sign(privateKey);
    const redis = new Redis(redisUrl);
    redis.on('error', () => undefined); // tests stop Redis
    return new FakeAuth(bus, redis, sign, jwks);
  }

  async mint({ play = ['*'], tenant = 'demo', life = '10m' } = {}): Promise<MintedToken> {
    const tokenId = randomUUID();
    const grants = play.map((object) => ({ verb: 'play', object }));
    return { token: await this.sign({ sub: 'user:1', jti: tokenId, tenant, grants }, life), tokenId };
  }

  async token(options: { play?: string[]; tenant?: string; life?: string } = {}): Promise<string> {
    return (await this.mint(options)).token;
  }

  async revoke(tokenId: string): Promise<void> {
    await this.redis.set(revocationKey(tokenId), '1', 'EX', 600);
  }

  async stop(): Promise<void> {
    await this.bus.drain({ graceMs: 200 });
    this.redis.disconnect();
  }
}
