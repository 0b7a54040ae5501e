import { flagSetting, millisecondsSetting, type Settings, type SettingsShape } from '@weir/platform';
import { z } from 'zod';
import type { S3Settings } from './upload-s3.js';

const HOUR_MS = 3_600_000;

/** The settings of the destinations of recordings. */
export const uploadSettings = {
  WEIR_RECORDING_UPLOAD_HTTP: flagSetting().describe(
    'Recordings may be put to `http://` URLs too. For tests: such a URL and the recording are readable on the way.',
  ),
  WEIR_RECORDING_UPLOAD_MIN_VALID_MS: millisecondsSetting(15 * 60_000).describe(
    'How long an `upload_url` must be valid at least when it is given.',
  ),
  WEIR_RECORDING_UPLOAD_KEEP_TRYING_MS: millisecondsSetting(72 * HOUR_MS).describe(
    'For how long the delivery of a recording is tried again.',
  ),
  WEIR_RECORDING_UPLOAD_RETRY_MIN_MS: millisecondsSetting(2_000, 10).describe(
    'The pause before the first retry of a delivery; it is three times longer after each.',
  ),
  WEIR_RECORDING_UPLOAD_RETRY_MAX_MS: millisecondsSetting(HOUR_MS / 2, 10).describe(
    'The longest pause before a retry of a delivery.',
  ),
  WEIR_RECORDING_FOLDER: z
    .string()
    .min(1)
    .optional()
    .describe('The folder to which recordings are delivered whose destination is a folder.'),
  WEIR_RECORDING_S3_BUCKET: z
    .string()
    .min(1)
    .optional()
    .describe('The bucket of S3-compatible storage to which recordings are delivered whose destination is S3.'),
  WEIR_RECORDING_S3_ENDPOINT: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('The storage’s address. Not set: Amazon’s own. One in a private network needs `WEIR_OUTBOUND_ALLOW`.'),
  WEIR_RECORDING_S3_REGION: z.string().min(1).default('us-east-1').describe('The bucket’s region.'),
  WEIR_RECORDING_S3_PREFIX: z
    .string()
    .default('')
    .describe('Before the name of each object, for example `recordings/`.'),
  WEIR_RECORDING_S3_PATH_STYLE: flagSetting().describe(
    'The bucket is in the path instead of the host’s name, as many stores other than Amazon’s need it.',
  ),
  WEIR_RECORDING_S3_ACCESS_KEY_ID: z
    .string()
    .optional()
    .describe('Not set: as the AWS SDK finds credentials: the environment, the pod’s identity, the machine’s role.'),
  WEIR_RECORDING_S3_SECRET_ACCESS_KEY: z.string().optional().describe('Belongs to the access key.'),
} as const satisfies SettingsShape;

export type UploadConfig = Settings<typeof uploadSettings>;

/** @returns undefined if no bucket is set */
export const s3SettingsOf = (config: UploadConfig): S3Settings | undefined => {
  const { WEIR_RECORDING_S3_BUCKET: bucket } = config;
  if (bucket === undefined) return undefined;
  const { WEIR_RECORDING_S3_ACCESS_KEY_ID: accessKeyId, WEIR_RECORDING_S3_SECRET_ACCESS_KEY: secretAccessKey } = config;
  const hasKey = accessKeyId !== undefined && secretAccessKey !== undefined;
  return {
    bucket,
    endpoint: config.WEIR_RECORDING_S3_ENDPOINT,
    region: config.WEIR_RECORDING_S3_REGION,
    prefix: config.WEIR_RECORDING_S3_PREFIX,
    pathStyle: config.WEIR_RECORDING_S3_PATH_STYLE,
    credentials: hasKey ? { accessKeyId, secretAccessKey } : undefined,
  };
};
