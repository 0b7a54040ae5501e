import { parseAllowList } from '@weir/outbound';
import type { ServiceContext, SettingsShape } from '@weir/platform';
import { z } from 'zod';

export const recordingSettings = {
  DATABASE_URL: z.string().min(1).describe('The PostgreSQL database.'),
  WEIR_RECORDING_DIR: z
    .string()
    .min(1)
    .default('/var/lib/weir/recordings')
    .describe('The folder of the recordings. Instances that share it take over from each other.'),
  WEIR_RECORDING_RTP_ADDRESS: z
    .union([z.ipv4(), z.ipv6()])
    .default('127.0.0.1')
    .describe('Address of this instance to which media nodes send RTP; of a network that only they can reach.'),
  WEIR_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ''))
    .optional()
    .describe('How clients reach the platform. Not set: as the request was made, told by the gateway.'),
  WEIR_OUTBOUND_ALLOW: z
    .string()
    .default('')
    .transform((text, context) => {
      try {
        return parseAllowList(text);
      } catch (error) {
        context.addIssue(error instanceof Error ? error.message : String(error));
        return z.NEVER;
      }
    })
    .describe('Addresses, networks and hosts that may be called although they are not on the public internet.'),
} as const satisfies SettingsShape;

export type RecordingContext = ServiceContext<typeof recordingSettings>;
export type RecordingConfig = RecordingContext['config'];
