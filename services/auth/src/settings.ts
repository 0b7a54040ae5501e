import { readFile } from 'node:fs/promises';
import { API_KEY_PATTERN } from '@weir/access';
import { outboundSettings } from '@weir/outbound';
import { listSetting, type ServiceContext, type SettingsShape } from '@weir/platform';
import { z } from 'zod';
import { TENANT_PATTERN } from './tenant.js';

const DAY_S = 24 * 60 * 60;
const seconds = (defaultS: number, maxS: number) => z.coerce.number().int().min(60).max(maxS).default(defaultS);

export const authSettings = {
  DATABASE_URL: z.string().min(1).describe('The PostgreSQL database.'),
  WEIR_AUTH_SIGNING_KEYS_FILE: z
    .string()
    .min(1)
    .describe('PEM file with Ed25519 keys: the first private key signs tokens, all keys of the file verify them.'),
  WEIR_AUTH_TOKEN_TTL_S: seconds(12 * 60 * 60, 30 * DAY_S).describe('How long the token of a log-in is valid.'),
  WEIR_AUTH_MAX_TOKEN_TTL_S: seconds(30 * DAY_S, 366 * DAY_S).describe('The longest life of a token made on request.'),
  WEIR_AUTH_EXPIRE_UTC_OFFSET_HOURS: z.coerce
    .number()
    .int()
    .min(-12)
    .max(14)
    .default(8)
    .describe('The zone in which `expire` of POST /auth/ is written. The instant is the same in every zone.'),
  WEIR_AUTH_TRUSTED_PROXIES: listSetting(['127.0.0.0/8', '::1']).describe(
    'Addresses of the gateway, whose X-Forwarded-For gives the address that log-in attempts are counted for.',
  ),
  WEIR_AUTH_LOGIN_FAILURES_PER_USER: z.coerce
    .number()
    .int()
    .min(1)
    .default(5)
    .describe(
      'Failed log-ins for a user name from one address, after which further attempts from there must wait, longer each time.',
    ),
  WEIR_AUTH_LOGIN_FAILURES_PER_ADDRESS: z.coerce
    .number()
    .int()
    .min(1)
    .default(30)
    .describe('The same for all user names together that are tried from one address.'),
  WEIR_CREDENTIALS_FILE: z
    .string()
    .optional()
    .describe('Single-machine mode: where the demo tenant’s credentials are written.'),
  WEIR_BOOTSTRAP_TENANT: z
    .string()
    .regex(TENANT_PATTERN)
    .default('default')
    .describe('The tenant of the bootstrap operator’s key; created if it doesn’t exist. Not in single-machine mode.'),
  WEIR_BOOTSTRAP_OPERATOR_KEY: z
    .string()
    .regex(API_KEY_PATTERN, 'must have the form weir_<12 of a-z0-9>_<43 of A-Za-z0-9_->')
    .optional()
    .describe('The first operator’s API key. Not in single-machine mode.'),
  WEIR_BOOTSTRAP_OPERATOR_KEY_FILE: z.string().optional().describe('A file that holds WEIR_BOOTSTRAP_OPERATOR_KEY.'),
  ...outboundSettings,
} as const satisfies SettingsShape;

export type AuthContext = ServiceContext<typeof authSettings>;
export type AuthConfig = AuthContext['config'];

/** The bootstrap operator's key from its setting or its file. Throws if the file holds no API key. */
export const bootstrapKey = async (config: AuthConfig): Promise<string | undefined> => {
  const file = config.WEIR_BOOTSTRAP_OPERATOR_KEY_FILE;
  if (config.WEIR_BOOTSTRAP_OPERATOR_KEY !== undefined || file === undefined) return config.WEIR_BOOTSTRAP_OPERATOR_KEY;
  const key = (await readFile(file, 'utf8')).trim();
  if (!API_KEY_PATTERN.test(key)) throw new Error(`WEIR_BOOTSTRAP_OPERATOR_KEY_FILE: ${file} holds no API key`);
  return key;
};
