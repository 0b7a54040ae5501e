import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CLIENT_SETTINGS,
  LENGTHS,
  newClient,
  nextClientDeadlineMs,
  stepClient,
  type ClientEffect,
  type ClientInput,
  type ClientState,
  type Direction,
} from './index.js';
import { decode } from './codec.js';

const ID = '90e14ad0-fdb2-11e8-bce2-a3f72476fb49';

const textOf = (effect: ClientEffect): string => {
  switch (effect.tag) {
    case 'send': {
      const { message } = JSON.parse(effect.text) as { message: string };
      return `C ${message}`;
    }
    case 'ended':
      return `ended ${JSON.stringify(effect.end)}`;
    case 'apply-answer':
      return `apply-answer ${effect.sdp}`;
    case 'muted':
      return `${effect.media} ${effect.muted ? 'muted' : 'unmuted'}`;
    case 'make-offer':
    case 'running':
    case 'close-socket':
      return effect.tag;
  }
};

/** A conversation with a server, with its own clock. */
class Conversation {
  nowMs = 1_000_000;
  state: ClientState;
  readonly sent: string[] = [];
  #effects: ClientEffect[] = [];

  constructor(direction: Direction = 'publish') {
    const connection = { appKey: 'defaultApp', clientVersion: '2.0' };
    const stream = { direction, mediaSessionId: ID, name: 'cam', connection };
    this.state = newClient(stream, DEFAULT_CLIENT_SETTINGS, this.nowMs);
  }

  given(input: ClientInput): this {
    const { state, effects } = stepClient(this.state, input, this.nowMs);
    this.state = state;
    this.#effects.push(...effects);
    for (const effect of effects) if (effect.tag === 'send') this.sent.push(effect.text);
    return this;
  }

  hears(message: string, ...data: unknown[]): this {
    return this.given({ tag: 'frame', text: JSON.stringify({ message, data }) });
  }

  /** Lets time pass, with a tick at every moment that the client asks for. */
  waits(ms: number): this {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const nextMs = nextClientDeadlineMs(this.state);
      if (nextMs > untilMs) break;
      this.nowMs = Math.max(this.nowMs, nextMs);
      this.given({ tag: 'tick' });
    }
    this.nowMs = untilMs;
    return this;
  }

  offers(): this {
    return this.given({ tag: 'offer', sdp: 'v=0 offer', hasAudio: true, hasVideo: true });
  }

  takes(): string[] {
    return this.#effects.splice(0).map(textOf);
  }

  /** The last frame sent, as this library's own server reads it. */
  get lastSent(): unknown {
    return decode(this.sent.at(-1) ?? '');
  }
}

const PHASES = {
  opening: (direction?: Direction) => new Conversation(direction),
  connecting: (direction?: Direction) => PHASES.opening(direction).given({ tag: 'opened' }),
  offering: (direction?: Direction) => PHASES.connecting(direction).hears('getUserData', { status: 'ESTABLISHED' }),
  negotiating: (direction?: Direction) => PHASES.offering(direction).offers(),
  starting: (direction?: Direction) => PHASES.negotiating(direction).hears('setRemoteSDP', ID, 'v=0 answer', true),
  running: (direction: Direction = 'publish') =>
    PHASES.starting(direction).hears('notifyStreamStatusEvent', {
      mediaSessionId: ID,
      status: direction === 'publish' ? 'PUBLISHING' : 'PLAYING',
    }),
  stopping: (direction?: Direction) => PHASES.running(direction).given({ tag: 'stop' }),
} as const;
type Phase = keyof typeof PHASES;

const at = (phase: Phase, direction?: Direction): Conversation => {
  const conversation = PHASES[phase](direction);
  conversation.takes();
  expect(conversation.state.tag).toBe(phase);
  return conversation;
};
const linked = ['connecting', 'offering', 'negotiating', 'starting', 'running', 'stopping'] as const;
const ended = (conversation: Conversation) =>
  conversation.state.tag === 'ended' ? conversation.state.end : conversation.state.tag;

