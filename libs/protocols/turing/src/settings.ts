import type { FrameLimits } from '@weir/timing';

/** Lengths in UTF-16 code units. */
export const LENGTHS = {
  frame: 64 * 1024,
  /** `id` as JSON text. */
  id: 1024,
  /** `ebd` as JSON text. */
  ebd: 16 * 1024,
  act: 64,
  name: 64,
} as const;

/** Each full piece of this length adds the cost of one frame. */
export const LENGTH_PER_FRAME_COST = 4_096;

export const frameCost = (length: number): number => 1 + Math.floor(length / LENGTH_PER_FRAME_COST);

interface SocketLimits extends FrameLimits {
  /** This many frames that aren't messages end the socket. */
  readonly maxMalformed: number;
}

export interface LifeSigns {
  readonly pingIntervalMs: number;
  /** The socket ends if nothing arrives for this long, not even a pong. */
  readonly silentAfterMs: number;
}

/** Settings for every app's socket of a process. */
export interface AppSettings extends SocketLimits, LifeSigns {
  /** The time from a request to its reply, in every case. */
  readonly requestDeadlineMs: number;
  readonly maxRequests: number;
}

/** Settings for every robot's socket of a process. */
export interface RobotSettings extends SocketLimits, LifeSigns {
  /** How many commands may wait for the robot's reply at a time. */
  readonly maxCommands: number;
}

export const DEFAULT_APP_SETTINGS: AppSettings = {
  frameBurst: 60,
  framesPerSecond: 20,
  maxMalformed: 10,
  pingIntervalMs: 20_000,
  silentAfterMs: 50_000,
  requestDeadlineMs: 20_000,
  maxRequests: 32,
};

/** A robot without power must be offline within 10 s. It is silent for 7 s; ticks and timers take the rest. */
export const DEFAULT_ROBOT_SETTINGS: RobotSettings = {
  frameBurst: 200,
  framesPerSecond: 50,
  maxMalformed: 10,
  pingIntervalMs: 2_500,
  silentAfterMs: 7_000,
  maxCommands: 64,
};

/** Codes of the WebSocket close frame. The 4xxx codes are weir's own, modelled on HTTP's. */
export const CLOSE = {
  /** The instance is shutting down. */
  goingAway: 1001,
  /** The frame exceeds the socket's limit; the WebSocket layer sends this code. */
  tooBig: 1009,
  /** Too many frames that aren't messages. */
  protocolError: 4400,
  /** The token has expired or was revoked. */
  notLoggedIn: 4401,
  /** The robot was removed, or the token no longer says which one it is. */
  forbidden: 4403,
  /** Silent for too long. */
  timeout: 4408,
  /** The robot has connected again; this is its old socket. */
  replaced: 4409,
  flood: 4429,
  /** The client reads more slowly than data is sent to it. */
  slowReader: 4430,
} as const;

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];
