import { grantsOfRole, MAX_PATTERN_LENGTH, objectPattern, ROLES, VERBS, type Grant } from '@weir/access';
import { z } from 'zod';
import { MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH } from './passwords.js';

const MAX_GRANTS = 100;
const DEFAULT_LIST_LIMIT = 100;
const MAX_LIST_LIMIT = 1000;

const appKey = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, '1 to 128 of A-Z, a-z, 0-9, ".", "_" and "-"');
const username = z.string().trim().min(1).max(256);
const password = z.string().min(MIN_PASSWORD_LENGTH).max(MAX_PASSWORD_LENGTH);
const label = z.string().trim().min(1).max(100);
/** Colons are kept for the subjects that the platform itself makes up. */
const subject = z.string().regex(/^[^\s:]{1,200}$/, '1 to 200 characters, no white space and no colon');

const grantSchema = z
  .strictObject({ verb: z.enum(VERBS), object: z.string().min(1).max(MAX_PATTERN_LENGTH) })
  .transform(({ verb, object }): Grant => ({ verb, object: objectPattern(object) }));

/** Rights are named one by one or by a role. */
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
export const newKeyBody = z.strictObject({ label, ...rights, ttlS: z.number().int().min(60).optional() });
export const newTokenBody = z.strictObject({ subject, ...rights, ttlS: z.number().int().min(1) });
export const revokeBody = z.strictObject({ tokenId: z.string().min(1).max(128).optional() }).optional();
export const listQuery = z.object({
  limit: z.coerce.number().int().min(1).max(MAX_LIST_LIMIT).default(DEFAULT_LIST_LIMIT),
  subject: z.string().optional(),
});