describe('a client that publishes', () => {
  it('says connection, waits for getUserData, offers, takes the answer and hears PUBLISHING', () => {
    const client = new Conversation().given({ tag: 'opened' });
    expect(client.takes()).toEqual(['C connection']);
    expect(client.lastSent).toMatchObject({
      ok: true,
      message: { appKey: 'defaultApp', mediaProviders: ['WebRTC'], clientVersion: '2.0', keepAlive: false },
    });
    client.hears('getUserData', { status: 'ESTABLISHED', authToken: '/1:2/3:4' }).hears('getVersion', '5.2.0');
    expect(client.takes()).toEqual(['make-offer']);
    client.offers();
    expect(client.takes()).toEqual(['C publishStream']);
    expect(client.lastSent).toMatchObject({
      ok: true,
      message: { message: 'publishStream', mediaSessionId: ID, name: 'cam', sdp: 'v=0 offer', hasVideo: true },
    });
    client.hears('setRemoteSDP', ID, 'v=0 answer', true);
    expect(client.takes()).toEqual(['apply-answer v=0 answer']);
    client.hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'PUBLISHING', name: 'cam' });
    expect(client.takes()).toEqual(['running']);
  });

  it('ends normally with unPublishStream and UNPUBLISHED', () => {
    const client = at('running').given({ tag: 'stop' });
    expect(client.takes()).toEqual(['C unPublishStream']);
    expect(client.lastSent).toMatchObject({ ok: true, message: { mediaSessionId: ID } });
    client.hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'UNPUBLISHED', info: 'Stopped by user' });
    expect(client.takes()).toEqual(['close-socket', 'ended {"tag":"stopped"}']);
  });
});

describe('a client that plays', () => {
  it('says playStream and stopStream, and isn’t misled by PUBLISHING', () => {
    const client = at('offering', 'play').offers();
    expect(client.takes()).toEqual(['C playStream']);
    expect(client.lastSent).toMatchObject({ ok: true, message: { message: 'playStream', width: 0, quality: 0 } });
    client
      .hears('notifyAudioCodec', ID, { name: 'opus' })
      .hears('setRemoteSDP', ID, 'v=0 answer', true)
      .hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'PUBLISHING' });
    expect(client.takes()).toEqual(['apply-answer v=0 answer']);
    client.hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'PLAYING' });
    expect(client.takes()).toEqual(['running']);
    expect(client.given({ tag: 'stop' }).takes()).toEqual(['C stopStream']);
    client.hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'STOPPED', info: 'Stopped by user' });
    expect(ended(client)).toEqual({ tag: 'stopped' });
  });

  it('tells of muted media while it plays, and of nobody else’s', () => {
    const client = at('running', 'play');
    client
      .hears('notifyStreamEvent', { mediaSessionId: ID, type: 'audioMuted' })
      .hears('notifyStreamEvent', { mediaSessionId: 'another', type: 'videoMuted' })
      .hears('notifyStreamEvent', { mediaSessionId: ID, type: 'resize', payload: {} })
      .hears('notifyStreamEvent', { mediaSessionId: ID, type: 'videoUnmuted' });
    expect(client.takes()).toEqual(['audio muted', 'video unmuted']);
  });
});

describe('pings', () => {
  it.each(linked)('are answered in state %s', (phase) => {
    expect(at(phase).hears('ping').takes()).toEqual(['C pong']);
  });

  it('are sent every five seconds, and any frame of the server keeps the session alive', () => {
    const client = at('running');
    client.waits(29_000);
    expect(client.takes()).toEqual(Array(5).fill('C ping'));
    client.hears('pong').waits(29_000);
    expect(client.state.tag).toBe('running');
  });

  it('end a session with a server that has fallen silent', () => {
    expect(ended(at('running').waits(31_000))).toEqual({ tag: 'silent' });
  });
});

