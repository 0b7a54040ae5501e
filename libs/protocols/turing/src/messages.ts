import { z } from 'zod';
import { LENGTHS } from './settings.js';

/**
 * The names that robots and cameras may have: they fit between two slashes of a URL and into the pattern of a grant.
 */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

const name = z.string().max(LENGTHS.name).regex(NAME_PATTERN);
const ofCamera = z.object({ robot_id: name, camera: name });

/** Each act that an app may request, with its `arg`. Other fields are dropped. */
export const appActs = {
  'robot.start_stream': ofCamera,
  'robot.stop_stream': ofCamera,
  'robot.start_recording': ofCamera,
  'robot.stop_recording': ofCamera,
  'robot.list': z.object({}),
  'robot.list_cameras': z.object({ robot_id: name }),
} as const;

export type AppAct = keyof typeof appActs;
export const APP_ACTS = Object.keys(appActs) as AppAct[];

export type AppRequest = {
  [Act in AppAct]: { readonly act: Act; readonly arg: z.infer<(typeof appActs)[Act]> };
}[AppAct];

/**
 * The parts of a request that its reply needs. They are JSON texts, so that no conversion to numbers and objects loses
 * anything.
 */
export interface ReplyTo {
  readonly id: string;
  readonly act: string;
  readonly ebd: string | undefined;
}

export interface StreamUris {
  /** A signed RTSP URL to play. */
  readonly uri: string;
  readonly hls_uri: string;
  readonly rtsp_uri: string;
  /** The stream's name for WebRTC players. */
  readonly stream: string;
}

export interface CameraRecording {
  readonly recording_id: string;
  /** Milliseconds since 1970; null until its file has begun. */
  readonly started_at: number | null;
}

export interface RobotEntry {
  readonly robot_id: string;
  readonly status: RobotStatus;
}

export interface CameraEntry {
  readonly camera: string;
  readonly default: boolean;
  readonly stream: string;
  readonly hls_uri: string;
}

export type RobotStatus = 'online' | 'robot_offline';

export type AppResult =
  | StreamUris
  | { readonly stopped: boolean }
  | CameraRecording
  | { readonly robots: readonly RobotEntry[] }
  | { readonly cameras: readonly CameraEntry[] };

/** What apps are told without a request: no `id`, no `!`. */
export interface AppEvent {
  readonly act: 'robot.state';
  readonly arg: RobotEntry;
}

/** Where a robot must push its picture. */
export interface PushToken {
  /** Changes with every stream. A robot that already pushes to this one continues; for another one it starts again. */
  readonly base_uri: string;
  /** Signed; valid for a push that starts soon. */
  readonly uri: string;
}

/** What the platform tells robots to do. */
export type RobotCommand =
  | {
      readonly act: 'robot.start_stream';
      readonly arg: { readonly robot_id: string; readonly camera: string; readonly token: PushToken };
    }
  | {
      readonly act: 'robot.stop_stream';
      readonly arg: {
        readonly robot_id: string;
        readonly camera: string;
        readonly token: { readonly base_uri: string };
      };
    };

const pushToken = z.object({ base_uri: z.string().max(2_048), uri: z.string().max(4_096) });

/** The same as a schema, for commands that arrive over the bus. */
export const robotCommandSchema = z.discriminatedUnion('act', [
  z.object({ act: z.literal('robot.start_stream'), arg: ofCamera.extend({ token: pushToken }) }),
  z.object({
    act: z.literal('robot.stop_stream'),
    arg: ofCamera.extend({ token: pushToken.pick({ base_uri: true }) }),
  }),
]) satisfies z.ZodType<RobotCommand>;

/**
 * A robot's report on a command. Some robots leave out `ec`; it then counts as 0 if `dm` is "ok", and as an error
 * otherwise. Values of a wrong type count as left out.
 */
export const robotErrSchema = z.object({
  ec: z.number().int().optional().catch(undefined),
  em: z.string().optional().catch(undefined),
  dm: z.string().optional().catch(undefined),
});
