import { DEFAULT_SETTINGS, LENGTHS, type SessionSettings } from '@weir/protocol-wcs';
import { outboundSettings } from '@weir/outbound';
import { countSetting, flagSetting, millisecondsSetting, type Settings, type SettingsShape } from '@weir/platform';

export const wcsSettings = {
  WEIR_WCS_PING_INTERVAL_MS: millisecondsSetting(DEFAULT_SETTINGS.pingIntervalMs, 100).describe(
    'How often a client is pinged.',
  ),
  WEIR_WCS_PING_PROBES: countSetting(DEFAULT_SETTINGS.pingProbes, 1).describe(
    'A client that leaves so many pings unanswered is dropped.',
  ),
  WEIR_WCS_VIDEO_RATE_INTERVAL_MS: millisecondsSetting(1_000).describe(
    'How often clients are told the video rate that the server sees; 0 for never. The WebSDK judges quality wrongly with anything but 1000.',
  ),
  WEIR_WCS_MAX_SESSIONS: countSetting(20_000, 1).describe('WCS sessions that one instance takes.'),
  WEIR_WCS_MAX_STREAMS_PER_SESSION: countSetting(DEFAULT_SETTINGS.maxStreams, 1).describe(
    'Streams that one session publishes and plays at the same time.',
  ),
  WEIR_WCS_FRAMES_PER_SECOND: countSetting(DEFAULT_SETTINGS.framesPerSecond, 1).describe(
    'Frames a second that one session may send for long.',
  ),
  WEIR_WCS_FRAME_BURST: countSetting(DEFAULT_SETTINGS.frameBurst, 300).describe(
    'Frames beyond that rate that it may send at once.',
  ),
  WEIR_WCS_FRAME_TIMEOUT_MS: millisecondsSetting(15_000, 100).describe(
    'How long a client may take from the first byte of a frame to its last.',
  ),
  WEIR_WCS_MAX_BUFFERED_BYTES: countSetting(4 * 1024 * 1024, 64 * 1024).describe(
    'A client that leaves more than this unread is dropped.',
  ),
  WEIR_WCS_TRUST_FORWARDED: flagSetting(true).describe(
    'Believe X-Forwarded-For, because only the gateway can reach this service.',
  ),
  WEIR_WCS_HOOK_TIMEOUT_MS: millisecondsSetting(15_000, 100).describe(
    'What one question to an application’s REST hook may take, repetitions included.',
  ),
  WEIR_WCS_HOOK_RETRIES: countSetting(3).describe('How often an unreachable REST hook is asked again.'),
  WEIR_WCS_HOOK_MAX_CONCURRENT: countSetting(200, 1).describe('Questions to REST hooks at the same time.'),
  ...outboundSettings,
} as const satisfies SettingsShape;

export type WcsConfig = Settings<typeof wcsSettings>;

/** The socket layer refuses a longer frame (close code 1009) before it keeps any of it. */
export const MAX_PAYLOAD_BYTES = LENGTHS.frame;

/** Limits for the bytes of unfinished frames, of one address and of all addresses together. */
export const UNFINISHED_FRAMES = { perAddressBytes: 8 * 1024 * 1024, totalBytes: 64 * 1024 * 1024 } as const;

export const sessionSettings = (config: WcsConfig): SessionSettings => ({
  ...DEFAULT_SETTINGS,
  pingIntervalMs: config.WEIR_WCS_PING_INTERVAL_MS,
  pingProbes: config.WEIR_WCS_PING_PROBES,
  decisionDeadlineMs: config.WEIR_WCS_HOOK_TIMEOUT_MS + 1_000,
  maxStreams: config.WEIR_WCS_MAX_STREAMS_PER_SESSION,
  frameBurst: config.WEIR_WCS_FRAME_BURST,
  framesPerSecond: config.WEIR_WCS_FRAMES_PER_SECOND,
});
