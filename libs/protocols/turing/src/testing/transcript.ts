import {
  DEFAULT_APP_SETTINGS,
  DEFAULT_ROBOT_SETTINGS,
  newApp,
  newRobot,
  nextAppDeadlineMs,
  nextRobotDeadlineMs,
  stepApp,
  stepRobot,
  type AppEffect,
  type AppInput,
  type AppResult,
  type AppSettings,
  type AppState,
  type CommandRef,
  type Err,
  type Outcome,
  type RequestRef,
  type RobotCommand,
  type RobotEffect,
  type RobotInput,
  type RobotSettings,
  type RobotState,
} from '../index.js';

const START_MS = 1_700_000_000_000;

interface SentFrame {
  id?: unknown;
  act: string;
  err?: Err;
  ret?: unknown;
  arg?: unknown;
}

const words = (text: string): string => {
  const frame = JSON.parse(text) as SentFrame;
  const id = frame.id === undefined || frame.id === null ? '' : ` ${JSON.stringify(frame.id)}`;
  const outcome = frame.err === undefined ? '' : ` ${frame.err.ec} ${frame.err.dm}`;
  return `S ${frame.act}${id}${outcome}`;
};

/**
 * An app's socket with the machine and a clock of its own. `takes()` returns what happened since the last call, one
 * line each: `S <act> <id> <ec> <dm>` was sent to the app, and anything else is an effect.
 */
export class AppTranscript {
  state: AppState;
  nowMs = START_MS;
  readonly effects: AppEffect[] = [];
  #read = 0;

  constructor(settings: Partial<AppSettings> = {}) {
    this.state = newApp({ ...DEFAULT_APP_SETTINGS, ...settings }, 'key', this.nowMs);
  }

  given(input: AppInput): this {
    const { state, effects } = stepApp(this.state, input, this.nowMs);
    this.state = state;
    this.effects.push(...effects);
    return this;
  }

  says(frame: unknown): this {
    return this.given({ tag: 'frame', text: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }

  starts(id: unknown = 'abc'): this {
    return this.says({ id, act: 'robot.start_stream', arg: { robot_id: 'r1', camera: 'front' } });
  }

  answers(outcome: Outcome<AppResult> = { ok: true, ret: { stopped: true } }, ref = this.ref): this {
    return this.given({ tag: 'answered', ref, outcome });
  }

  /** The ref of the last request that the machine asked about. */
  get ref(): RequestRef {
    const ask = this.effects.findLast((effect) => effect.tag === 'ask');
    if (ask === undefined) throw new Error('nothing was asked');
    return ask.ref;
  }

  get sent(): string[] {
    return this.effects.flatMap((effect) => (effect.tag === 'send' ? [effect.text] : []));
  }

  waits(ms: number): this {
    const untilMs = this.nowMs + ms;
    for (let dueMs = nextAppDeadlineMs(this.state); dueMs <= untilMs; dueMs = nextAppDeadlineMs(this.state)) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      this.given({ tag: 'tick' });
    }
    this.nowMs = untilMs;
    return this;
  }

  takes(): string[] {
    const lines = this.effects.slice(this.#read).flatMap((effect): string[] => {
      switch (effect.tag) {
        case 'send':
          return [words(effect.text)];
        case 'ping':
          return ['ping'];
        case 'close':
          return [`close ${effect.code}`];
        case 'ask':
          return [`ask ${effect.request.act} ${JSON.stringify(effect.request.arg)}`];
        case 'replied':
          return [];
        default:
          return effect satisfies never;
      }
    });
    this.#read = this.effects.length;
    return lines;
  }
}

export const startCommand: RobotCommand = {
  act: 'robot.start_stream',
  arg: { robot_id: 'r1', camera: 'front', token: { base_uri: '/demo/r1/front/1', uri: 'rtsp://host/demo/r1/front?s' } },
};

/** The same for a robot's socket, with `<ref> ok` or `<ref> <ec> <dm>` for the outcome of a command. */
export class RobotTranscript {
  state: RobotState;
  nowMs = START_MS;
  readonly effects: RobotEffect[] = [];
  #read = 0;
  #commanded = 0;

  constructor(settings: Partial<RobotSettings> = {}) {
    this.state = newRobot({ ...DEFAULT_ROBOT_SETTINGS, ...settings }, this.nowMs);
  }

  given(input: RobotInput): this {
    const { state, effects } = stepRobot(this.state, input, this.nowMs);
    this.state = state;
    this.effects.push(...effects);
    return this;
  }

  commands(command: RobotCommand = startCommand, timeoutMs = 15_000): this {
    this.#commanded += 1;
    return this.given({ tag: 'command', ref: `c${this.#commanded}` as CommandRef, command, timeoutMs });
  }

  says(frame: unknown): this {
    return this.given({ tag: 'frame', text: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }

  get sent(): string[] {
    return this.effects.flatMap((effect) => (effect.tag === 'send' ? [effect.text] : []));
  }

  /** Lets time pass. The socket of a working robot answers pings. */
  waits(ms: number, { answersPings = true } = {}): this {
    const untilMs = this.nowMs + ms;
    for (let dueMs = nextRobotDeadlineMs(this.state); dueMs <= untilMs; dueMs = nextRobotDeadlineMs(this.state)) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      const from = this.effects.length;
      this.given({ tag: 'tick' });
      if (answersPings && this.effects.slice(from).some(({ tag }) => tag === 'ping')) this.given({ tag: 'heard' });
    }
    this.nowMs = untilMs;
    return this;
  }

  takes(): string[] {
    const lines = this.effects.slice(this.#read).flatMap((effect): string[] => {
      switch (effect.tag) {
        case 'send':
          return [words(effect.text)];
        case 'ping':
          return [];
        case 'close':
          return [`close ${effect.code}`];
        case 'commanded': {
          const { ref, outcome } = effect;
          return [outcome.ok ? `${ref} ok` : `${ref} ${outcome.err.ec} ${outcome.err.dm}`];
        }
        case 'unused':
          return [`unused ${effect.why}`];
        default:
          return effect satisfies never;
      }
    });
    this.#read = this.effects.length;
    return lines;
  }
}
