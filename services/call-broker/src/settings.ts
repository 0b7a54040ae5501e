import { outboundSettings } from '@weir/outbound';
import type { ServiceContext, SettingsShape } from '@weir/platform';
import { MAX_TOKEN_LIFETIME_S } from '@weir/protocol-topvdn';
import { z } from 'zod';

export const callBrokerSettings = {
  DATABASE_URL: z.string().min(1).describe('The PostgreSQL database.'),
  WEIR_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ''))
    .optional()
    .describe('How clients reach the platform. Not set: as the request was made, told by the gateway.'),
  WEIR_CREDENTIALS_FILE: z
    .string()
    .optional()
    .describe('Single-machine mode: the file in which the demo tenant’s app is; auth writes it.'),
  WEIR_CALLS_MAX_TOKEN_TTL_S: z.coerce
    .number()
    .int()
    .min(60)
    .max(MAX_TOKEN_LIFETIME_S)
    .default(MAX_TOKEN_LIFETIME_S)
    .describe('A device’s token that is valid for longer from now on is refused.'),
  WEIR_OUTBOUND_ALLOW: outboundSettings.WEIR_OUTBOUND_ALLOW.describe(
    'Addresses, networks and hosts that may be called although they are not on the public internet.',
  ),
} as const satisfies SettingsShape;

export type CallBrokerContext = ServiceContext<typeof callBrokerSettings>;
export type CallBrokerConfig = CallBrokerContext['config'];
