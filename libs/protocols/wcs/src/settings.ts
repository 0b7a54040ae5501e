/** Numbers that hold for every session of a process; sessions share one object. */
export interface SessionSettings {
  /** Told to clients in `getVersion`. */
  readonly version: string;
  readonly pingIntervalMs: number;
  /** So many pings without any frame from the client end the session. */
  readonly pingProbes: number;
  /** From the socket's opening to the `connection` message. */
  readonly connectionDeadlineMs: number;
  /** How long deciding about a connection, a stream or a request may take. */
  readonly decisionDeadlineMs: number;
  /** From the permission to PUBLISHING or PLAYING. */
  readonly mediaDeadlineMs: number;
  /** From the permission to the answer of `availableStream` and `snapshot`. */
  readonly queryDeadlineMs: number;
  readonly maxStreams: number;
  /** `availableStream`, `snapshot` and `sendData` under way at the same time. */
  readonly maxQueries: number;
  /** Frames in excess of the rate that may come at once. */
  readonly frameBurst: number;
  readonly framesPerSecond: number;
  /** So many unreadable frames end the session. */
  readonly maxMalformed: number;
}

export const DEFAULT_SETTINGS: SessionSettings = {
  version: '5.2.0-weir',
  pingIntervalMs: 5_000,
  pingProbes: 10,
  connectionDeadlineMs: 10_000,
  decisionDeadlineMs: 16_000,
  mediaDeadlineMs: 14_500,
  queryDeadlineMs: 16_000,
  maxStreams: 64,
  maxQueries: 16,
  frameBurst: 300,
  framesPerSecond: 100,
  maxMalformed: 10,
};

/** What a long frame costs beyond the one frame that it is. */
export const LENGTH_PER_FRAME_COST = 4_096;
/** The SDK sends all its stored log lines at once, one frame each, when a debug session starts. */
export const LOG_FRAME_COST = 0.1;

/** Codes of the WebSocket close frame. 4xxx are ours, modelled on HTTP's. */
export const CLOSE = {
  normal: 1000,
  /** The instance is going down. */
  goingAway: 1001,
  /** A frame over the socket's limit; sent by the WebSocket layer. */
  tooBig: 1009,
  /** Something other than `connection` came first, or too many unreadable frames. */
  protocolError: 4400,
  /** The token isn't valid, or has been revoked. */
  unauthenticated: 4401,
  /** Access was refused. */
  forbidden: 4403,
  /** No such application. */
  unknownApplication: 4404,
  /** No `connection` in time, or pings unanswered. */
  timeout: 4408,
  /** Media over WebSocket isn't served. */
  unsupported: 4415,
  /** More frames than the session may send. */
  flood: 4429,
  /** The client reads more slowly than it is sent to. */
  slowReader: 4430,
  /** An operator ended the session. */
  terminated: 4440,
  /** What decides about access can't be reached. */
  unavailable: 4503,
} as const;

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];
