import { outboundSettings } from '@weir/outbound';
import {
  countSetting,
  flagSetting,
  millisecondsSetting,
  portSetting,
  type ServiceContext,
  type SettingsShape,
} from '@weir/platform';
import {
  DEFAULT_APP_SETTINGS,
  DEFAULT_ROBOT_SETTINGS,
  type AppSettings,
  type RobotSettings,
} from '@weir/protocol-turing';
import { z } from 'zod';

/** A command crosses the bus, whose contract allows one minute for it. */
const MAX_COMMAND_TIMEOUT_MS = 50_000;

export const robotChannelSettings = {
  DATABASE_URL: z.string().min(1).describe('The PostgreSQL database.'),
  WEIR_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('The platform as its clients reach it; URLs told to them begin with it. Not set: this machine.'),
  WEIR_HTTP_PORT: portSetting(8080).describe('HTTP and WebSocket of all interfaces.'),
  WEIR_ROBOT_COMMAND_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(100)
    .max(MAX_COMMAND_TIMEOUT_MS)
    .default(15_000)
    .describe('How long a robot may take to answer and its picture to come.'),
  WEIR_ROBOT_LINGER_MS: millisecondsSetting(30_000).describe(
    'How long a camera’s stream continues after its last viewer has left, unless it is pinned.',
  ),
  WEIR_ROBOT_PLAY_URL_TTL_MS: millisecondsSetting(60 * 60_000, 1_000).describe(
    'How long the signed RTSP URL of a started stream is good.',
  ),
  WEIR_ROBOT_PING_INTERVAL_MS: millisecondsSetting(DEFAULT_ROBOT_SETTINGS.pingIntervalMs, 50).describe(
    'How often a robot is pinged.',
  ),
  WEIR_ROBOT_SILENT_AFTER_MS: millisecondsSetting(DEFAULT_ROBOT_SETTINGS.silentAfterMs, 100).describe(
    'A robot of which nothing was heard for this long is offline.',
  ),
  WEIR_ROBOT_MAX_SOCKETS: countSetting(20_000, 1).describe('Sockets of robots and apps that one instance takes.'),
  WEIR_ROBOT_FRAME_TIMEOUT_MS: millisecondsSetting(15_000, 100).describe(
    'How long a robot or app may take from the first byte of a frame to its last.',
  ),
  WEIR_ROBOT_MAX_BUFFERED_BYTES: countSetting(4 * 1024 * 1024, 64 * 1024).describe(
    'A robot or app that leaves more than this unread is dropped.',
  ),
  WEIR_ROBOT_CREDENTIAL_CHECK_MS: millisecondsSetting(3_000, 100).describe(
    'How late the end of a token or key may be noticed when the telling of it was lost.',
  ),
  WEIR_DEMO_ROBOTS: flagSetting(true).describe('Single-machine mode: the demo tenant has two simulated robots.'),
  ...outboundSettings,
} as const satisfies SettingsShape;

export type RobotChannelContext = Omit<ServiceContext<typeof robotChannelSettings>, 'service'>;
export type RobotChannelConfig = RobotChannelContext['config'];

/**
 * The socket layer refuses a larger frame (close code 1009) before it buffers it. The protocol's own limit is lower.
 */
export const MAX_PAYLOAD_BYTES = 256 * 1024;

/** The most bytes that are buffered for unfinished frames: of one user or robot, and in total. */
export const UNFINISHED_FRAMES = { perAddressBytes: 8 * 1024 * 1024, totalBytes: 64 * 1024 * 1024 } as const;

/** The time for forwarding and cleaning up, in addition to the time that the robot has. */
const REQUEST_MARGIN_MS = 5_000;

export const appSettings = (config: RobotChannelConfig): AppSettings => ({
  ...DEFAULT_APP_SETTINGS,
  requestDeadlineMs: config.WEIR_ROBOT_COMMAND_TIMEOUT_MS + REQUEST_MARGIN_MS,
});

export const robotSettings = (config: RobotChannelConfig): RobotSettings => ({
  ...DEFAULT_ROBOT_SETTINGS,
  pingIntervalMs: config.WEIR_ROBOT_PING_INTERVAL_MS,
  silentAfterMs: config.WEIR_ROBOT_SILENT_AFTER_MS,
});