describe('time-outs', () => {
  it.each([
    ['opening', 5_000],
    ['connecting', 5_000],
    ['offering', 5_000],
    ['negotiating', 10_000],
    ['starting', 20_000],
  ] as const)('end a session that gets no further than %s', (phase, ms) => {
    const client = at(phase).waits(ms - 1);
    expect(client.state.tag).toBe(phase);
    expect(ended(client.waits(1))).toEqual({ tag: 'timed-out', during: phase });
    expect(client.takes().slice(-2)[0]).toBe('close-socket');
  });

  it('end a session whose stop the server doesn’t answer, as stopped', () => {
    expect(ended(at('stopping').waits(3_000))).toEqual({ tag: 'stopped' });
  });

  it('don’t end a stream that is up', () => {
    const client = at('running');
    for (let minute = 0; minute < 60; minute += 1) client.hears('ping').waits(20_000);
    expect(client.state.tag).toBe('running');
  });
});

describe('a refusal', () => {
  it.each(['negotiating', 'starting'] as const)('by FAILED in state %s passes on the server’s text', (phase) => {
    const info = 'Stream name is already in use';
    const client = at(phase).hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'FAILED', info });
    expect(client.takes()).toEqual(['close-socket', `ended ${JSON.stringify({ tag: 'refused', info })}`]);
  });

  it('by fail before the session is established', () => {
    const client = at('connecting').hears('fail', { apiMethod: 'connect', id: null, status: 'FAILED', info: 'No' });
    expect(ended(client)).toEqual({ tag: 'refused', info: 'No' });
  });

  it('by fail of our stream, and not of another one', () => {
    const client = at('negotiating').hears('fail', { apiMethod: 'StreamStatusEvent', id: 'another', info: 'x' });
    expect(client.state.tag).toBe('negotiating');
    client.hears('fail', { apiMethod: 'StreamStatusEvent', id: ID, status: 'FAILED', info: 'Restricted access' });
    expect(ended(client)).toEqual({ tag: 'refused', info: 'Restricted access' });
  });

  it('by a getUserData that isn’t ESTABLISHED', () => {
    expect(ended(at('connecting').hears('getUserData', { status: 'FAILED' }))).toEqual({
      tag: 'refused',
      info: 'FAILED',
    });
  });

  it('is cut to a length that can be shown', () => {
    const info = 'x'.repeat(100_000);
    const client = at('starting').hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'FAILED', info });
    expect(ended(client)).toEqual({ tag: 'refused', info: 'x'.repeat(512) });
  });
});

describe('a stream that is up', () => {
  it.each(['UNPUBLISHED', 'STOPPED', 'FAILED'] as const)('ends by the server’s %s', (status) => {
    const client = at('running').hears('notifyStreamStatusEvent', { mediaSessionId: ID, status, info: 'why' });
    expect(ended(client)).toEqual({ tag: 'ended-by-remote', status, info: 'why' });
  });

  it('is lost with the connection', () => {
    expect(at('running').given({ tag: 'closed', code: 1006 }).takes()).toEqual(['ended {"tag":"lost","code":1006}']);
  });

  it('is unpublished when our own media fail, and the reason is kept', () => {
    const client = at('running').given({ tag: 'media-failed', detail: 'ice-lost' });
    expect(client.takes()).toEqual(['C unPublishStream']);
    client.given({ tag: 'closed', code: 1000 });
    expect(ended(client)).toEqual({ tag: 'media-failed', detail: 'ice-lost' });
  });

  it('takes no second answer and no second PUBLISHING', () => {
    const client = at('running')
      .hears('setRemoteSDP', ID, 'v=0 other', true)
      .hears('notifyStreamStatusEvent', { mediaSessionId: ID, status: 'PUBLISHING' });
    expect(client.takes()).toEqual([]);
  });
});

describe('a connection that breaks', () => {
  it('before it is established means that the server is unreachable', () => {
    const client = at('opening').given({ tag: 'open-failed', detail: 'ECONNREFUSED' });
    expect(client.takes()).toEqual(['ended {"tag":"unreachable","detail":"ECONNREFUSED"}']);
  });

  it.each(['connecting', 'offering', 'negotiating', 'starting'] as const)(
    'in state %s is told with its code',
    (phase) => {
      expect(ended(at(phase).given({ tag: 'closed', code: 4403 }))).toEqual({
        tag: 'closed',
        code: 4403,
        during: phase,
      });
    },
  );
});

