import { describe, expect, test } from 'vitest';
import { readJson } from './json-body.js';

const bytes = (text: string): Buffer => Buffer.from(text);

describe('a body is read', () => {
  test.each([
    ['an object', bytes('{"a":1}'), { a: 1 }],
    ['white space around it', bytes(' \r\n{"a":1}\n'), { a: 1 }],
    ['a byte order mark before it', bytes('\uFEFF{"a":1}'), { a: 1 }],
    ['letters of all kinds', bytes('{"name":"前門 🚪 \\ud83d\\udeaa"}'), { name: '前門 🚪 🚪' }],
    ['a member twice: the last counts', bytes('{"a":1,"a":2}'), { a: 2 }],
    ['a member called constructor', bytes('{"constructor":{"prototype":1}}'), { constructor: { prototype: 1 } }],
    ['something other than an object', bytes('"text"'), 'text'],
    ['null', bytes('null'), null],
    ['as many levels as are allowed', bytes(`${'['.repeat(64)}${']'.repeat(64)}`), expect.any(Array)],
  ])('with %s', (_what, body, value) => {
    expect(readJson(body)).toEqual({ tag: 'value', value });
  });

  test.each([[''], [' \r\n'], ['\uFEFF']])('as missing when it is %j', (text) => {
    expect(readJson(bytes(text))).toEqual({ tag: 'empty' });
  });
});

describe('a body is refused', () => {
  test.each([
    ['a form', bytes('username=ada&password=x'), /must be JSON in UTF-8/],
    ['XML', bytes('<a/>'), /must be JSON in UTF-8/],
    ['half of it', bytes('{"a":'), /must be JSON in UTF-8/],
    ['two of them', bytes('{}{}'), /must be JSON in UTF-8/],
    ['single quotes', bytes("{'a':1}"), /must be JSON in UTF-8/],
    ['a NaN', bytes('{"a":NaN}'), /must be JSON in UTF-8/],
    ['UTF-16', Buffer.from('\uFEFF{"a":1}', 'utf16le'), /must be JSON in UTF-8/],
    ['Latin-1', Buffer.from('{"a":"\u00e9"}', 'latin1'), /must be JSON in UTF-8/],
    ['a compressed one', Buffer.from([0x1f, 0x8b, 8, 0, 0]), /must be JSON in UTF-8/],
    ['a NUL in a value', bytes('{"a":["\\u0000"]}'), /NUL/],
    ['a NUL in a name', bytes('{"a\\u0000":1}'), /NUL/],
    ['half of a surrogate pair', bytes('{"a":"\\ud83d"}'), /surrogate/],
    ['a way into prototypes', bytes('{"a":[{"__proto__":{"b":1}}]}'), /__proto__/],
    ['too many levels', bytes(`${'['.repeat(65)}${']'.repeat(65)}`), /64 levels/],
    ['a hundred thousand levels', bytes('{"a":'.repeat(100_000) + '1' + '}'.repeat(100_000)), /64 levels/],
  ])('with %s', (_what, body, message) => {
    expect(readJson(body)).toEqual({ tag: 'refused', message: expect.stringMatching(message) });
  });
});
