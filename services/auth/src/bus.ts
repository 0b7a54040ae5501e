import { credentialRefIn } from '@weir/access';
import type { Bus, Registration } from '@weir/bus';
import { ApplicationPolicy, Auth, ErrorCode, WeirError } from '@weir/contracts';
import type { ApiKeys } from './api-keys.js';
import type { Application, Applications } from './applications.js';
import { asWeirError } from '@weir/platform/database';
import type { EndedCredentials } from './ended-credentials.js';
import type { SigningKeys } from './signing-keys.js';
import type { Tokens } from './tokens.js';

export interface BusPorts {
  readonly applications: Applications;
  readonly apiKeys: ApiKeys;
  readonly tokens: Tokens;
  readonly ended: EndedCredentials;
  readonly keys: SigningKeys;
}

const policyOf = (application: Application): ApplicationPolicy => {
  switch (application.policy) {
    case 'OPEN':
      return ApplicationPolicy.OPEN;
    case 'TOKEN':
      return ApplicationPolicy.TOKEN;
    case 'HOOK':
      return ApplicationPolicy.HOOK;
  }
};

const mapped = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw asWeirError(error);
  }
};

/** Answers the questions that other services ask the auth service. */
export const serveBus = (
  bus: Pick<Bus, 'serve'>,
  { applications, apiKeys, tokens, ended, keys }: BusPorts,
): readonly Registration[] => [
  bus.serve(Auth.method.getJwks, () => ({ json: JSON.stringify(keys.jwks) })),
  bus.serve(Auth.method.getApplication, ({ appKey }) =>
    mapped(async () => {
      const application = await applications.find(appKey);
      if (application === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'No such application', { appKey });
      return {
        appKey,
        tenant: application.tenantName,
        policy: policyOf(application),
        hookUrl: application.hookUrl ?? '',
        hookSecret: application.hookSecret ?? '',
      };
    }),
  ),
  bus.serve(Auth.method.verifyApiKey, ({ key }) =>
    mapped(async () => {
      const { subject, tenant, grants, expiresAtMs } = await apiKeys.verify(key);
      return {
        subject,
        tenant,
        grants: grants.map(({ verb, object }) => ({ verb, object })),
        expiresAtMs: BigInt(expiresAtMs),
      };
    }),
  ),
  bus.serve(Auth.method.verifyPass, ({ pass }) =>
    mapped(async () => {
      const { subject, tenant, grants, tokenId, expiresAt } = await tokens.findByPass(pass);
      return {
        ...{ subject, tenant, tokenId },
        grants: grants.map(({ verb, object }) => ({ verb, object })),
        expiresAtMs: BigInt(expiresAt.getTime()),
      };
    }),
  ),
  bus.serve(Auth.method.findEnded, ({ credentials }) =>
    mapped(async () => ({ ended: await ended.among(credentials.map(credentialRefIn)) })),
  ),
];
