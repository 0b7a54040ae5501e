import { errOf, type Err } from '@weir/protocol-turing';
import { describe, expect, it } from 'vitest';
import {
  nextCameraStreamDeadlineMs,
  stageOf,
  startCameraStream,
  stepCameraStream,
  type Camera,
  type CameraStreamEffect,
  type CameraStreamInput,
  type CameraStreamState,
} from './camera-stream-machine.js';

const SETTINGS = { timeoutMs: 10_000, lingerMs: 5_000 };
const PUSHED: Camera = { pinned: false };
const PULLED: Camera = { pinned: false, rtspUrl: 'rtsp://camera' };
const PUSH_URL = 'rtsp://media/push';
const OK = { ok: true, ret: {} } as const;
const no = (err: Err) => ({ ok: false, err }) as const;

function textOf(effect: CameraStreamEffect): string {
  switch (effect.tag) {
    case 'open':
      return `open ${effect.rtspUrl ?? 'for a push'} within ${effect.timeoutMs}`;
    case 'command':
      return `command ${effect.to} ${effect.pushUrl} within ${effect.timeoutMs}`;
    case 'started':
      return `started: ${effect.err?.dm ?? 'ok'}`;
    case 'over':
      return `over: ${effect.cause}`;
    case 'check':
    case 'evict':
    case 'stop-robot':
    case 'close':
    case 'gone':
      return effect.tag;
    default:
      return effect satisfies never;
  }
}

/** One stream with a clock of its own; returns what the stream wants done after each input. */
class Transcript {
  state: CameraStreamState;
  nowMs = 0;
  readonly first: readonly string[];

  constructor(camera: Camera) {
    const { state, effects } = startCameraStream(camera, SETTINGS, 0);
    this.state = state;
    this.first = effects.map(textOf);
  }

  tell(input: CameraStreamInput): readonly string[] {
    const { state, effects } = stepCameraStream(this.state, input, this.nowMs);
    this.state = state;
    return effects.map(textOf);
  }

  /** Lets time pass; ticks whenever the stream wants a tick, and at the end. */
  wait(ms: number): readonly string[] {
    const untilMs = this.nowMs + ms;
    const said: string[] = [];
    for (let dueMs = this.dueMs; dueMs <= untilMs; dueMs = this.dueMs) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      said.push(...this.tell({ tag: 'tick' }));
    }
    this.nowMs = untilMs;
    return [...said, ...this.tell({ tag: 'tick' })];
  }

  get dueMs(): number {
    return nextCameraStreamDeadlineMs(this.state);
  }

  get stage(): string {
    return stageOf(this.state);
  }
}

/** Each function brings a new stream to the state of its name. */
const until = {
  checking: (): Transcript => new Transcript(PUSHED),
  opening: (): Transcript => {
    const stream = until.checking();
    stream.tell({ tag: 'reachable', isReachable: true });
    return stream;
  },
  evicting: (): Transcript => {
    const stream = until.opening();
    stream.tell({ tag: 'name-taken', err: errOf('name-taken') });
    return stream;
  },
  pausing: (): Transcript => {
    const stream = until.evicting();
    stream.tell({ tag: 'evicted', wasOurs: true });
    return stream;
  },
  asked: (): Transcript => {
    const stream = until.opening();
    stream.tell({ tag: 'opened', pushUrl: PUSH_URL });
    return stream;
  },
  acknowledged: (): Transcript => {
    const stream = until.asked();
    stream.tell({ tag: 'robot-answered', to: 'start', outcome: OK });
    return stream;
  },
  live: (): Transcript => {
    const stream = until.acknowledged();
    stream.tell({ tag: 'connected' });
    return stream;
  },
  stopping: (): Transcript => {
    const stream = until.live();
    stream.tell({ tag: 'end', cause: 'draining' });
    return stream;
  },
  closing: (): Transcript => {
    const stream = until.stopping();
    stream.tell({ tag: 'robot-stopped' });
    return stream;
  },
} as const satisfies Record<string, () => Transcript>;

const STARTING = ['checking', 'opening', 'evicting', 'pausing', 'asked', 'acknowledged'] as const;

