import { describe, expect, test } from 'vitest';
import { fits, grant, grantCovers, knownGrants, objectPattern } from './grants.js';

describe('fits', () => {
  test.each([
    // pattern, object, fits
    ['*', '', true],
    ['*', 'robot1/front', true],
    ['robot1/front', 'robot1/front', true],
    ['robot1/front', 'robot1/front2', false],
    ['robot1/*', 'robot1/front', true],
    ['robot1/*', 'robot1/', true],
    ['robot1/*', 'robot10/front', false],
    ['*/front', 'robot1/front', true],
    ['*/front', 'front', false],
    ['robot*/front', 'robot1/front', true],
    ['robot*/front', 'robot1/rear', false],
    ['a*b*c', 'abc', true],
    ['a*b*c', 'aXbYc', true],
    ['a*b*c', 'acb', false],
    ['ab*ba', 'aba', false],
    ['ab*ba', 'abba', true],
    ['*ab*ab*', 'aab', false],
    ['*ab*ab*', 'abXab', true],
    ['a**c', 'abc', true],
    ['a.c', 'abc', false],
    ['[a-z]?', 'b1', false],
    ['[a-z]?', '[a-z]?', true],
    ['Robot', 'robot', false],
    ['*\n*', 'a\nb', true],
  ])('the pattern %j and the object %j: %s', (pattern, object, expected) => {
    expect(fits(objectPattern(pattern), object)).toBe(expected);
  });

  test('agrees with a plain regular expression on every short pattern and object', () => {
    const words = (length: number, alphabet: string): string[] =>
      length === 0
        ? ['']
        : words(length - 1, alphabet).flatMap((word) => [word, ...[...alphabet].map((letter) => word + letter)]);
    const objects = [...new Set(words(5, 'ab'))];
    for (const pattern of new Set(words(5, 'ab*'))) {
      if (pattern === '') continue;
      const reference = new RegExp(`^${pattern.replace(/\*+/g, '.*')}$`);
      for (const object of objects) {
        expect([pattern, object, fits(objectPattern(pattern), object)]).toEqual([
          pattern,
          object,
          reference.test(object),
        ]);
      }
    }
  });

  test('answers at once where a backtracking matcher would never end', () => {
    expect(fits(objectPattern(`${'a*'.repeat(127)}b`), 'a'.repeat(1024))).toBe(false);
  });

  test('an object longer than 1024 characters fits no pattern', () => {
    expect(fits(objectPattern('*'), 'a'.repeat(1024))).toBe(true);
    expect(fits(objectPattern('*'), 'a'.repeat(1025))).toBe(false);
  });
});

describe('grantCovers', () => {
  test.each([
    ['*', 'robot1/*', true],
    ['robot*', 'robot1/*', true],
    ['robot*', 'robot*', true],
    ['robot1/*', 'robot*', false],
    ['robot1', '*', false],
    ['robot1', 'robo*1', false],
    ['*1', 'robot*1', true],
    ['*1', 'robot1*', false],
  ])('publish %j covers publish %j: %s', (wide, narrow, expected) => {
    expect(grantCovers(grant('publish', wide), grant('publish', narrow))).toBe(expected);
  });

  test('no verb covers another', () => {
    expect(grantCovers(grant('administer', '*'), grant('play', 'robot1'))).toBe(false);
  });

  test('every object that fits the covered pattern fits the covering one too', () => {
    const patterns = ['*', 'a*', '*a', 'a*b', '*a*', 'ab', 'a*b*', 'aa*b', '*ab*'];
    const objects = ['', 'a', 'b', 'ab', 'aab', 'aabb', 'ba', 'abab'];
    for (const wide of patterns) {
      for (const narrow of patterns) {
        if (!grantCovers(grant('play', wide), grant('play', narrow))) continue;
        for (const object of objects) {
          if (fits(objectPattern(narrow), object))
            expect([wide, narrow, fits(objectPattern(wide), object)]).toEqual([wide, narrow, true]);
        }
      }
    }
  });
});

test('a grant with an unknown verb or a malformed object gives no right and leaves the others valid', () => {
  const values = [
    { verb: 'play', object: 'robot1' },
    { verb: 'teleport', object: '*' },
    { verb: 'publish', object: '' },
    { verb: 'publish', object: 'a'.repeat(257) },
  ];
  expect(knownGrants(values)).toEqual([{ verb: 'play', object: 'robot1' }]);
});

test('a pattern has 1 to 256 characters', () => {
  expect(() => objectPattern('')).toThrow(RangeError);
  expect(() => objectPattern('a'.repeat(257))).toThrow(RangeError);
});
