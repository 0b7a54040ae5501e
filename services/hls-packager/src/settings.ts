import { countSetting, flagSetting, millisecondsSetting, type SettingsShape } from '@weir/platform';
import { z } from 'zod';

const MIB = 1024 * 1024;

export const hlsSettings = {
  WEIR_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ''))
    .optional()
    .describe('How clients reach the platform. Not set: as the request was made, told by the gateway.'),
  WEIR_HLS_TRUST_FORWARDED: flagSetting(true).describe(
    'Believe X-Forwarded-*, because only the gateway can reach this service.',
  ),
  WEIR_HLS_RTP_ADDRESS: z
    .union([z.ipv4(), z.ipv6()])
    .default('127.0.0.1')
    .describe('Address of this instance to which media nodes send RTP; of a network that only they can reach.'),
  WEIR_HLS_PART_MS: millisecondsSetting(200, 50).describe("A part's duration; the stream's frame duration rounds it."),
  WEIR_HLS_SEGMENT_MS: millisecondsSetting(1_000, 500).describe(
    'A segment ends with the first key frame after so much media.',
  ),
  WEIR_HLS_MAX_SEGMENT_MS: millisecondsSetting(4_000, 1_000).describe(
    'A segment ends after so much, key frame or not; in whole seconds the target duration.',
  ),
  WEIR_HLS_KEY_FRAME_INTERVAL_MS: millisecondsSetting(2_000).describe(
    'A source that makes key frames on request is asked for one when the last is so old; 0 for never.',
  ),
  WEIR_HLS_WINDOW_MS: millisecondsSetting(24_000, 3_000).describe('How much media a playlist holds.'),
  WEIR_HLS_STREAM_MAX_BYTES: countSetting(64 * MIB, MIB).describe(
    "Bytes of one stream's playlist; a stream of which even four segments weigh more than twice that is ended.",
  ),
  WEIR_HLS_TOTAL_MAX_BYTES: countSetting(1024 * MIB, MIB).describe(
    'Bytes of all streams; beyond it the stream that was asked for the longest ago is ended.',
  ),
  WEIR_HLS_MAX_STREAMS: countSetting(500, 1).describe('Streams packaged at a time; for more, 503.'),
  WEIR_HLS_START_TIMEOUT_MS: millisecondsSetting(8_000, 100).describe(
    'How long the first request for a stream waits for its first part; hls.js gives up after 10 s.',
  ),
  WEIR_HLS_BLOCK_TIMEOUT_MS: millisecondsSetting(6_000, 100).describe(
    'How long a request waits for a part that is still to come.',
  ),
  WEIR_HLS_MAX_WAITING_PER_STREAM: countSetting(5_000, 1).describe('Requests that wait for one stream; for more, 503.'),
  WEIR_HLS_MAX_WAITING_PER_ADDRESS: countSetting(200, 1).describe(
    'Requests of one address that wait; for more, 429. A low-latency player has two.',
  ),
  WEIR_HLS_IDLE_MS: millisecondsSetting(30_000, 1_000).describe(
    'A stream is no longer packaged when nobody has fetched its playlist for this long.',
  ),
  WEIR_HLS_SOURCE_GRACE_MS: millisecondsSetting(10_000).describe(
    'How long a lost source may take to return before its playlist is ended.',
  ),
  WEIR_HLS_LINGER_MS: millisecondsSetting(30_000).describe('How long an ended playlist and its segments stay.'),
  WEIR_HLS_OPUS: z
    .enum(['keep', 'aac'])
    .default('keep')
    .describe('Opus as it is, or transcoded to AAC, for Apple devices before iOS 17 and macOS 14.'),
  WEIR_HLS_MAX_TRANSCODES: countSetting(4).describe(
    "Streams at a time whose codecs HLS can't carry, each an ffmpeg; for more, 503.",
  ),
  WEIR_HLS_TICKET_KEY: z
    .string()
    .min(32)
    .optional()
    .describe('Secret that signs segment addresses. Not set: one made by the first instance and kept in Redis.'),
  FFMPEG_BIN: z.string().default('ffmpeg').describe('The ffmpeg program.'),
} as const satisfies SettingsShape;
