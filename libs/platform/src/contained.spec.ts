import { expect, it } from 'vitest';
import { contained } from './contained.js';

it('what one connection sends ends that connection alone if it can’t be handled, and is logged', () => {
  const lines: string[] = [];
  let givenUp = 0;
  const taken: number[] = [];
  const listener = contained(
    {
      log: { error: (_: object, text: string) => void lines.push(text) },
      whose: 'a client',
      giveUp: () => (givenUp += 1),
    },
    (value: number) => {
      if (value < 0) throw new RangeError('unexpected');
      taken.push(value);
    },
  );
  for (const value of [1, -1, 2]) listener(value);
  expect([taken, givenUp, lines.length]).toEqual([[1, 2], 1, 1]);
  expect(lines[0]).toContain('a client');
});