describe('a stop', () => {
  it.each(['opening', 'connecting', 'offering'] as const)('in state %s just hangs up', (phase) => {
    expect(at(phase).given({ tag: 'stop' }).takes()).toEqual(['close-socket', 'ended {"tag":"stopped"}']);
  });

  it.each(['negotiating', 'starting', 'running'] as const)('in state %s tells the server', (phase) => {
    expect(at(phase).given({ tag: 'stop' }).takes()).toEqual(['C unPublishStream']);
  });

  it('that comes twice counts once', () => {
    expect(at('stopping').given({ tag: 'stop' }).takes()).toEqual([]);
  });
});

describe('nonsense', () => {
  const frames: readonly (readonly [string, ClientInput, string])[] = [
    ['text that isn’t JSON', { tag: 'frame', text: 'HTTP/1.1 400' }, 'not-json'],
    ['JSON that isn’t a frame', { tag: 'frame', text: '[1,2,3]' }, 'not-a-frame'],
    ['a frame whose message is no string', { tag: 'frame', text: '{"message":7,"data":[]}' }, 'not-a-frame'],
    ['a frame that is too long', { tag: 'frame', text: ' '.repeat(LENGTHS.frame + 1) }, 'frame-too-long'],
    ['a frame that the socket refused', { tag: 'oversized-frame' }, 'frame-too-long'],
    ['a binary frame', { tag: 'binary-frame' }, 'binary-frame'],
    [
      'an answer that is no text',
      { tag: 'frame', text: '{"message":"setRemoteSDP","data":["a",{}]}' },
      'invalid-message',
    ],
    [
      'a status without a stream',
      { tag: 'frame', text: '{"message":"notifyStreamStatusEvent","data":[{}]}' },
      'invalid-message',
    ],
    [
      'a status that is null',
      { tag: 'frame', text: '{"message":"notifyStreamStatusEvent","data":null}' },
      'invalid-message',
    ],
  ];
  for (const phase of linked)
    it.each(frames)(`in state ${phase}: %s ends the session`, (_what, input, fault) => {
      const client = at(phase).given(input);
      expect(client.takes()).toEqual(['close-socket', `ended ${JSON.stringify({ tag: 'nonsense', fault })}`]);
    });

  it('of too many frames a second ends it, and many frames over time don’t', () => {
    const client = at('running').waits(1_000);
    for (let second = 0; second < 10; second += 1) {
      for (let frame = 0; frame < 200; frame += 1) client.hears('inboundVideoRate', {});
      client.waits(1_000);
    }
    expect(client.state.tag).toBe('running');
    for (let frame = 0; frame < 201; frame += 1) client.hears('inboundVideoRate', {});
    expect(ended(client)).toEqual({ tag: 'nonsense', fault: 'too-many-frames' });
  });

  it.each(linked)('that is only unknown is ignored in state %s', (phase) => {
    const client = at(phase)
      .hears('somethingNew', { a: 1 })
      .hears('notifyVideoFormat', { mediaSessionId: ID, status: 'RESIZE' })
      .hears('setRemoteSDP', 'another', 'v=0', true)
      .hears('notifyStreamStatusEvent', { mediaSessionId: 'another', status: 'FAILED', info: '' })
      .given({ tag: 'opened' })
      .given({ tag: 'open-failed', detail: '' });
    expect(client.takes()).toEqual([]);
    expect(client.state.tag).toBe(phase);
  });

  it('after the end changes nothing', () => {
    const client = at('running').given({ tag: 'closed', code: 1006 });
    client.takes();
    client.hears('ping').given({ tag: 'stop' }).given({ tag: 'tick' }).given({ tag: 'closed', code: 1 }).offers();
    expect(client.takes()).toEqual([]);
    expect(nextClientDeadlineMs(client.state)).toBe(Infinity);
  });
});
