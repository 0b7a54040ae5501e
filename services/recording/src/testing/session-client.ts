import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { RECORDING_AUDIENCE } from '@weir/access';
import type { FakeAuth } from '@weir/access/testing';
import { WebSocket } from 'ws';
import type { Answered, Recorder } from './recorder.js';

/** A token of the recording protocol. */
export const recordingToken = (
  auth: FakeAuth,
  claims: Readonly<Record<string, unknown>>,
  tokenId: string = randomUUID(),
): Promise<string> =>
  auth.sign({ tenant: 'acme', api_id: 'doors', jti: tokenId, ...claims }, { audience: RECORDING_AUDIENCE, life: '1h' });

/** A request as curl's -d and the first generation's SDK send it. */
export const sessionRequest = async (
  recorder: Recorder,
  method: 'GET' | 'POST',
  path: string,
  token: string | undefined,
  body?: unknown,
): Promise<{ status: number; json: Answered }> => {
  const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'text/plain;charset=UTF-8' };
  const answer = await recorder.request(method, path, { as: token ?? null, body, headers });
  return { status: answer.status, json: answer.body };
};

interface ServerFrame {
  readonly type: string;
  readonly client_id: string;
  readonly session_id?: string;
  readonly rec_id?: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The client's end of a socket. */
export class RtmClient {
  readonly frames: ServerFrame[] = [];
  readonly #socket: WebSocket;
  closed: { code: number; reason: string } | undefined;

  constructor(url: string, headers: Record<string, string> = {}, autoPong = true) {
    this.#socket = new WebSocket(url, { headers, autoPong });
    this.#socket.on('message', (data: Buffer) => this.frames.push(JSON.parse(data.toString()) as ServerFrame));
    this.#socket.on('close', (code, reason) => (this.closed = { code, reason: reason.toString() }));
    this.#socket.on('error', () => undefined);
  }

  /** The HTTP status with which a socket is refused. */
  static refusal(url: string): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode));
      socket.on('open', () => reject(new Error('the socket was opened')));
      socket.on('error', () => undefined);
    });
  }

  async opened(): Promise<this> {
    await once(this.#socket, 'open');
    return this;
  }

  say(frame: unknown): void {
    this.#socket.send(JSON.stringify(frame));
  }

  /** Ends the connection without a close frame. */
  drop(): void {
    this.#socket.terminate();
  }

  get types(): string[] {
    return this.frames.map(({ type }) => type);
  }
}
