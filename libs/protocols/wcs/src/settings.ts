/** Settings for every session of a process; sessions share one object. */
export interface SessionSettings {
  /** Sent to clients in `getVersion`. */
  readonly version: string;
  readonly pingIntervalMs: number;
  /** The session ends after this many pings without any frame from the client. */
  readonly pingProbes: number;
  /** From the socket's opening to the `connection` message. */
  readonly connectionDeadlineMs: number;
  /** How long the decision about a connection, a stream or a request may take. */
  readonly decisionDeadlineMs: number;
  /** From the permission to PUBLISHING or PLAYING. */
  readonly mediaDeadlineMs: number;
  /** How long PUBLISHING waits for the start of the recording. */
  readonly recordDeadlineMs: number;
  /** From the permission to the answer of `availableStream` and `snapshot`. */
  readonly queryDeadlineMs: number;
  readonly maxStreams: number;
  /** How many `availableStream`, `snapshot` and `sendData` may be in progress at the same time. */
  readonly maxQueries: number;
  /** How many frames above the rate may arrive at once. */
  readonly frameBurst: number;
  readonly framesPerSecond: number;
  /** This many unreadable frames end the session. */
  readonly maxMalformed: number;
}

export const DEFAULT_SETTINGS: SessionSettings = {
  version: '5.2.0-weir',
  pingIntervalMs: 5_000,
  pingProbes: 10,
  connectionDeadlineMs: 10_000,
  decisionDeadlineMs: 16_000,
  mediaDeadlineMs: 14_500,
  recordDeadlineMs: 3_000,
  queryDeadlineMs: 16_000,
  maxStreams: 64,
  maxQueries: 16,
  frameBurst: 300,
  framesPerSecond: 100,
  maxMalformed: 10,
};

/** This many characters or bytes of a frame add the cost of one frame, in proportion. */
export const LENGTH_PER_FRAME_COST = 4_096;
/** The SDK sends all its stored log lines at once, one frame each, when a debug session starts. */
export const LOG_FRAME_COST = 0.1;

/** Codes of the WebSocket close frame. The 4xxx codes are weir's own, modelled on HTTP's. */
export const CLOSE = {
  normal: 1000,
  /** The instance is shutting down. */
  goingAway: 1001,
  /** The frame exceeds the socket's limit; the WebSocket layer sends this code. */
  tooBig: 1009,
  /** Something other than `connection` came first, or too many unreadable frames. */
  protocolError: 4400,
  /** The token isn't valid or has been revoked. */
  unauthenticated: 4401,
  /** Access was refused. */
  forbidden: 4403,
  /** There is no such application. */
  unknownApplication: 4404,
  /** `connection` didn't arrive in time, or pings weren't answered. */
  timeout: 4408,
  /** weir doesn't support media over WebSocket. */
  unsupported: 4415,
  /** More frames than the session may send. */
  flood: 4429,
  /** The client reads more slowly than data is sent to it. */
  slowReader: 4430,
  /** An operator ended the session. */
  terminated: 4440,
  /** The service that decides about access can't be reached. */
  unavailable: 4503,
} as const;

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];
