import { expect, it } from 'vitest';
import { newCall, sidesOf, stepCall, type CallInput, type CallNews, type Call } from './call-machine.js';

/** mulberry32, so a run can be repeated with its seed. */
const randomOf = (seed: number) => (limit: number) => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
};

/**
 * Calls on several instances at once. What each instance does, each place that it claims, and each frame on its way is an
 * action of its own, and the actions come in any order.
 */
class World {
  readonly calls = new Map<string, Call>();
  readonly places = new Map<number, string>();
  readonly news: { readonly cid: number; readonly callId: string; readonly news: CallNews }[] = [];
  readonly #random: (limit: number) => number;
  readonly #actions: (() => void)[] = [];
  /** Counts as ringing: the call of a device whose URL was handed out. */
  readonly #ringing = new Map<number, string>();
  #nowMs = 1_700_000_000_000;

  constructor(seed: number) {
    this.#random = randomOf(seed);
  }

  rings(caller: number, rung: readonly number[]): void {
    this.#actions.push(() => {
      const callId = this.#begin(caller, rung);
      this.#ringing.set(caller, callId);
    });
  }

  /** A device opens the URL of another one, on any instance. */
  opens(cid: number, url: number): void {
    this.#actions.push(() => {
      const known = this.places.get(url) ?? this.#ringing.get(url);
      const callId = known !== undefined && this.calls.get(known)?.tag !== 'ended' ? known : this.#begin(url, []);
      this.#give(callId, { tag: 'open', cid, sdp: `offer of ${cid}` });
    });
  }

  /** A device closes whatever call it is in then. */
  closes(cid: number): void {
    this.#actions.push(() => {
      const callId = this.places.get(cid) ?? this.#ringing.get(cid);
      if (callId !== undefined) this.#give(callId, { tag: 'close', cid });
    });
  }

  run(): void {
    for (;;) {
      const action = this.#actions.splice(this.#random(this.#actions.length || 1), 1)[0];
      if (action === undefined) return;
      this.#nowMs += 1;
      action();
    }
  }

  timePasses(): void {
    this.#nowMs += 120_000;
    for (const callId of [...this.calls.keys()]) this.#give(callId, { tag: 'tick' });
    this.run();
  }

  get live(): Call[] {
    return [...this.calls.values()].filter(({ tag }) => tag === 'connecting' || tag === 'established');
  }

  #begin(caller: number, rung: readonly number[]): string {
    const callId = `call-${this.calls.size}`;
    this.calls.set(callId, newCall({ callId, caller, rung }, this.#nowMs));
    return callId;
  }

  #give(callId: string, input: CallInput): void {
    const before = this.calls.get(callId);
    if (before === undefined) throw new Error('no such call');
    const { state, effects } = stepCall(before, input, this.#nowMs);
    this.calls.set(callId, state);
    for (const effect of effects)
      switch (effect.tag) {
        case 'tell':
          this.news.push({ cid: effect.cid, callId, news: effect.news });
          if (effect.news.tag === 'accepted') {
            const { cid } = effect;
            this.#later(callId, { tag: 'join', cid, sdp: `offer of ${cid}` });
          }
          break;
        case 'claim':
          this.#claim(callId, effect.cids, []);
          break;
        case 'open-media': {
          const { side } = effect;
          this.#later(callId, { tag: 'answered', side, sdp: 'answer' });
          break;
        }
        case 'pass-open': {
          const { to, cid, sdp } = effect;
          this.#later(to, { tag: 'open', cid, sdp });
          break;
        }
        case 'end':
        case 'release':
          for (const [cid, holder] of this.places) if (holder === callId) this.places.delete(cid);
          break;
        case 'restart-media':
          break;
        default:
          effect satisfies never;
      }
  }

  #later(callId: string, input: CallInput): void {
    this.#actions.push(() => {
      this.#give(callId, input);
      if (input.tag === 'answered') this.#later(callId, { tag: 'connected', side: input.side, sends: true });
    });
  }

  /** One place after the other, as in a store that knows no transactions. */
  #claim(callId: string, wanted: readonly number[], taken: readonly number[]): void {
    this.#actions.push(() => {
      const [cid, ...further] = wanted;
      if (cid === undefined) return this.#give(callId, { tag: 'claimed' });
      const holder = this.places.get(cid);
      if (holder === undefined) {
        this.places.set(cid, callId);
        return this.#claim(callId, further, [...taken, cid]);
      }
      for (const each of taken) if (this.places.get(each) === callId) this.places.delete(each);
      const sides = sidesOf(this.calls.get(holder) ?? newCall({ callId: holder, caller: 0 }, 0));
      // The holder has just ended and gives its places back.
      if (sides === undefined) return this.#claim(callId, [...taken, ...wanted], []);
      this.#give(callId, { tag: 'taken', by: { callId: holder, ...sides } });
    });
  }
}

