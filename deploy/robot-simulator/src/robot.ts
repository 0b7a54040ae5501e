import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { ffmpegArguments } from './picture.js';
import { Push } from './push.js';
import type { Fault, RobotSettings } from './settings.js';

const requestSchema = z.object({
  id: z.unknown(),
  act: z.string(),
  ebd: z.unknown().optional(),
  arg: z.object({
    robot_id: z.string(),
    camera: z.string(),
    token: z.object({ base_uri: z.string().default(''), uri: z.string().default('') }).prefault({}),
  }),
});
type Request = z.infer<typeof requestSchema>;

interface Err {
  readonly ec?: number;
  readonly em?: string;
  readonly dm: string;
}

const OK: Err = { ec: 0, em: 'ok', dm: 'ok' };
const SLOWNESS_MS = 5_000;

interface Running {
  readonly baseUri: string;
  readonly push: Push;
  readonly begun: Promise<boolean>;
}

/** A robot with cameras that push their pictures on request. */
export class Robot {
  readonly #running = new Map<string, Running>();
  /** Requests are handled one after the other, as on a real robot. */
  #queue: Promise<void> = Promise.resolve();

  constructor(
    private readonly settings: RobotSettings,
    private readonly log: (message: string) => void,
  ) {}

  /** Handles a text from the channel. Anything that isn't a request is dropped. */
  take(text: string, answer: (text: string) => void): void {
    const request = requestSchema.safeParse(parsedJson(text));
    if (!request.success) return;
    if (this.#has('silent')) {
      this.log(`${request.data.act}: saying nothing`);
      return;
    }
    this.#queue = this.#queue.then(async () => {
      const { err, ret } = await this.#perform(request.data);
      if (this.#has('slow')) await sleep(SLOWNESS_MS);
      const { id, act, ebd } = request.data;
      const said = this.#has('terse') ? { dm: err.dm } : err;
      answer(JSON.stringify({ id, act: `${act}!`, err: said, ret, ...(ebd !== undefined && { ebd }) }));
    });
  }

  /** Ends every push. */
  async stop(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((camera) => this.#stop(camera)));
  }

  /** The pids of the processes that push. */
  get pids(): number[] {
    return [...this.#running.values()].flatMap(({ push }) => push.pid ?? []);
  }

  #has(fault: Fault): boolean {
    return this.settings.faults.includes(fault);
  }

  async #perform({ act, arg }: Request): Promise<{ readonly err: Err; readonly ret: unknown }> {
    const { robot_id: robotId, camera, token } = arg;
    if (robotId !== this.settings.robotId)
      return { err: { ec: 400, em: `I am the robot ${this.settings.robotId}`, dm: 'invalid_arg' }, ret: {} };
    switch (act) {
      case 'robot.start_stream':
        return { err: await this.#start(camera, token), ret: { base_uri: token.base_uri } };
      case 'robot.stop_stream':
        // A late stop must not end a stream that has replaced the one it is meant for.
        if (token.base_uri === '' || this.#running.get(camera)?.baseUri === token.base_uri) await this.#stop(camera);
        return { err: OK, ret: {} };
      default:
        return { err: { ec: 400, em: `I don't know the act ${act}`, dm: 'invalid_operation' }, ret: {} };
    }
  }

  async #start(camera: string, token: { readonly base_uri: string; readonly uri: string }): Promise<Err> {
    const index = this.settings.cameras.indexOf(camera);
    if (index === -1) return { ec: 400, em: `I have no camera ${camera}`, dm: 'invalid_arg' };
    const running = this.#running.get(camera);
    if (running !== undefined && running.baseUri === token.base_uri) return (await running.begun) ? OK : FFMPEG_FAILED;
    await this.#stop(camera);
    const push = new Push({
      command: this.#has('ffmpeg-failed')
        ? ['false']
        : [this.settings.ffmpeg, ...ffmpegArguments(camera, index, token.uri, this.settings)],
      log: (message) => this.log(`${camera}: ${message}`),
      gaveUp: () => this.#forget(camera, push),
    });
    const begun = push.start();
    this.#running.set(camera, { baseUri: token.base_uri, push, begun });
    if (await begun) {
      this.log(`${camera}: pushing`);
      return OK;
    }
    this.log(`${camera}: ffmpeg failed (${push.lastWords || 'no message'})`);
    this.#forget(camera, push);
    return { ...FFMPEG_FAILED, em: push.lastWords };
  }

  async #stop(camera: string): Promise<void> {
    const running = this.#running.get(camera);
    if (running === undefined) return;
    await running.push.stop();
    this.#forget(camera, running.push);
    this.log(`${camera}: stopped`);
  }

  #forget(camera: string, push: Push): void {
    if (this.#running.get(camera)?.push === push) this.#running.delete(camera);
  }
}

const FFMPEG_FAILED: Err = { ec: 400, em: 'ffmpeg failed', dm: 'ffmpeg_failed' };

const parsedJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};
