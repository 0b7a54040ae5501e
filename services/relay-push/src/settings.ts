import { readFile } from 'node:fs/promises';
import { outboundSettings } from '@weir/outbound';
import { countSetting, millisecondsSetting, type ServiceContext, type SettingsShape } from '@weir/platform';
import { DEFAULT_CLIENT_SETTINGS, type ClientSettings } from '@weir/protocol-wcs';
import { z } from 'zod';

export const relaySettings = {
  DATABASE_URL: z.string().min(1).describe('The PostgreSQL database.'),
  WEIR_WCS_AGENT_SSL: z
    .enum(['any', 'true', 'false'])
    .default('any')
    .describe(
      'The original’s wcs_agent_ssl. `any`: the uri says whether it is ws or wss; `false`: ws only, as the original’s default; `true`: wss only, so nothing leaves unencrypted.',
    ),
  WEIR_RELAY_CA_FILE: z
    .string()
    .optional()
    .describe(
      'PEM file with the certificate authorities that other servers’ certificates are checked against, instead of the system’s.',
    ),
  WEIR_RELAY_APP_KEY: z
    .string()
    .max(256)
    .default('defaultApp')
    .describe('The appKey under which other servers are joined.'),
  WEIR_RELAY_RTP_ADDRESS: z
    .string()
    .default('127.0.0.1')
    .describe('The address of this process to which media nodes send RTP.'),
  WEIR_RELAY_ACCEPT_TIMEOUT_MS: millisecondsSetting(8_000, 100).describe(
    'How long a REST call waits for the other server to agree.',
  ),
  WEIR_RELAY_OPEN_TIMEOUT_MS: millisecondsSetting(5_000, 100).describe(
    'How long a server may take to open a connection and the session on it.',
  ),
  WEIR_RELAY_ANSWER_TIMEOUT_MS: millisecondsSetting(7_000, 100).describe(
    'How long a server may take to answer an offer.',
  ),
  WEIR_RELAY_MEDIA_TIMEOUT_MS: millisecondsSetting(15_000, 100).describe(
    'How long media may take to flow after the answer.',
  ),
  WEIR_RELAY_PING_INTERVAL_MS: millisecondsSetting(5_000, 100).describe('How often other servers are pinged.'),
  WEIR_RELAY_SILENCE_MS: millisecondsSetting(30_000, 100).describe(
    'A server that sends nothing for this long counts as lost.',
  ),
  WEIR_RELAY_MAX_RETRIES: countSetting(12).describe(
    'How often a relay that was up or agreed on is tried again before it fails.',
  ),
  WEIR_RELAY_RETRY_MIN_MS: millisecondsSetting(500, 10).describe(
    'The pause before the first retry; it doubles with each.',
  ),
  WEIR_RELAY_RETRY_MAX_MS: millisecondsSetting(30_000, 10).describe('The longest pause before a retry.'),
  WEIR_RELAY_STABLE_MS: millisecondsSetting(30_000).describe(
    'A relay that has run for so long has all its retries again.',
  ),
  WEIR_RELAY_KEEP_FAILED_MS: millisecondsSetting(60 * 60_000).describe('How long a failed relay stays in the list.'),
  WEIR_RELAY_MAX_RELAYS: countSetting(500, 1).describe('Relays that one instance runs.'),
  WEIR_RELAY_LOCK_MS: millisecondsSetting(5_000, 500).describe(
    'How long a relay stays with an instance that has fallen silent.',
  ),
  WEIR_OUTBOUND_ALLOW: outboundSettings.WEIR_OUTBOUND_ALLOW.describe(
    'Addresses, networks and hosts that may be called although they are not on the public internet.',
  ),
} as const satisfies SettingsShape;

export type RelayContext = ServiceContext<typeof relaySettings>;
export type RelayConfig = RelayContext['config'];

export const clientSettings = (config: RelayConfig): ClientSettings => ({
  ...DEFAULT_CLIENT_SETTINGS,
  openDeadlineMs: config.WEIR_RELAY_OPEN_TIMEOUT_MS,
  establishDeadlineMs: config.WEIR_RELAY_OPEN_TIMEOUT_MS,
  answerDeadlineMs: config.WEIR_RELAY_ANSWER_TIMEOUT_MS,
  startDeadlineMs: config.WEIR_RELAY_MEDIA_TIMEOUT_MS + 1_000,
  pingIntervalMs: config.WEIR_RELAY_PING_INTERVAL_MS,
  silenceMs: config.WEIR_RELAY_SILENCE_MS,
});

export const allowedSchemes = ({ WEIR_WCS_AGENT_SSL: agentSsl }: RelayConfig): readonly string[] => {
  switch (agentSsl) {
    case 'any':
      return ['ws', 'wss'];
    case 'true':
      return ['wss'];
    case 'false':
      return ['ws'];
    default:
      return agentSsl satisfies never;
  }
};

export const readCa = async ({ WEIR_RELAY_CA_FILE: file }: RelayConfig): Promise<string | undefined> =>
  file === undefined ? undefined : readFile(file, 'utf8');
