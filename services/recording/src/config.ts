import { parseAllowList } from '@weir/outbound';
import { countSetting, millisecondsSetting, type ServiceContext, type SettingsShape } from '@weir/platform';
import { z } from 'zod';
import { uploadSettings } from './upload-settings.js';

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
  WEIR_RECORDING_LEASE_MS: millisecondsSetting(5_000, 500).describe(
    'How long a recording stays with an instance that has fallen silent.',
  ),
  WEIR_RECORDING_MAX: countSetting(200, 1).describe('Recordings that one instance makes at the same time.'),
  WEIR_RECORDING_MIN_FREE_BYTES: countSetting(1024 * 1024 * 1024).describe(
    'New recordings are refused while the disk has less free space.',
  ),
  WEIR_RECORDING_STREAM_WAIT_MS: millisecondsSetting(10_000, 100).describe(
    'How long a recording waits for its stream to come back after a media node was lost.',
  ),
  WEIR_RECORDING_KEY_FRAME_INTERVAL_MS: millisecondsSetting(5_000, 500).describe(
    'A source that makes key frames on request is asked for one when the last is so old: players can seek to it.',
  ),
  WEIR_RECORDING_KEEP_MS: countSetting(0).describe('Files are deleted when they are so old; 0: never.'),
  WEIR_RECORDING_KEEP_BYTES: countSetting(0).describe(
    'The oldest files are deleted while all together are larger; 0: no limit.',
  ),
  WEIR_RECORDING_URL_TTL_MS: millisecondsSetting(15 * 60_000, 1_000).describe('How long a playback URL is valid.'),
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
  ...uploadSettings,
} as const satisfies SettingsShape;

export type RecordingContext = ServiceContext<typeof recordingSettings>;
export type RecordingConfig = RecordingContext['config'];
