import { expect, test } from 'vitest';
import { parseAddress } from './address-range.js';
import { allowsAddress, allowsHost, parseAllowList } from './allow-list.js';

const address = (text: string) => {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`not an address: ${text}`);
  return parsed;
};

test.each([
  ['127.0.0.0/8', '127.1.2.3', 80, true],
  ['127.0.0.0/8', '128.0.0.1', 80, false],
  ['10.1.2.3', '10.1.2.3', 80, true],
  ['10.1.2.3', '10.1.2.4', 80, false],
  ['10.1.2.3:8443', '10.1.2.3', 8443, true],
  ['10.1.2.3:8443', '10.1.2.3', 443, false],
  ['10.0.0.0/8:8443', '10.9.9.9', 8443, true],
  ['[::1]', '::1', 80, true],
  ['::1', '::1', 80, true],
  ['[::1]:9000', '::1', 9000, true],
  ['[::1]:9000', '::1', 9001, false],
  ['fd00::/8', 'fd12::1', 80, true],
  ['[fd00::/8]:80', 'fd12::1', 80, true],
  ['[fd00::]/8:80', 'fd12::1', 80, true],
  ['127.0.0.0/8', '::ffff:127.0.0.1', 80, true],
  ['0.0.0.0/0', '::1', 80, false],
  [' 10.0.0.1 , ::1 ,', '::1', 80, true],
  ['', '127.0.0.1', 80, false],
])('the list %j and the address %s, port %i: %s', (list, text, port, expected) => {
  expect(allowsAddress(parseAllowList(list), address(text), port)).toBe(expected);
});

test.each([
  ['store.example', 'store.example', 80, true],
  ['Store.Example', 'STORE.example', 80, true],
  ['store.example', 'other.store.example', 80, false],
  ['store.example:8443', 'store.example', 8443, true],
  ['store.example:8443', 'store.example', 443, false],
  ['minio', 'minio', 9000, true],
])('the list %j and the host %s, port %i: %s', (list, host, port, expected) => {
  expect(allowsHost(parseAllowList(list), host, port)).toBe(expected);
});

test('names every malformed entry', () => {
  const wrong = [
    '10.0.0.0/33',
    '1.2.3',
    '127.1',
    'store.example:0',
    'store.example:70000',
    'a b',
    '[store.example]',
    '*',
  ];
  expect(() => parseAllowList(['127.0.0.1', ...wrong].join(','))).toThrow(
    new RangeError(`Not an address, network or host[:port]: ${wrong.join(', ')}`),
  );
});
