import { grantsOfRole, MAX_PATTERN_LENGTH, objectPattern, ROLES, VERBS, type Grant } from '@weir/access';
import { z } from 'zod';
import { APP_KEY_PATTERN } from './applications.js';
import { MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH } from './passwords.js';

const MAX_GRANTS = 100;
const DEFAULT_LIST_LIMIT = 100;
const MAX_LIST_LIMIT = 1000;
/** A hundred years. A key that must live longer is made without a limit. */
const MAX_KEY_TTL_S = 100 * 366 * 24 * 60 * 60;

const appKey = z.string().regex(APP_KEY_PATTERN, '1 to 128 of A-Z, a-z, 0-9, ".", "_" and "-"');
const username = z.string().trim().min(1).max(256);
const password = z.string().min(MIN_PASSWORD_LENGTH).max(MAX_PASSWORD_LENGTH);
const label = z.string().trim().min(1).max(100);
/** Colons are reserved for the subjects that the platform itself makes. */
const subject = z.string().regex(/^[^\s:]{1,200}$/, '1 to 200 characters, no white space and no colon');

const grantSchema = z
  .strictObject({ verb: z.enum(VERBS), object: z.string().min(1).max(MAX_PATTERN_LENGTH) })
  .transform(({ verb, object }): Grant => ({ verb, object: objectPattern(object) }));

const storedGrants = z.array(z.strictObject({ verb: z.enum(VERBS), object: z.string() })).readonly();
const time = z.iso.datetime();

/** Rights are given one by one, by a role, or both. */
const rights = {
  role: z.enum(ROLES).optional(),
  grants: z.array(grantSchema).max(MAX_GRANTS).optional(),
};

export const grantsIn = ({ role, grants }: { role?: (typeof ROLES)[number]; grants?: Grant[] }): Grant[] | undefined =>
  role === undefined ? grants : [...grantsOfRole(role), ...(grants ?? [])];

const hookUrl = z.url({ protocol: /^https?$/, error: 'an absolute http or https URL' }).max(2048);
const policies = [
  z.strictObject({ policy: z.literal('open') }),
  z.strictObject({ policy: z.literal('token') }),
  z.strictObject({ policy: z.literal('hook'), hookUrl, hookSecret: z.string().min(16).max(256).optional() }),
] as const;

export const policyBody = z.discriminatedUnion('policy', policies);
export const newApplicationBody = z.looseObject({ appKey });

export const newUserBody = z.strictObject({ username, password, ...rights });
export const userChangeBody = z.strictObject({
  password: password.optional(),
  locked: z.boolean().optional(),
  ...rights,
});
const apiId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, '1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-"');
export const newKeyBody = z
  .strictObject({
    label,
    ...rights,
    /** Makes it a master key for recording. */
    apiId: apiId.optional(),
    ttlS: z.number().int().min(60).max(MAX_KEY_TTL_S).optional(),
  })
  .refine(({ apiId: master, role, grants }) => master === undefined || (role === undefined && grants === undefined), {
    path: ['apiId'],
    message: 'a master key has no role and no grants of its own',
  });
export const newTokenBody = z.strictObject({ subject, ...rights, ttlS: z.number().int().min(1) });
export const revokeBody = z.strictObject({ tokenId: z.string().min(1).max(128).optional() }).optional();
export const listQuery = z.object({
  limit: z.coerce.number().int().min(1).max(MAX_LIST_LIMIT).default(DEFAULT_LIST_LIMIT),
  subject: z.string().optional(),
});

const applicationJson = z.strictObject({
  appKey: z.string(),
  tenant: z.string(),
  policy: z.enum(['open', 'token', 'hook']),
  hookUrl: z.string().optional(),
});
export type ApplicationJson = z.infer<typeof applicationJson>;
export const applicationsAnswer = z.strictObject({ applications: z.array(applicationJson) });
/** The hook's secret is in the answers to POST and PUT only. */
export const applicationAnswer = applicationJson.extend({ hookSecret: z.string().optional() });

export const userJson = z.strictObject({
  userId: z.string(),
  username: z.string(),
  grants: storedGrants,
  locked: z.boolean(),
  createdAt: time,
});
export type UserJson = z.infer<typeof userJson>;
export const usersAnswer = z.strictObject({ users: z.array(userJson) });

const keyJson = z.strictObject({
  keyId: z.string(),
  label: z.string(),
  grants: storedGrants,
  /** Set for a master key. */
  apiId: z.string().optional(),
  createdAt: time,
  expiresAt: time.optional(),
});
export type KeyJson = z.infer<typeof keyJson>;
export const keysAnswer = z.strictObject({ keys: z.array(keyJson) });
/** The key is in this answer only. */
export const newKeyAnswer = keyJson.extend({ key: z.string() });

const tokenJson = z.strictObject({
  tokenId: z.string(),
  subject: z.string(),
  grants: storedGrants,
  issuedAt: time,
  expiresAt: time,
});
export type TokenJson = z.infer<typeof tokenJson>;
export const tokensAnswer = z.strictObject({ tokens: z.array(tokenJson) });
/** The token is in this answer only. */
export const newTokenAnswer = z.strictObject({
  token: z.string(),
  pass: z.string(),
  tokenId: z.string(),
  expiresAt: time,
});
export const passAnswer = z.strictObject({ pass: z.string(), expiresAt: time });
export const revokeAnswer = z.strictObject({ tokenId: z.string() });

/** RFC 7517; public parts only. */
const jwkJson = z.strictObject({
  kty: z.string(),
  crv: z.string(),
  x: z.string(),
  kid: z.string(),
  alg: z.literal('EdDSA'),
  use: z.literal('sig'),
});
export type PublicJwk = z.infer<typeof jwkJson>;
export const jwksAnswer = z.strictObject({ keys: z.array(jwkJson).readonly() });
