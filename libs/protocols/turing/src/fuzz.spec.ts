import { describe, expect, it } from 'vitest';
import { APP_ACTS, CLOSE, decodeRequest, decodeRobotFrame, errOf, type RequestRef } from './index.js';
import { memberTexts } from './member-text.js';
import { AppTranscript, RobotTranscript, startCommand } from './testing/transcript.js';

/** mulberry32, so a run can be repeated with its seed. */
const randomOf = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};

class Dice {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = randomOf(seed);
  }

  below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  one<T>(values: readonly [T, ...T[]]): T {
    return values[this.below(values.length)] ?? values[0];
  }

  json(depth = 0): unknown {
    switch (this.below(depth > 3 ? 6 : 8)) {
      case 0:
        return null;
      case 1:
        return this.below(2) === 0;
      case 2:
        return this.one([0, -1, 1.5, 1e21, 2 ** 53, -0.000001]);
      case 3:
        return this.one(['', 'r1', 'front', '"', '\\', '\\"', '}{][,:', '\u2028\ud83d\ude80', '\ud800', '\n\t\0']);
      case 4:
        return this.one(['abc', 'robot.list', 'key.1', 'c1']);
      case 5:
        return 'x'.repeat(this.below(300));
      case 6:
        return Array.from({ length: this.below(4) }, () => this.json(depth + 1));
      default:
        return Object.fromEntries(
          Array.from({ length: this.below(4) }, () => [
            this.one(['id', 'act', 'ebd', 'arg', '__proto__', 'a"b', '', '\\']),
            this.json(depth + 1),
          ]),
        );
    }
  }

  /** With or without blanks between the tokens. */
  text(value: unknown): string {
    return this.below(2) === 0
      ? JSON.stringify(value)
      : JSON.stringify(value, undefined, this.one([' ', '\t', '\r\n']));
  }

  frame(acts: readonly [string, ...string[]]): string {
    const frame: Record<string, unknown> = {
      id: this.json(),
      act: this.one(acts),
      arg: this.below(3) === 0 ? this.json() : { robot_id: 'r1', camera: 'front' },
      err: this.one<unknown>([{ ec: 0 }, { dm: 'ok' }, { ec: 1, dm: 'failed' }, this.json()]),
      ebd: this.json(),
    };
    const text = this.text(this.below(10) === 0 ? this.json() : frame);
    if (this.below(10) > 0) return text;
    const cut = this.below(text.length);
    return text.slice(0, cut) + this.one(['', '"', '}', '\\', '\u0000', '{"']) + text.slice(cut + this.below(3));
  }
}

const acts = [...APP_ACTS, 'robot.fly'] as unknown as [string, ...string[]];

describe('whatever comes', () => {
  it('the texts of members mean what JSON.parse says they mean', () => {
    let compared = 0;
    for (let seed = 1; seed <= 3_000; seed++) {
      const dice = new Dice(seed);
      const value = Object.fromEntries(Array.from({ length: 5 }, (_, index) => [`m${index}`, dice.json()]));
      const members = memberTexts(dice.text(value));
      expect([seed, [...members.keys()]]).toEqual([seed, Object.keys(value)]);
      for (const [name, text] of members) {
        expect([seed, name, JSON.parse(text)]).toEqual([seed, name, value[name]]);
        compared += 1;
      }
    }
    expect(compared).toBe(15_000);
  });

  it('decoding never throws, and what it lets pass fits its schema', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 5_000; seed++) {
      const text = new Dice(seed).frame(acts);
      seen.add(decodeRequest(text).tag).add(decodeRobotFrame(text).tag);
    }
    expect([...seen].sort()).toEqual(['malformed', 'notification', 'refused', 'request']);
  });

  it('an app gets exactly one reply to each request, and replies are JSON', () => {
    let requests = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const dice = new Dice(seed);
      const app = new AppTranscript({ frameBurst: 1e9, maxMalformed: 1e9, maxRequests: 5 });
      let frames = 0;
      for (let round = 0; round < 60; round++) {
        const refs = app.effects.flatMap((effect) => (effect.tag === 'ask' ? [effect.ref] : []));
        const ref = refs[dice.below(refs.length)] ?? ('key.x' as RequestRef);
        const kind = dice.below(6);
        if (kind < 3) {
          frames += 1;
          app.says(dice.frame(acts));
        } else if (kind === 3) app.answers({ ok: true, ret: { robots: [] } }, ref);
        else if (kind === 4) app.answers({ ok: false, err: errOf('timeout') }, ref);
        else app.waits(dice.below(8_000)).given({ tag: 'heard' });
      }
      for (let round = 0; round < 3; round++) app.waits(10_000).given({ tag: 'heard' });
      expect([seed, app.state]).toMatchObject([seed, { tag: 'open', requests: { size: 0 } }]);
      const replies = app.sent.map((text) => JSON.parse(text) as { act: string });
      expect([seed, replies.length]).toEqual([seed, frames]);
      requests += frames;
    }
    expect(requests).toBeGreaterThan(5_000);
  });

  it('every command to a robot comes to one outcome', () => {
    let commands = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const dice = new Dice(seed);
      const robot = new RobotTranscript({ frameBurst: 1e9, maxMalformed: 1e9 });
      let given = 0;
      for (let round = 0; round < 60; round++) {
        const kind = dice.below(8);
        if (kind < 3) {
          given += 1;
          robot.commands(startCommand, dice.below(20_000));
        } else if (kind < 5)
          robot.says({ id: `c${dice.below(given + 2)}`, act: 'x!', err: { dm: dice.one(['ok', 'no']) } });
        else if (kind === 5) robot.says(dice.frame(['x!', 'robot.list']));
        else robot.waits(dice.below(3_000), { answersPings: dice.below(20) > 0 });
      }
      robot.given({ tag: 'terminate', code: CLOSE.goingAway, reason: '' });
      const outcomes = robot.effects.flatMap((effect) => (effect.tag === 'commanded' ? [effect.ref] : []));
      expect([seed, new Set(outcomes).size, outcomes.length]).toEqual([seed, given, given]);
      commands += given;
    }
    expect(commands).toBeGreaterThan(2_000);
  });
});
