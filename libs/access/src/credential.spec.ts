import { expect, test } from 'vitest';
import { credentialOf } from './credential.js';

test.each([
  ['a Bearer header', { url: '/', headers: { authorization: 'Bearer abc.def' } }, 'abc.def'],
  ['a header in lower case', { url: '/', headers: { authorization: 'bearer  abc ' } }, 'abc'],
  ['another scheme', { url: '/', headers: { authorization: 'Basic YTpi' } }, undefined],
  ['a header with two words', { url: '/', headers: { authorization: 'Bearer a b' } }, undefined],
  ['the query', { url: '/channel/app?x=1&token=abc', headers: {} }, 'abc'],
  ['the query as the documents spell it', { url: '/channel/app?tonken=abc', headers: {} }, 'abc'],
  ['an encoded query', { url: '/?token=a%2Bb', headers: {} }, 'a+b'],
  ['an empty query', { url: '/?token=', headers: {} }, undefined],
  ['a cookie', { url: '/', headers: { cookie: 'a=b; token=abc; c=d' } }, 'abc'],
  ['a cookie of the other name', { url: '/', headers: { cookie: 'tonken=abc' } }, 'abc'],
  ['a cookie whose name only ends in "token"', { url: '/', headers: { cookie: 'mytoken=abc' } }, undefined],
  [
    'the header before the others',
    { url: '/?token=q', headers: { authorization: 'Bearer h', cookie: 'token=c' } },
    'h',
  ],
  ['the query before the cookie', { url: '/?token=q', headers: { cookie: 'token=c' } }, 'q'],
  ['nothing', { headers: {} }, undefined],
])('%s', (_name, request, expected) => {
  expect(credentialOf(request)).toBe(expected);
});

test('where only the header counts, query and cookie do not', () => {
  expect(credentialOf({ url: '/?token=q', headers: { cookie: 'token=c' } }, ['header'])).toBeUndefined();
});