describe('a camera whose robot pushes', () => {
  it('is live when the robot has been found, told where to push to, and its picture has come', () => {
    const stream = new Transcript(PUSHED);
    expect(stream.first).toEqual(['check']);
    expect(stream.tell({ tag: 'reachable', isReachable: true })).toEqual(['open for a push within 10000']);
    stream.nowMs = 400;
    expect(stream.tell({ tag: 'opened', pushUrl: PUSH_URL })).toEqual([`command start ${PUSH_URL} within 9600`]);
    expect(stream.tell({ tag: 'robot-answered', to: 'start', outcome: OK })).toEqual([]);
    expect(stream.stage).toBe('starting');
    expect(stream.tell({ tag: 'connected' })).toEqual(['started: ok']);
    expect(stream.stage).toBe('live');
  });

  it('is live with its picture alone, and a refusal that comes afterwards has no effect', () => {
    const stream = until.asked();
    expect(stream.tell({ tag: 'connected' })).toEqual(['started: ok']);
    expect(stream.tell({ tag: 'robot-answered', to: 'start', outcome: no(errOf('stream-failed')) })).toEqual([]);
    expect(stream.stage).toBe('live');
  });

  it('asks the media core for nothing when its robot is offline', () => {
    expect(until.checking().tell({ tag: 'reachable', isReachable: false })).toEqual([
      'started: robot_offline',
      'over: failed-to-start',
      'close',
    ]);
  });

  it('fails with the robot’s refusal', () => {
    const refusal = no({ ec: 106, em: '', dm: 'ffmpeg_failed' });
    expect(until.asked().tell({ tag: 'robot-answered', to: 'start', outcome: refusal })).toEqual([
      'started: ffmpeg_failed',
      'over: failed-to-start',
      'stop-robot',
      'close',
    ]);
  });

  it('fails in time when the robot says nothing, and when it agrees but no picture comes', () => {
    expect(until.asked().wait(9_999)).toEqual([]);
    expect(until.asked().wait(10_000)).toEqual(['started: timeout', 'over: failed-to-start', 'stop-robot', 'close']);
    const acknowledged = until.acknowledged();
    expect(acknowledged.wait(10_000)).toEqual(['started: timeout', 'over: failed-to-start', 'stop-robot']);
    expect(acknowledged.tell({ tag: 'robot-stopped' })).toEqual(['close']);
  });

  it.each<[string, CameraStreamInput]>([
    ['its own deadline', { tag: 'tick' }],
    ['the media core', { tag: 'media-ended', cause: 'ended-by-media', err: errOf('no-media') }],
  ])('tells apart whether the robot or its picture was late, when %s ends the wait', (_who, input) => {
    const errAfter = (stream: Transcript) => {
      stream.nowMs = 10_000;
      const { effects } = stepCameraStream(stream.state, input, stream.nowMs);
      return effects.flatMap((effect) => (effect.tag === 'started' ? [effect.err] : []));
    };
    expect(errAfter(until.asked())).toEqual([errOf('timeout')]);
    expect(errAfter(until.acknowledged())).toEqual([errOf('no-media')]);
  });
});

describe('a camera that is pulled', () => {
  it('asks no robot, neither at its start nor at its end', () => {
    const stream = new Transcript(PULLED);
    expect(stream.first).toEqual(['open rtsp://camera within 10000']);
    expect(stream.tell({ tag: 'opened', pushUrl: '' })).toEqual([]);
    expect(stream.tell({ tag: 'connected' })).toEqual(['started: ok']);
    expect(stream.tell({ tag: 'robot-returned' })).toEqual([]);
    expect(stream.tell({ tag: 'end', cause: 'stopped' })).toEqual(['over: stopped', 'close']);
    expect(stream.tell({ tag: 'closed' })).toEqual(['gone']);
  });

  it('fails when it brings no picture in time', () => {
    const stream = new Transcript(PULLED);
    stream.tell({ tag: 'opened', pushUrl: '' });
    expect(stream.wait(10_000)).toEqual(['started: timeout', 'over: failed-to-start', 'close']);
  });
});