const DEVICES = [1, 2, 3, 4] as const;

const assertSound = (world: World): void => {
  const inCalls = world.live.flatMap((state) => Object.values(sidesOf(state) ?? {}));
  expect(new Set(inCalls).size, 'no device is in two calls').toBe(inCalls.length);
  for (const state of world.live)
    for (const cid of Object.values(sidesOf(state) ?? {})) expect(world.places.get(cid)).toBe(state.callId);
  expect(world.places.size, 'a place is held for a call only').toBe(inCalls.length);
};

it('10,000 races of glare end in one call, or in none if somebody closes it', () => {
  for (let seed = 0; seed < 10_000; seed++) {
    const world = new World(seed);
    const isClosed = seed % 3 === 0;
    if (seed % 2 === 0) {
      world.rings(1, [2]);
      world.rings(2, [1]);
    }
    world.opens(1, 2);
    world.opens(2, 1);
    if (isClosed) world.closes(seed % 2 === 0 ? 1 : 2);
    world.run();
    assertSound(world);
    expect(world.live.length, `seed ${seed}`).toBeLessThanOrEqual(1);
    if (isClosed) continue;
    expect(world.live, `seed ${seed}`).toMatchObject([{ tag: 'established' }]);
    // Both sides have a part in the same call, and no ear is left waiting.
    const opened = world.news.filter(({ news }) => news.tag === 'opened');
    expect(new Set(opened.map(({ cid }) => cid)), `seed ${seed}`).toEqual(new Set([1, 2]));
    expect(new Set(opened.map(({ callId }) => callId)).size, `seed ${seed}`).toBe(1);
  }
});

it('10,000 races of glare, busy, double answers and closing never put a device into two calls', () => {
  for (let seed = 0; seed < 10_000; seed++) {
    const world = new World(seed);
    const random = randomOf(seed ^ 0x5bd1e995);
    const opens = 2 + random(5);
    for (let index = 0; index < opens; index++) {
      const cid = DEVICES[random(4)] ?? 1;
      const url = DEVICES[random(4)] ?? 2;
      if (random(3) === 0) world.rings(url, [cid, DEVICES[random(4)] ?? 1]);
      if (cid !== url) world.opens(cid, url);
      if (random(4) === 0) world.closes(DEVICES[random(4)] ?? 1);
    }
    world.run();
    assertSound(world);
    world.timePasses();
    assertSound(world);
    for (const cid of DEVICES) world.closes(cid);
    world.run();
    for (const cid of DEVICES) world.closes(cid);
    world.run();
    expect(world.live, `seed ${seed}`).toEqual([]);
    expect(world.places.size, `seed ${seed}`).toBe(0);
  }
});

it('10,000 races of several devices that answer give the call to exactly one, and all others hear so', () => {
  for (let seed = 0; seed < 10_000; seed++) {
    const world = new World(seed);
    world.rings(1, [2, 3, 4]);
    world.run();
    for (const cid of [2, 3, 4]) world.opens(cid, 1);
    world.run();
    assertSound(world);
    expect(world.live, `seed ${seed}`).toMatchObject([{ tag: 'established', caller: 1 }]);
    const winner = sidesOf(world.live[0] ?? newCall({ callId: '', caller: 0 }, 0))?.callee;
    for (const cid of [2, 3, 4])
      expect(
        world.news.some(({ cid: told, news }) =>
          told === cid && cid === winner
            ? news.tag === 'opened'
            : told === cid && news.tag === 'refused' && news.refusal.tag === 'answered-elsewhere',
        ),
        `seed ${seed}: device ${cid}`,
      ).toBe(true);
  }
});
