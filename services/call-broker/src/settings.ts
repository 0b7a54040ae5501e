import { outboundSettings } from '@weir/outbound';
import {
  countSetting,
  iceServerSettings,
  millisecondsSetting,
  type ServiceContext,
  type SettingsShape,
} from '@weir/platform';
import { MAX_TOKEN_LIFETIME_S, OFFLINE_AFTER_MS, PING_INTERVAL_MS } from '@weir/protocol-topvdn';
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
  WEIR_CALLS_MAX_SOCKETS: countSetting(20_000, 1).describe('Sockets of devices that one instance takes.'),
  WEIR_CALLS_PING_INTERVAL_MS: millisecondsSetting(PING_INTERVAL_MS, 50).describe('How often a device is pinged.'),
  WEIR_CALLS_SILENT_AFTER_MS: millisecondsSetting(OFFLINE_AFTER_MS, 100).describe(
    'A device of which nothing was heard for this long is offline.',
  ),
  WEIR_CALLS_MAX_BUFFERED_BYTES: countSetting(1024 * 1024, 64 * 1024).describe(
    'A device that leaves more than this unread is dropped.',
  ),
  WEIR_CALLS_MAX_STORED_MESSAGES: countSetting(1_000, 1).describe(
    'So many messages wait for one device. A push of more is refused with 429.',
  ),
  ...iceServerSettings,
  WEIR_OUTBOUND_ALLOW: outboundSettings.WEIR_OUTBOUND_ALLOW.describe(
    'Addresses, networks and hosts that may be called although they are not on the public internet.',
  ),
} as const satisfies SettingsShape;

export type CallBrokerContext = ServiceContext<typeof callBrokerSettings>;
