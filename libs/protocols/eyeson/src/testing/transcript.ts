import {
  DEFAULT_SETTINGS,
  newSession,
  nextDeadlineMs,
  step,
  type Effect,
  type Holder,
  type Input,
  type SessionState,
  type SocketSettings,
} from '../index.js';

const START_MS = 1_700_000_000_000;
export const UPLOAD_URL = 'https://bucket.example/file?X-Amz-Signature=1';

export const CLIENT: Holder = { generation: 'second', role: 'client', clientId: 'client-0' };
export const FIRST: Holder = { generation: 'first', role: 'client', clientId: 'client-0' };
export const SUPERVISOR: Holder = { generation: 'second', role: 'supervisor', clientId: 'guard' };

interface Sent {
  readonly type: string;
  readonly data: {
    readonly code?: string;
    readonly state?: string;
    readonly rec_id?: string;
    readonly reason?: string;
    readonly termination_cause?: string;
    readonly sdp?: { readonly type: string };
  };
}

const words = (text: string): string => {
  const { type, data } = JSON.parse(text) as Sent;
  const detail = [data.code, data.state, data.rec_id, data.reason, data.termination_cause, data.sdp?.type];
  return ['S', type, ...detail.filter((word) => word !== undefined)].join(' ');
};

const line = (effect: Effect): string | undefined => {
  switch (effect.tag) {
    case 'send':
      return words(effect.text);
    case 'close':
      return `close ${effect.code} ${effect.reason}`;
    case 'start':
      return `start ${effect.message.tag}`;
    case 'end':
      return `end ${effect.cause}`;
    case 'stop-recording':
      return `stop-recording ${effect.recordingId}`;
    case 'ping':
    case 'refusal':
      return undefined;
    case 'renegotiate':
    case 'answer':
    case 'start-recording':
      return effect.tag;
    default:
      return effect satisfies never;
  }
};

/**
 * A socket with the machine and a clock of its own. `takes()` returns what happened since the last call, one line each:
 * `S <type> …` was sent to the client, anything else is an effect.
 */
export class Transcript {
  state: SessionState;
  nowMs = START_MS;
  readonly effects: Effect[] = [];
  #read = 0;

  constructor(
    private readonly holder: Holder = CLIENT,
    settings: Partial<SocketSettings> = {},
  ) {
    this.state = newSession({ ...DEFAULT_SETTINGS, ...settings }, holder, this.nowMs);
  }

  given(input: Input): this {
    const { state, effects } = step(this.state, input, this.nowMs);
    this.state = state;
    this.effects.push(...effects);
    return this;
  }

  says(type: string, data?: unknown, more: object = {}): this {
    const id = this.holder.generation === 'first' ? { rec_id: 's1' } : { session_id: 's1' };
    const text = JSON.stringify({ type, client_id: this.holder.clientId, ...id, data, ...more });
    return this.given({ tag: 'frame', text });
  }

  starts(): this {
    const sdp = { type: 'offer', sdp: 'v=0' };
    if (this.holder.role === 'supervisor')
      return this.says('supervisor_join_session', { sdp, session_id_to_monitor: 's0' });
    return this.holder.generation === 'first'
      ? this.says('recording_start', { sdp, upload_url: UPLOAD_URL })
      : this.says('session_start', { sdp, webhook_url: 'https://hooks.example/' });
  }

  records(): this {
    return this.says('recording_start', { upload_url: UPLOAD_URL });
  }

  answered(): this {
    return this.given({ tag: 'started', answerSdp: 'v=0', candidates: [] });
  }

  /** Started and answered, with nothing left to read. */
  live(): this {
    this.starts().answered().takes();
    return this;
  }

  /** Recording too, with nothing left to read. */
  recording(): this {
    this.live();
    if (this.holder.generation === 'second') this.records();
    this.given({ tag: 'recording-started', recordingId: 'r1' }).takes();
    return this;
  }

  /** Lets time pass. A working client answers pings. */
  waits(ms: number, { answersPings = true } = {}): this {
    const untilMs = this.nowMs + ms;
    for (let dueMs = nextDeadlineMs(this.state); dueMs <= untilMs; dueMs = nextDeadlineMs(this.state)) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      const from = this.effects.length;
      this.given({ tag: 'tick' });
      if (answersPings && this.effects.slice(from).some(({ tag }) => tag === 'ping')) this.given({ tag: 'heard' });
    }
    this.nowMs = untilMs;
    return this;
  }

  takes(): string[] {
    const lines = this.effects.slice(this.#read).flatMap((effect) => line(effect) ?? []);
    this.#read = this.effects.length;
    return lines;
  }

  get sent(): unknown[] {
    return this.effects.flatMap((effect) => (effect.tag === 'send' ? [JSON.parse(effect.text) as unknown] : []));
  }
}
