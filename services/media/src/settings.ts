import {
  countSetting,
  flagSetting,
  listSetting,
  millisecondsSetting,
  portSetting,
  type SettingsShape,
} from '@weir/platform';
import { outboundSettings } from '@weir/outbound';
import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { wholeNames } from './rtp-activity.js';

const namesSetting = () =>
  z
    .string()
    .default('')
    .transform((source, context) => {
      try {
        return wholeNames(source);
      } catch (error) {
        context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
        return z.NEVER;
      }
    });

const HOST_NAME = /^(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.?$/;

export const mediaSettings = {
  WEIR_MEDIA_PORT: portSetting(40_000).describe(
    'First UDP and TCP port of WebRTC media; worker i uses this port plus i.',
  ),
  WEIR_MEDIA_HOST: z
    .string()
    .default('0.0.0.0')
    .describe('Address that WebRTC media is received on; 0.0.0.0 for all that are announced, IPv6 among them.'),
  WEIR_ANNOUNCED_ADDRESS: listSetting(['127.0.0.1'])
    .transform((addresses, context): readonly [string, ...string[]] => {
      const [first, ...others] = new Set(addresses);
      for (const address of addresses)
        if (isIP(address) === 0 && !HOST_NAME.test(address))
          context.addIssue(`"${address}" is neither an IP address nor a host name`);
      if (first !== undefined) return [first, ...others];
      context.addIssue('give one address at least');
      return z.NEVER;
    })
    .describe(
      'IP addresses or host names of this machine as WebRTC clients reach it, best first, with commas between; RTSP URLs have the first.',
    ),
  WEIR_MEDIA_WORKERS: countSetting(availableParallelism(), 1).describe('Media workers; one per core by default.'),
  WEIR_MEDIA_ICE_TIMEOUT_MS: millisecondsSetting(12_000, 100).describe(
    'A WebRTC peer that has not connected within this time is given up.',
  ),
  WEIR_MEDIA_CONSENT_TIMEOUT_MS: millisecondsSetting(30_000, 1_000).describe(
    'A connected WebRTC peer whose SRTP and SRTCP have stayed away for this long is given up, a sixth of it later at most.',
  ),
  WEIR_MEDIA_NO_MEDIA_TIMEOUT_MS: millisecondsSetting(15_000, 1_000).describe(
    'A connected publisher that sends neither media nor sender reports for this long is given up.',
  ),
  WEIR_MEDIA_RTP_ACTIVITY_TIMEOUT_MS: millisecondsSetting(60_000, 1_000).describe(
    'A publisher whose sender reports come, but for this long no packet of any track that is checked, is given up; a static picture brings none.',
  ),
  WEIR_MEDIA_RTP_ACTIVITY_AUDIO: flagSetting(true).describe('Whether audio tracks of publishers are checked.'),
  WEIR_MEDIA_RTP_ACTIVITY_VIDEO: flagSetting(true).describe(
    'Whether video tracks of publishers are checked. A publisher without any checked track is never given up for its silence.',
  ),
  WEIR_MEDIA_RTP_ACTIVITY_AUDIO_EXCLUDE: namesSetting().describe(
    'Regular expression; streams whose whole name fits have their audio not checked.',
  ),
  WEIR_MEDIA_RTP_ACTIVITY_VIDEO_EXCLUDE: namesSetting().describe(
    'Regular expression; streams whose whole name fits have their video not checked.',
  ),
  WEIR_MEDIA_OWNER_TIMEOUT_MS: millisecondsSetting(4_000, 2_000).describe(
    'Sessions of a service instance that NATS no longer knows are closed when it has been silent for this long; of one that NATS knows and that gives no answer, after three times as long.',
  ),
  WEIR_MEDIA_MAX_BITRATE_BPS: countSetting(8_000_000, 100_000).describe(
    'Bits per second that a publisher may send when it asks for no less.',
  ),
  WEIR_MEDIA_MAX_SESSIONS: countSetting(2_000, 1).describe('Publishers and players that one media node takes.'),
  WEIR_RTSP_PORT: portSetting(8_554).describe('RTSP, in and out.'),
  WEIR_RTSP_HOST: z.string().default('0.0.0.0').describe('Address that RTSP is received on.'),
  WEIR_MEDIA_INTERNAL_ADDRESS: z
    .string()
    .default('127.0.0.1')
    .describe("IP address of this machine as the platform's other services reach it."),
  WEIR_MEDIA_SOURCE_GRACE_MS: millisecondsSetting(5_000).describe(
    'A pushing RTSP source that was lost may come back within this time, and its stream goes on.',
  ),
  WEIR_MEDIA_MAX_OWN_FEEDS: countSetting(50).describe(
    'WebRTC viewers of one RTSP source who begin with its last GOP, each on a feed of his own; more wait for a key frame.',
  ),
  WEIR_MEDIA_MAX_TRANSCODES: countSetting(16, 0).describe(
    'Streams that one media node transcodes for WebRTC at a time, each by an ffmpeg; more are refused to those who need it.',
  ),
  WEIR_RTSPS_VERIFY: flagSetting().describe(
    'Pull `rtsps://` only from cameras whose certificate is vouched for by an authority: the system’s, or those of WEIR_RTSPS_CA_FILE. Most cameras sign their own.',
  ),
  WEIR_RTSPS_CA_FILE: z
    .string()
    .optional()
    .describe('PEM file with the authorities of cameras’ certificates; needs WEIR_RTSPS_VERIFY=1.'),
  WEIR_RTSP_CONNECTIONS_PER_ADDRESS: countSetting(256).describe(
    'RTSP connections open at a time per address, of pushers and players; 0 is no limit.',
  ),
  FFMPEG_BIN: z.string().default('ffmpeg').describe('The ffmpeg program.'),
  ...outboundSettings,
} as const satisfies SettingsShape;
