import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { credentialRefIn, TOKEN_AUDIENCE, TOKEN_ISSUER } from '@weir/access';
import { Bus } from '@weir/bus';
import { ApplicationPolicy, Auth, AuthEvents, ErrorCode, WeirError, type ApplicationSchema } from '@weir/contracts';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose';

type ApplicationInit = MessageInitShape<typeof ApplicationSchema> & { appKey: string };
type Grants = readonly { verb: string; object: string }[];

export interface MintedToken {
  readonly token: string;
  readonly tokenId: string;
}

/** An auth service that keeps the contract, with applications and the key that signs tokens. */
export class FakeAuth {
  readonly applications = new Map<string, ApplicationInit>();
  asked = 0;

  private constructor(
    readonly bus: Bus,
    private readonly sign: (claims: Record<string, unknown>, life: string) => Promise<string>,
    jwks: string,
  ) {
    bus.serve(Auth.method.getApplication, ({ appKey }) => {
      this.asked += 1;
      const application = this.applications.get(appKey);
      if (application === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such application');
      return application;
    });
    bus.serve(Auth.method.findEnded, ({ credentials }) => ({
      ended: credentials.flatMap((message, index) => {
        const ref = credentialRefIn(message);
        return ref?.kind === 'application' && !this.applications.has(ref.appKey) ? [index] : [];
      }),
    }));
    bus.serve(Auth.method.getJwks, () => ({ json: jwks }));
    bus.serve(Auth.method.verifyApiKey, () => {
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'no such key');
    });
    this.set({ appKey: 'defaultApp', tenant: 'demo', policy: ApplicationPolicy.OPEN });
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

  set(application: ApplicationInit): void {
    this.applications.set(application.appKey, application);
    this.bus.publish(AuthEvents.method.applicationChanged, { appKey: application.appKey });
  }

  remove(appKey: string): void {
    this.applications.delete(appKey);
    this.bus.publish(AuthEvents.method.applicationChanged, { appKey });
  }

  async token(grants: Grants, tenant = 'demo', life = '10m'): Promise<MintedToken> {
    const tokenId = randomUUID();
    const token = await this.sign({ sub: 'user:1', jti: tokenId, tenant, grants }, life);
    return { token, tokenId };
  }

  revoked(tokenId: string): void {
    this.bus.publish(AuthEvents.method.tokenRevoked, { tokenId });
  }

  async stop(): Promise<void> {
    await this.bus.drain({ graceMs: 200 });
  }
}