describe('a name that is taken', () => {
  it('is asked for again once the stream of a dead owner has been ended', () => {
    const stream = until.opening();
    expect(stream.tell({ tag: 'name-taken', err: errOf('name-taken') })).toEqual(['evict']);
    expect(stream.tell({ tag: 'evicted', wasOurs: true })).toEqual([]);
    expect(stream.wait(99)).toEqual([]);
    expect(stream.wait(1)).toEqual(['open for a push within 9900']);
  });

  it('belongs to somebody else if no robot-channel has made its stream', () => {
    expect(until.evicting().tell({ tag: 'evicted', wasOurs: false })).toEqual([
      `started: ${errOf('name-taken').dm}`,
      'over: failed-to-start',
      'close',
    ]);
  });

  it('is asked for six times at most, and never beyond the time for the start', () => {
    const stream = until.opening();
    let opens = 1;
    while (stream.stage === 'starting') {
      stream.tell({ tag: 'name-taken', err: errOf('name-taken') });
      stream.tell({ tag: 'evicted', wasOurs: true });
      if (stream.stage === 'starting') opens += stream.wait(stream.dueMs - stream.nowMs).length;
    }
    expect(opens).toBe(6);
    const late = until.opening();
    late.nowMs = 9_950;
    expect(late.tell({ tag: 'name-taken', err: errOf('name-taken') })).toContain('over: failed-to-start');
  });
});

describe('a live stream', () => {
  it('ends when nobody has come for long enough, and waits for a robot that ends its push by itself', () => {
    const stream = until.live();
    expect(stream.wait(4_999)).toEqual([]);
    expect(stream.wait(1)).toEqual(['over: unwatched', 'stop-robot']);
    expect(stream.stage).toBe('ended');
    expect(stream.wait(999)).toEqual([]);
    expect(stream.wait(1)).toEqual(['close']);
    expect(stream.tell({ tag: 'closed' })).toEqual(['gone']);
  });

  it('goes on while it has viewers, and its time begins anew when the last one leaves and when somebody asks', () => {
    const stream = until.live();
    stream.tell({ tag: 'watched', viewers: 2 });
    expect(stream.dueMs).toBe(Infinity);
    stream.nowMs = 20_000;
    stream.tell({ tag: 'watched', viewers: 0 });
    stream.nowMs = 22_000;
    stream.tell({ tag: 'watched', viewers: 0 });
    expect(stream.dueMs).toBe(25_000);
    stream.tell({ tag: 'joined', asker: 'app' });
    expect(stream.dueMs).toBe(27_000);
  });

  it('that is pinned goes on without viewers until an operator lets it go', () => {
    const stream = until.live();
    stream.tell({ tag: 'camera-changed', camera: { pinned: true } });
    expect(stream.wait(60_000)).toEqual([]);
    expect(stream.tell({ tag: 'left', asker: 'app' })).toEqual([]);
    stream.tell({ tag: 'camera-changed', camera: { pinned: false } });
    expect(stream.wait(0)).toEqual(['over: unwatched', 'stop-robot']);
  });

  it('ends when the last app that asked lately leaves and nobody watches', () => {
    const stream = until.live();
    stream.tell({ tag: 'joined', asker: 'one' });
    stream.tell({ tag: 'joined', asker: 'other' });
    expect(stream.tell({ tag: 'left', asker: 'one' })).toEqual([]);
    stream.tell({ tag: 'watched', viewers: 1 });
    expect(stream.tell({ tag: 'left', asker: 'other' })).toEqual([]);
    stream.tell({ tag: 'watched', viewers: 0 });
    expect(stream.tell({ tag: 'left', asker: 'other' })).toEqual(['over: stopped', 'stop-robot']);
  });

  it('ends when its camera’s address changes, and when its camera is removed', () => {
    expect(until.live().tell({ tag: 'camera-changed', camera: PULLED })).toContain('over: camera-changed');
    expect(until.live().tell({ tag: 'camera-changed', camera: undefined })).toContain('over: camera-changed');
    expect(until.live().tell({ tag: 'camera-changed', camera: PUSHED })).toEqual([]);
  });

  it('that the media core ended isn’t waited for', () => {
    const input = { tag: 'media-ended', err: errOf('no-media') } as const;
    expect(until.live().tell({ ...input, cause: 'node-lost' })).toEqual(['over: node-lost', 'stop-robot', 'close']);
    expect(until.stopping().tell({ ...input, cause: 'ended-by-media' })).toEqual(['close']);
  });

  it('asks a robot that came back to go on, and ends when it can’t', () => {
    const again = (err?: Err) => {
      const stream = until.live();
      expect(stream.tell({ tag: 'robot-returned' })).toEqual([`command again ${PUSH_URL} within 10000`]);
      return stream.tell({ tag: 'robot-answered', to: 'again', outcome: err === undefined ? OK : no(err) });
    };
    expect(again()).toEqual([]);
    expect(again(errOf('timeout'))).toEqual([]);
    expect(again(errOf('robot-offline'))).toEqual([]);
    expect(again({ ec: 106, em: '', dm: 'ffmpeg_failed' })).toEqual(['over: robot-refused', 'stop-robot']);
  });
});

