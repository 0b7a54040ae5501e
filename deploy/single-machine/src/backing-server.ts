import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ProcessDefinition } from './supervised-process.js';

const POLL_INTERVAL_MS = 50;
const ANSWER_TIMEOUT_MS = 1_000;

/** A server that the services need: NATS, Redis or PostgreSQL. */
export interface BackingServer {
  process: ProcessDefinition;
  /** With user and password. */
  url: string;
  /** Whether it serves clients now. */
  isReady(): Promise<boolean>;
  /** Called again and again while the server runs. */
  tend?: (say: (line: string) => void) => Promise<void>;
}

/** @throws if the signal aborts */
export async function untilReady(server: BackingServer, signal: AbortSignal): Promise<void> {
  while (!(await server.isReady())) await delay(POLL_INTERVAL_MS, undefined, { signal });
}

/**
 * Connects to a port of this machine, sends a request and waits for an answer that contains the expected text.
 *
 * @returns false if nobody listens, or if the connection ends or a second passes before that
 */
export const answers = async (port: number, request: string | Buffer, expected: string): Promise<boolean> =>
  (await answerOf(port, request, (answer) => answer.includes(expected))) !== undefined;

/** @returns the answer as soon as it is enough; undefined if it isn't within a second */
export const answerOf = (
  port: number,
  request: string | Buffer,
  isEnough: (answer: string) => boolean,
): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    const end = (result: string | undefined) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => end(undefined));
    socket.on('error', () => end(undefined));
    socket.on('close', () => end(undefined));
    socket.on('connect', () => socket.write(request));
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
      if (isEnough(answer)) end(answer);
    });
  });
