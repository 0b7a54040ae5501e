/** Success or failure, as in every reply (specification 3.1). */
export interface Err {
  readonly ec: number;
  /** For people. */
  readonly em: string;
  /** A word for programs. */
  readonly dm: string;
}

export const SUCCESS: Err = { ec: 0, em: 'This operation is successful.', dm: 'ok' };

/**
 * Every refusal on the robots' interface. Devices treat ec 100 to 110 as final and try again after any other, so
 * temporary problems have the corresponding HTTP status as their number.
 */
const PROBLEMS = {
  'unknown-act': { ec: 102, dm: 'invalid_operation', em: 'There is no such act.' },
  'not-a-request': { ec: 103, dm: 'input', em: 'The frame is not a request.' },
  'too-long': { ec: 103, dm: 'input', em: 'The frame is too long.' },
  'invalid-arg': { ec: 103, dm: 'invalid_arg', em: 'An argument is missing or not valid.' },
  'no-such-camera': { ec: 103, dm: 'invalid_arg', em: 'The robot has no such camera.' },
  'not-logged-in': {
    ec: 104,
    dm: 'not_logged_in',
    em: 'You are not logged in, or the log-in has ended. Log in again.',
  },
  /** Also used for robots that don't exist, so that nobody can find out which robots others have. */
  'not-permitted': { ec: 107, dm: 'permission', em: 'You may not use this robot or camera, or it does not exist.' },
  timeout: { ec: 106, dm: 'timeout', em: 'The robot did not answer in time.' },
  'no-media': { ec: 106, dm: 'timeout', em: 'No picture came from the camera in time.' },
  'ffmpeg-failed': { ec: 106, dm: 'ffmpeg_failed', em: "The robot can't send its picture." },
  'command-failed': { ec: 106, dm: 'cmd_error', em: 'The robot reports an error.' },
  'source-failed': { ec: 106, dm: 'connection_error', em: "The camera's picture can't be fetched." },
  'name-taken': { ec: 106, dm: 'logic_error', em: 'Somebody else publishes a stream with this name.' },
  'stream-failed': { ec: 106, dm: 'failed', em: 'The stream ended while it was being started.' },
  'not-streaming': { ec: 404, dm: 'no_stream', em: 'The camera has no stream now. Start it first.' },
  'robot-offline': { ec: 400, dm: 'robot_offline', em: 'The robot is offline.' },
  'too-many': { ec: 429, dm: 'limited', em: 'Too many requests at a time. Wait for some answers.' },
  internal: { ec: 500, dm: 'logic_error', em: 'The server has failed. Its log says why.' },
  unavailable: { ec: 503, dm: 'connection_error', em: "This can't be done now. Try again later." },
} as const satisfies Record<string, Err>;

export type Problem = keyof typeof PROBLEMS;
export const PROBLEM_NAMES = Object.keys(PROBLEMS) as Problem[];

/** @param detail for people, appended to the problem's own text */
export const errOf = (problem: Problem, detail?: string): Err => {
  const { ec, em, dm } = PROBLEMS[problem];
  return { ec, em: detail === undefined ? em : `${em} ${detail}`, dm };
};

const MACHINE_WORD = /^[a-z][a-z0-9_]{0,31}$/;
const MAX_REPORTED_LENGTH = 200;

/** What an app is told when a robot refuses. The robot's number means nothing to apps, but its word does. */
export const errOfRobot = ({ em, dm }: { readonly em: string; readonly dm: string }): Err => {
  const said = em.slice(0, MAX_REPORTED_LENGTH).trim();
  const detail = said === '' ? undefined : said;
  if (dm === 'robot_offline') return errOf('robot-offline', detail);
  if (dm === 'ffmpeg_failed') return errOf('ffmpeg-failed', detail);
  const err = errOf('command-failed', detail);
  return MACHINE_WORD.test(dm) && dm !== 'ok' ? { ...err, dm } : err;
};
