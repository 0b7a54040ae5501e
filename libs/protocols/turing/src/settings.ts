/** Lengths in UTF-16 units. */
export const LENGTHS = {
  frame: 64 * 1024,
  /** `id` as JSON text. */
  id: 1024,
  /** `ebd` as JSON text. */
  ebd: 16 * 1024,
  act: 64,
  name: 64,
} as const;

/** What a long frame costs beyond the one frame that it is. */
export const LENGTH_PER_FRAME_COST = 4_096;

export interface FrameLimits {
  /** Frames in excess of the rate that may come at once. */
  readonly frameBurst: number;
  readonly framesPerSecond: number;
  /** So many frames that are no messages end the socket. */
  readonly maxMalformed: number;
}

export interface LifeSigns {
  readonly pingIntervalMs: number;
  /** Nothing heard for so long, not even a pong, ends the socket. */
  readonly silentAfterMs: number;
}

/** Numbers that hold for every app's socket of a process. */
export interface AppSettings extends FrameLimits, LifeSigns {
  /** From a request to its reply, whatever happens. */
  readonly requestDeadlineMs: number;
  readonly maxRequests: number;
}

/** Numbers that hold for every robot's socket of a process. */
export interface RobotSettings extends FrameLimits, LifeSigns {
  /** Commands that wait for the robot's reply at a time. */
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

/** A robot without power is offline within 10 s: it is silent for 7 s, and ticks and timers take their part. */
export const DEFAULT_ROBOT_SETTINGS: RobotSettings = {
  frameBurst: 200,
  framesPerSecond: 50,
  maxMalformed: 10,
  pingIntervalMs: 2_500,
  silentAfterMs: 7_000,
  maxCommands: 64,
};

/** Codes of the WebSocket close frame. 4xxx are ours, modelled on HTTP's. */
export const CLOSE = {
  /** The instance is going down. */
  goingAway: 1001,
  /** A frame over the socket's limit; sent by the WebSocket layer. */
  tooBig: 1009,
  /** Too many frames that are no messages. */
  protocolError: 4400,
  /** The token has expired or was revoked. */
  notLoggedIn: 4401,
  /** The robot was removed, or the token no longer says which one it is. */
  forbidden: 4403,
  /** Silent for too long. */
  timeout: 4408,
  /** The robot has connected anew; this is its old socket. */
  replaced: 4409,
  flood: 4429,
  /** The peer reads more slowly than it is sent to. */
  slowReader: 4430,
} as const;

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];
