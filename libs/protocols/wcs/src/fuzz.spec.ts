import { describe, expect, it } from 'vitest';
import { CLIENT_MESSAGES, CLOSE, LENGTHS, type Input, type StreamId, type QueryId } from './index.js';
import { playing, publication, Transcript } from './testing/transcript.js';

/** mulberry32, so a run can be repeated with its seed. */
const randomOf = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};

const names = Object.keys(CLIENT_MESSAGES);
const scraps = [
  null,
  true,
  0,
  -1,
  1e308,
  '',
  'test',
  'p1',
  'v1',
  'x'.repeat(300),
  [],
  {},
  { token: 'x' },
  [[[]]],
  '\u0000',
];
const types = ['audioMuted', 'videoUnmuted', 'data', 'resize'];

class Chaos {
  readonly #random: () => number;
  readonly client = new Transcript({ frameBurst: 1e9 });
  /**
   * The ids of accepted publishStreams and playStreams, with the number of effects before the frame that asked for
   * each.
   */
  readonly asked = new Map<string, number>();

  constructor(seed: number) {
    this.#random = randomOf(seed);
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  #one<T>(values: readonly T[]): T {
    const value = values[this.#below(values.length)];
    if (value === undefined && !values.includes(value as T)) throw new RangeError('nothing to choose from');
    return value as T;
  }

  #body(): unknown {
    const body: Record<string, unknown> = { ...this.#one([publication, playing, {}]) };
    body['mediaSessionId'] = `id${this.#below(8)}`;
    for (let changes = this.#below(3); changes > 0; changes--)
      body[this.#one([...Object.keys(publication), 'custom', 'type', 'operationId', 'payload', 'appKey', 'callId'])] =
        this.#one([...scraps, ...types]);
    return this.#random() < 0.9 ? body : this.#one(scraps);
  }

  #frame(): string {
    const message = this.#random() < 0.5 ? this.#one(['publishStream', 'playStream']) : this.#one(names);
    const text = JSON.stringify({ message, data: [this.#body()] });
    if (this.#random() < 0.95) return text;
    const cut = this.#below(text.length);
    return this.#one([text.slice(0, cut), text.slice(0, cut) + '"' + text.slice(cut), ' '.repeat(LENGTHS.frame + 1)]);
  }

  /** Usually a ref that the session has recently given out. */
  #ref(): StreamId | QueryId {
    const given = this.client.effects.flatMap((effect) => (effect.tag === 'authorise' ? [effect.ref] : [])).slice(-4);
    return this.#random() < 0.9 && given.length > 0 ? this.#one(given) : ('key.zzz' as StreamId);
  }

  #input(): Input {
    const streamId = this.#ref() as StreamId;
    switch (this.#below(14)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return { tag: 'frame', text: this.#frame() };
      case 5:
        return { tag: 'decided', ref: this.#ref(), decision: { allowed: true } };
      case 6:
        return {
          tag: 'decided',
          ref: this.#ref(),
          decision: { allowed: false, by: this.#one(['hook', 'access']), cause: { tag: 'denied', info: 'no' } },
        };
      case 7:
        return { tag: 'found', ref: this.#ref(), stream: this.#one([undefined, { nodeId: 'node', ready: true }]) };
      case 8:
        return {
          tag: 'answered',
          streamId,
          nodeId: 'node',
          sdp: 'v=0',
          codecs: { audio: 'opus', video: '' },
          notCarried: [],
        };
      case 9:
        return { tag: 'refused', ref: this.#ref(), code: this.#one(['not-found', 'deadline', 'internal']) };
      case 10:
        return { tag: 'media', streamId, event: { tag: 'connected' } };
      case 11:
        return {
          tag: 'media',
          streamId,
          event: this.#one([
            { tag: 'ended', reason: 'ice-lost' },
            { tag: 'video-size', width: 1, height: 1 },
            { tag: 'signal', signal: { tag: 'data', json: '{' } },
            { tag: 'not-enough-bandwidth', neededBps: 1, availableBps: 0 },
          ]),
        };
      case 12:
        return this.#one([
          { tag: 'tick' },
          { tag: 'opened', remote: { address: 'a', port: 1 }, local: { address: 'b', port: 2 } },
          { tag: 'binary-frame', byteLength: 5 },
          { tag: 'snapshot-taken', queryId: this.#ref() as QueryId, pngBase64: '' },
          { tag: 'connection-decided', decision: { allowed: true } },
        ]);
      default:
        return this.#random() < 0.98
          ? { tag: 'media', streamId, event: { tag: 'ended', reason: 'node-lost' } }
          : this.#one([{ tag: 'socket-closed' }, { tag: 'terminate', code: CLOSE.terminated, info: 'x' }]);
    }
  }

  run(steps: number): void {
    for (let count = 0; count < steps; count++) {
      const input = this.#input();
      const before = this.client.effects.length;
      this.client.given(input);
      for (const effect of this.client.effects.slice(before))
        if (effect.tag === 'authorise' && 'mediaSessionId' in effect.message && 'sdp' in effect.message)
          this.asked.set(effect.message.mediaSessionId, before);
      if (this.#random() < 0.3) this.client.waits(this.#below(3_000));
    }
  }

  /** Ids that were asked for and have got neither a live nor a terminal answer since. */
  unanswered(): string[] {
    return [...this.asked].flatMap(([id, from]) => {
      const answered = this.client.effects
        .slice(from)
        .some(
          (effect) =>
            effect.tag === 'send' &&
            ((effect.message.message === 'notifyStreamStatusEvent' && effect.message.data[0].mediaSessionId === id) ||
              (effect.message.message === 'fail' && effect.message.data[0].id === id)),
        );
      return answered ? [] : [id];
    });
  }
}

describe('whatever comes in whatever order', () => {
  it('never throws, and every publish and play gets a live or a terminal answer while the session lives', () => {
    let asked = 0;
    let stood = 0;
    for (let seed = 1; seed <= 400; seed++) {
      const chaos = new Chaos(seed);
      if (seed % 4 !== 0) chaos.client.connects();
      chaos.run(150);
      const standing = chaos.client.state.tag === 'established';
      // From now on the client answers pings and nothing else happens.
      for (let round = 0; round < 4; round++) chaos.client.waits(10_000).says('pong');
      asked += chaos.asked.size;
      if (!standing) continue;
      stood += 1;
      expect([seed, chaos.unanswered()]).toEqual([seed, []]);
      expect(chaos.client.state).toMatchObject({ tag: 'established', queries: { size: 0 } });
    }
    // The run is only meaningful if there were streams, and sessions that lasted.
    expect(asked).toBeGreaterThan(500);
    expect(stood).toBeGreaterThan(50);
  });

  it('answers a client frame that is not JSON at all', () => {
    for (const text of ['\u0000', '\ud800', '{"message":"ping","data":', 'undefined', 'NaN', '{}'.repeat(1000)]) {
      const client = new Transcript().connects().given({ tag: 'frame', text });
      expect(client.takes()[0]).toMatch(/^S fail frame/);
    }
  });

  it('closes every session that it has on a node when the socket is lost', () => {
    let closed = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const chaos = new Chaos(seed * 7919);
      const { client } = chaos;
      client.connects().publishes('live', { mediaSessionId: 'id0' }).plays('connecting', { mediaSessionId: 'id1' });
      client.plays('offering', { mediaSessionId: 'id2' });
      chaos.run(20);
      const open =
        client.state.tag === 'established'
          ? [...client.state.streams.values()].filter(({ phase }) => 'nodeId' in phase && phase.nodeId !== undefined)
          : [];
      const before = client.effects.length;
      client.given({ tag: 'socket-closed' });
      const letGo = client.effects
        .slice(before)
        .flatMap((effect) => (effect.tag === 'close-session' ? [effect.streamId] : []));
      expect(letGo).toEqual(open.map(({ streamId }) => streamId));
      closed += letGo.length;
    }
    expect(closed).toBeGreaterThan(100);
  });
});
