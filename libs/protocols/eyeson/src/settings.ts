import type { FrameLimits } from '@weir/timing';

/** Lengths in UTF-16 code units. */
export const LENGTHS = {
  frame: 128 * 1024,
  clientId: 256,
  sessionId: 128,
  sdp: 64 * 1024,
  url: 8_192,
  candidate: 4_096,
} as const;

/** Each full piece of this length adds the cost of one frame. */
const LENGTH_PER_FRAME_COST = 16_384;

export const frameCost = (length: number): number => 1 + Math.floor(length / LENGTH_PER_FRAME_COST);

export interface SocketSettings extends FrameLimits {
  /** The time from the opening of the socket to the message that starts the session. */
  readonly startDeadlineMs: number;
  /** The longest time that the media core and the recorder may take to answer. */
  readonly answerDeadlineMs: number;
  readonly pingIntervalMs: number;
  /** The socket counts as lost if nothing arrives for this long, not even a pong. */
  readonly silentAfterMs: number;
  /** This many frames that aren't messages end the socket. */
  readonly maxMalformed: number;
}

export const DEFAULT_SETTINGS: SocketSettings = {
  startDeadlineMs: 30_000,
  answerDeadlineMs: 20_000,
  pingIntervalMs: 5_000,
  silentAfterMs: 15_000,
  frameBurst: 200,
  framesPerSecond: 20,
  maxMalformed: 10,
};

/** Codes of the WebSocket close frame. The 4xxx codes are weir's own, modelled on HTTP's. */
export const CLOSE = {
  /** The session has ended; `session_terminated` says why. */
  ended: 1000,
  /** The frame exceeds the socket's limit; the WebSocket layer sends this code. */
  tooBig: 1009,
  /** Too many frames that aren't messages. */
  protocolError: 4400,
  /** No session was started in time. */
  timeout: 4408,
  flood: 4429,
  /** The client reads more slowly than data is sent to it. */
  slowReader: 4430,
} as const;

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/** The most supervisors of a client's session at a time. */
export const MAX_SUPERVISORS = 3;
