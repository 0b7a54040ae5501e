import { outboundSettings } from '@weir/outbound';
import {
  countSetting,
  flagSetting,
  iceServerSettings,
  listSetting,
  millisecondsSetting,
  type ServiceContext,
  type SettingsShape,
} from '@weir/platform';
import { LENGTHS } from '@weir/protocol-eyeson';
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
  WEIR_RECORDING_KEEP_MS: countSetting(0).describe('Files that are older than this are deleted; 0: never.'),
  WEIR_RECORDING_KEEP_BYTES: countSetting(0).describe(
    'The oldest files are deleted until all together are no larger than this; 0: no limit.',
  ),
  WEIR_RECORDING_URL_TTL_MS: millisecondsSetting(15 * 60_000, 1_000).describe('How long a playback URL is valid.'),
  WEIR_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ''))
    .optional()
    .describe('How clients reach the platform. Not set: as the request was made, told by the gateway.'),
  WEIR_OUTBOUND_ALLOW: outboundSettings.WEIR_OUTBOUND_ALLOW.describe(
    'Addresses, networks and hosts that may be called although they are not on the public internet.',
  ),
  ...uploadSettings,
  WEIR_RECORDING_MAX_SOCKETS: countSetting(5_000, 1).describe('Sockets of sessions that one instance takes.'),
  WEIR_RECORDING_FRAME_TIMEOUT_MS: millisecondsSetting(15_000, 100).describe(
    'How long a client may take from the first byte of a frame to its last.',
  ),
  WEIR_RECORDING_MAX_BUFFERED_BYTES: countSetting(1024 * 1024, 64 * 1024).describe(
    'A client that leaves more than this unread is dropped.',
  ),
  ...iceServerSettings,
  WEIR_RECORDING_TALK_BACK: flagSetting().describe(
    'Supervisors may talk to the client that they watch: it hears the first of those who send sound.',
  ),
  WEIR_WEBHOOK_SECRETS: listSetting([]).describe(
    'Secrets that sign webhooks (`whsec_…`); two during a rotation. Not set: one that is made at each start, which no receiver can check.',
  ),
} as const satisfies SettingsShape;

/** The socket layer refuses a longer frame (close code 1009) before it keeps any of it. */
export const MAX_PAYLOAD_BYTES = LENGTHS.frame;

/** Limits for the bytes of unfinished frames, of one client and of all clients together. */
export const UNFINISHED_FRAMES = { perAddressBytes: 1024 * 1024, totalBytes: 64 * 1024 * 1024 } as const;

export type RecordingContext = ServiceContext<typeof recordingSettings>;
export type RecordingConfig = RecordingContext['config'];
