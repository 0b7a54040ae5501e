import { randomUUID } from 'node:crypto';
import { TOKEN_AUDIENCE, TOKEN_ISSUER } from '@weir/access';
import { Bus } from '@weir/bus';
import { Auth, AuthEvents, ErrorCode, WeirError, type CredentialRef } from '@weir/contracts';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose';

export interface GrantText {
  readonly verb: string;
  readonly object: string;
}

export const everything: readonly GrantText[] = ['publish', 'play', 'relay', 'record', 'command'].map((verb) => ({
  verb,
  object: '*',
}));

const idOf = (key: string): string => key.slice(5, 17);

export const ofRobot = (robotId: string): readonly GrantText[] => [{ verb: 'publish', object: `${robotId}/*` }];

/** A stand-in for the auth service, as its contract describes it: the key that signs tokens, and API keys. */
export class FakeAuth {
  readonly #keys = new Map<string, { tenant: string; grants: readonly GrantText[] }>();

  private constructor(
    readonly bus: Bus,
    private readonly sign: (claims: Record<string, unknown>, life: string) => Promise<string>,
    jwks: string,
  ) {
    bus.serve(Auth.method.getJwks, () => ({ json: jwks }));
    bus.serve(Auth.method.findEnded, ({ credentials }) => {
      const live = new Set([...this.#keys.keys()].map(idOf));
      const hasEnded = ({ kind }: CredentialRef) => kind.case === 'key' && !live.has(kind.value.keyId);
      return { ended: credentials.flatMap((ref, index) => (hasEnded(ref) ? [index] : [])) };
    });
    bus.serve(Auth.method.verifyApiKey, ({ key }) => {
      const found = this.#keys.get(key);
      if (found === undefined) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'no such key');
      return { subject: `key:${idOf(key)}`, tenant: found.tenant, grants: [...found.grants] };
    });
  }

  static async start(natsUrl: string): Promise<FakeAuth> {
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
    return new FakeAuth(bus, sign, jwks);
  }

  async token(grants: readonly GrantText[] = everything, { tenant = 'demo', life = '10m' } = {}): Promise<string> {
    return this.sign({ sub: 'user:1', jti: randomUUID(), tenant, grants }, life);
  }

  async mint(grants: readonly GrantText[]): Promise<{ readonly token: string; readonly tokenId: string }> {
    const tokenId = randomUUID();
    return { token: await this.sign({ sub: 'user:1', jti: tokenId, tenant: 'demo', grants }, '10m'), tokenId };
  }

  /** Makes an API key. */
  key(grants: readonly GrantText[], tenant = 'demo'): string {
    const id = randomUUID().replace(/-/g, '');
    const key = `weir_${id.slice(0, 12)}_${'x'.repeat(43)}`;
    this.#keys.set(key, { tenant, grants });
    return key;
  }

  removeKey(key: string): void {
    this.#keys.delete(key);
  }

  revoked(tokenId: string): void {
    this.bus.publish(AuthEvents.method.tokenRevoked, { tokenId });
  }

  async stop(): Promise<void> {
    await this.bus.drain({ graceMs: 200 });
  }
}
