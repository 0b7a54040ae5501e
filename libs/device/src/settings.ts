import type { Pace } from '@weir/timing';

export interface DeviceSettings {
  /** The longest time until the first connection. */
  readonly startDeadlineMs: number;
  /** The longest time until the answer to a request. */
  readonly answerDeadlineMs: number;
  /** A socket that isn't open after this time is given up, and another one is tried. */
  readonly connectDeadlineMs: number;
  /** The pauses between tries to connect. */
  readonly pace: Pace;
  /** The same while there are calls: the server keeps a call for 10 s without its device. */
  readonly paceInCall: Pace;
  readonly pingIntervalMs: number;
  readonly pingIntervalInCallMs: number;
  /** The connection is given up when nothing has come for this long after a ping. */
  readonly pongDeadlineMs: number;
  /** ICE that is disconnected for this long begins again; it often comes back by itself before. */
  readonly iceGraceMs: number;
  /** The pause between tries to begin ICE again. */
  readonly iceRetryMs: number;
  /** A call without connection ends after this time, even if no server can say so. */
  readonly giveUpAfterMs: number;
  /** How often the call's quality is measured. */
  readonly qualityIntervalMs: number;
}

export const DEFAULT_SETTINGS: DeviceSettings = {
  startDeadlineMs: 15_000,
  answerDeadlineMs: 15_000,
  connectDeadlineMs: 4_000,
  pace: { firstMs: 300, maxMs: 30_000 },
  paceInCall: { firstMs: 200, maxMs: 2_000 },
  pingIntervalMs: 20_000,
  pingIntervalInCallMs: 2_500,
  pongDeadlineMs: 4_000,
  iceGraceMs: 1_000,
  iceRetryMs: 3_000,
  giveUpAfterMs: 45_000,
  qualityIntervalMs: 5_000,
};
