import {
  DEFAULT_SETTINGS,
  newSession,
  nextDeadlineMs,
  step,
  type Decision,
  type Effect,
  type Input,
  type MediaEvent,
  type StreamId,
  type QueryId,
  type ServerMessage,
  type SessionSettings,
  type SessionState,
} from '../index.js';

const START_MS = 1_700_000_000_000;

/** The words that distinguish a message from others with its name. */
const words = (message: ServerMessage): string => {
  switch (message.message) {
    case 'notifyStreamStatusEvent': {
      const [{ status, info }] = message.data;
      return info === undefined ? status : `${status} "${info}"`;
    }
    case 'fail': {
      const [{ apiMethod, info }] = message.data;
      return `${apiMethod} "${info}"`;
    }
    case 'availableStream': {
      const [{ status, info }] = message.data;
      return info === undefined ? `"${status}"` : `"${status}" "${info}"`;
    }
    case 'notifyStreamEvent': {
      const [event] = message.data;
      return event.type === 'snapshotFailed' ? `snapshotFailed "${event.payload.info}"` : event.type;
    }
    case 'DataStatusEvent': {
      const [{ status, info }] = message.data;
      return info === undefined ? status : `${status} "${info}"`;
    }
    case 'getUserData':
    case 'getVersion':
    case 'ping':
    case 'pong':
    case 'setRemoteSDP':
    case 'notifyVideoFormat':
    case 'notifyAudioCodec':
    case 'inboundVideoRate':
    case 'outboundVideoRate':
    case 'notifySessionDebugEvent':
    case 'finish':
      return '';
    default:
      return message satisfies never;
  }
};

const line = (effect: Effect): string | undefined => {
  switch (effect.tag) {
    case 'send':
      return `S ${effect.message.message} ${words(effect.message)}`.trimEnd();
    case 'close':
      return `close ${effect.code} "${effect.reason}"`;
    case 'authorise':
      return `authorise ${effect.message.message}`;
    case 'close-session':
      return `close-session ${effect.nodeId} ${effect.reason}`;
    case 'signal':
      return `signal ${effect.signal.tag}`;
    case 'find':
    case 'publish':
    case 'play':
    case 'record':
    case 'snapshot':
      return `${effect.tag} ${effect.streamName}`;
    case 'authorise-connection':
      return effect.tag;
    case 'established':
    case 'stopping':
    case 'status-changed':
    case 'recording-told':
    case 'joined':
    case 'refusal':
      return undefined;
    default:
      return effect satisfies never;
  }
};

/**
 * One client's session with the machine and a clock of its own. `takes()` returns what happened since the last call,
 * one line each: `S <message> <words>` was sent to the client, and anything else is an effect.
 */
export class Transcript {
  state: SessionState;
  nowMs = START_MS;
  readonly effects: Effect[] = [];
  #read = 0;

  constructor(settings: Partial<SessionSettings> = {}) {
    this.state = newSession({ ...DEFAULT_SETTINGS, ...settings }, 'key');
  }

  given(input: Input): this {
    const { state, effects } = step(this.state, input, this.nowMs);
    this.state = state;
    this.effects.push(...effects);
    return this;
  }

  opens(): this {
    return this.given({
      tag: 'opened',
      remote: { address: '203.0.113.9', port: 50_066 },
      local: { address: '198.51.100.2', port: 8443 },
    });
  }

  says(message: string, data?: unknown): this {
    return this.given({ tag: 'frame', text: JSON.stringify({ message, data: [data ?? null] }) });
  }

  /** Lets time pass; the session gets every tick that it asks for. */
  waits(ms: number): this {
    const untilMs = this.nowMs + ms;
    for (let dueMs = nextDeadlineMs(this.state); dueMs <= untilMs; dueMs = nextDeadlineMs(this.state)) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      this.given({ tag: 'tick' });
    }
    this.nowMs = untilMs;
    return this;
  }

  /** Connects the client and establishes its session. */
  connects(connection: Record<string, unknown> = {}): this {
    this.opens().says('connection', { appKey: 'defaultApp', clientVersion: '2.0', ...connection });
    this.given({ tag: 'connection-decided', decision: { allowed: true } });
    this.takes();
    return this;
  }

  takes(): string[] {
    const fresh = this.effects.slice(this.#read).map(line);
    this.#read = this.effects.length;
    return fresh.filter((text) => text !== undefined);
  }

  /** The ref of the latest request for a decision. */
  get ref(): StreamId | QueryId {
    const latest = this.effects.findLast((effect) => effect.tag === 'authorise');
    if (latest === undefined) throw new Error('nothing was to be decided');
    return latest.ref;
  }

  get streamId(): StreamId {
    return this.ref as StreamId;
  }

  get queryId(): QueryId {
    return this.ref as QueryId;
  }

  sent(name: ServerMessage['message']): ServerMessage[] {
    return this.effects.flatMap((effect) =>
      effect.tag === 'send' && effect.message.message === name ? [effect.message] : [],
    );
  }

  decides(decision: Decision = { allowed: true }): this {
    return this.given({ tag: 'decided', ref: this.ref, decision });
  }

  finds(ready = true): this {
    return this.given({ tag: 'found', ref: this.ref, stream: { nodeId: 'node', ready } });
  }

  answers(codecs = { audio: 'opus', video: 'H264' }, notCarried: readonly string[] = []): this {
    const { streamId } = this;
    return this.given({ tag: 'answered', streamId, nodeId: 'node', sdp: 'v=0 answer', codecs, notCarried });
  }

  media(event: MediaEvent, streamId = this.streamId): this {
    return this.given({ tag: 'media', streamId, event });
  }

  /** Brings a publisher into the named phase. */
  publishes(phase: Phase, extra: Record<string, unknown> = {}): this {
    this.says('publishStream', { ...publication, ...extra });
    if (phase === 'deciding') return this;
    this.decides();
    if (phase === 'offering') return this;
    this.answers();
    return phase === 'connecting' ? this : this.media({ tag: 'connected' });
  }

  /** Brings a player into the named phase. */
  plays(phase: Phase | 'finding', extra: Record<string, unknown> = {}): this {
    this.says('playStream', { ...playing, ...extra });
    if (phase === 'deciding') return this;
    this.decides();
    if (phase === 'finding') return this;
    this.finds();
    if (phase === 'offering') return this;
    this.answers();
    return phase === 'connecting' ? this : this.media({ tag: 'connected' });
  }
}

export type Phase = 'deciding' | 'offering' | 'connecting' | 'live';

export const publication = {
  mediaSessionId: 'p1',
  name: 'test',
  published: true,
  hasVideo: true,
  hasAudio: true,
  status: 'PENDING',
  record: false,
  mediaProvider: 'WebRTC',
  sdp: 'v=0 offer',
  bitrate: 0,
  minBitrate: 300,
  maxBitrate: 1500,
};

export const playing = {
  mediaSessionId: 'v1',
  name: 'test',
  published: false,
  hasVideo: true,
  hasAudio: true,
  status: 'PENDING',
  record: false,
  width: 0,
  height: 0,
  mediaProvider: 'WebRTC',
  sdp: 'v=0 offer',
  bitrate: 0,
  minBitrate: 0,
  maxBitrate: 0,
  quality: 0,
};
