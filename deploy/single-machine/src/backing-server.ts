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
}

/** @throws when the signal aborts */
export async function untilReady(server: BackingServer, signal: AbortSignal): Promise<void> {
  while (!(await server.isReady())) await delay(POLL_INTERVAL_MS, undefined, { signal });
}

/**
 * Connects to a port of this machine, says something and waits for an answer that contains what is expected.
 *
 * @returns false if nobody listens, the connection ends or a second passes before that
 */
export const answers = (port: number, request: string | Buffer, expected: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => end(false));
    socket.on('error', () => end(false));
    socket.on('close', () => end(false));
    socket.on('connect', () => socket.write(request));
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
      if (answer.includes(expected)) end(true);
    });
  });
