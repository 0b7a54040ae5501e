import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { WebSocket } from 'ws';

interface Command {
  id: string;
  act: string;
  arg: { camera: string; token: { base_uri?: string; uri?: string } };
  ebd?: unknown;
}

/** The `err` of a robot's reply to a command. */
export interface Said {
  ec: number;
  dm: string;
  em?: string;
}
const OK: Said = { ec: 0, dm: 'ok' };

export interface TestRobotOptions {
  httpUrl: string;
  /** The key of an operator of the robot's tenant. */
  operatorKey: string;
  id: string;
  cameras: readonly string[];
  /** ffmpeg's arguments before `-f rtsp <uri>`; ffmpeg is started once for each command. */
  picture: (camera: string) => readonly string[];
  /** Called instead of starting ffmpeg; if it returns undefined, the robot says nothing. */
  answer?: (camera: string, uri: string) => Said | undefined;
}

/** Creates a robot and its key, as an operator does by REST. @returns the key */
export async function createRobot({
  httpUrl,
  operatorKey,
  id,
  cameras,
}: Pick<TestRobotOptions, 'httpUrl' | 'operatorKey' | 'id' | 'cameras'>): Promise<string> {
  const post = async (path: string, body: object): Promise<unknown> => {
    const response = await fetch(`${httpUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${operatorKey}` },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  };
  await post('/channel/robots', { id, cameras: cameras.map((name) => ({ name })) });
  const { key } = (await post('/auth/keys', {
    label: id,
    grants: [{ verb: 'publish', object: `${id}/*` }],
  })) as { key: string };
  return key;
}

export async function removeRobot(
  { httpUrl, operatorKey }: Pick<TestRobotOptions, 'httpUrl' | 'operatorKey'>,
  id: string,
): Promise<void> {
  await fetch(`${httpUrl}/channel/robots/${id}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${operatorKey}` },
  });
}

/** A minimal robot in this process: it executes each command once, and restarts nothing. */
export class TestRobot {
  /** When the last command arrived, by `performance.now()`. */
  commandedAtMs = 0;
  readonly #pushes = new Map<string, ChildProcess>();

  private constructor(
    private readonly options: TestRobotOptions,
    readonly socket: WebSocket,
  ) {
    socket.on('message', (data: Buffer) => this.#take(JSON.parse(data.toString()) as Command));
    socket.on('error', () => undefined); // `close` follows
  }

  static async connect(options: TestRobotOptions): Promise<TestRobot> {
    const key = await createRobot(options);
    const socket = new WebSocket(`${options.httpUrl.replace('http:', 'ws:')}/channel/robot`, {
      headers: { authorization: `Bearer ${key}` },
    });
    const robot = new TestRobot(options, socket);
    await once(socket, 'open');
    return robot;
  }

  get id(): string {
    return this.options.id;
  }

  get isConnected(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  /** The ffmpeg that pushes a camera's picture. */
  pushOf(camera: string): ChildProcess | undefined {
    return this.#pushes.get(camera);
  }

  close(): void {
    this.socket.terminate();
    for (const camera of [...this.#pushes.keys()]) this.#stop(camera);
  }

  #take({ id, act, arg, ebd }: Command): void {
    this.commandedAtMs = performance.now();
    const err = this.#perform(act, arg);
    if (err === undefined) return;
    const ret = { base_uri: arg.token.base_uri };
    this.socket.send(JSON.stringify({ id, act: `${act}!`, err, ret, ...(ebd !== undefined && { ebd }) }));
  }

  #perform(act: string, { camera, token }: Command['arg']): Said | undefined {
    if (this.options.answer !== undefined) return this.options.answer(camera, token.uri ?? '');
    this.#stop(camera);
    if (act !== 'robot.start_stream') return OK;
    const push = spawn(
      'ffmpeg',
      [
        ...['-hide_banner', '-nostdin', '-loglevel', 'error', ...this.options.picture(camera)],
        ...['-f', 'rtsp', '-rtsp_transport', 'tcp', token.uri ?? ''],
      ],
      { stdio: 'ignore' },
    );
    push.on('error', () => undefined); // no picture comes, which the test notices
    this.#pushes.set(camera, push);
    return OK;
  }

  #stop(camera: string): void {
    this.#pushes.get(camera)?.kill('SIGKILL');
    this.#pushes.delete(camera);
  }
}