describe('a start that nobody needs any more', () => {
  it.each(STARTING)('ends at once while it is %s, and what comes of it afterwards changes nothing', (name) => {
    const stream = until[name]();
    const said = stream.tell({ tag: 'end', cause: 'draining' });
    expect(said.slice(0, 2)).toEqual([`started: ${errOf('unavailable').dm}`, 'over: failed-to-start']);
    expect(stream.stage).toBe('ended');
    expect(LATE.flatMap((late) => stream.tell(late))).toEqual([]);
  });

  it.each(['opening', 'asked', 'acknowledged'] as const)('fails when the session ends while it is %s', (name) => {
    const input = { tag: 'media-ended', cause: 'node-lost', err: errOf('stream-failed') } as const;
    const said = until[name]().tell(input);
    expect([said[0], said.at(-1)]).toEqual([`started: ${errOf('stream-failed').dm}`, 'close']);
  });

  it.each(['checking', 'opening', 'evicting'] as const)('fails when a call fails while it is %s', (name) => {
    expect(until[name]().tell({ tag: 'failed', err: errOf('unavailable') })).toEqual([
      `started: ${errOf('unavailable').dm}`,
      'over: failed-to-start',
      'close',
    ]);
  });
});

/** Every input that may still be under way when a stream ends. */
const LATE: readonly CameraStreamInput[] = [
  { tag: 'reachable', isReachable: true },
  { tag: 'opened', pushUrl: PUSH_URL },
  { tag: 'name-taken', err: errOf('name-taken') },
  { tag: 'evicted', wasOurs: true },
  { tag: 'failed', err: errOf('internal') },
  { tag: 'robot-answered', to: 'start', outcome: OK },
  { tag: 'robot-answered', to: 'again', outcome: no(errOf('stream-failed')) },
  { tag: 'connected' },
  { tag: 'watched', viewers: 1 },
  { tag: 'robot-returned' },
  { tag: 'joined', asker: 'app' },
  { tag: 'left', asker: 'app' },
  { tag: 'camera-changed', camera: undefined },
  { tag: 'end', cause: 'taken-over' },
  { tag: 'tick' },
];

describe('whatever a stream is told', () => {
  it.each(Object.keys(until) as (keyof typeof until)[])(
    'in %s, it starts once or not, is over once, and says nothing when it is gone',
    (name) => {
      const inputs: readonly CameraStreamInput[] = [
        ...LATE,
        { tag: 'media-ended', cause: 'ended-by-media', err: errOf('no-media') },
        { tag: 'robot-stopped' },
        { tag: 'closed' },
      ];
      for (const first of inputs)
        for (const second of inputs) {
          const stream = until[name]();
          const said = [first, second, first].flatMap((input) => stream.tell(input));
          said.push(...stream.tell({ tag: 'end', cause: 'draining' }), ...stream.wait(60_000));
          said.push(...stream.tell({ tag: 'closed' }));
          const count = (what: string) => said.filter((effect) => effect.startsWith(what)).length;
          expect([count('started') <= 1, count('over') <= 1, count('close') <= 1, count('gone')]).toEqual([
            ...[true, true, true, 1],
          ]);
          expect(said.at(-1)).toBe('gone');
          expect(inputs.flatMap((input) => stream.tell(input))).toEqual([]);
        }
    },
  );
});
