import { expect, test } from 'vitest';
import { expireText } from './envelope.js';

test.each([
  [8, '2020-05-09 14:35:41.748000+08'],
  [0, '2020-05-09 06:35:41.748000+00'],
  [-5, '2020-05-09 01:35:41.748000-05'],
  [14, '2020-05-09 20:35:41.748000+14'],
])('expireText writes the instant as the documents do, in the zone %i hours from UTC', (offsetHours, text) => {
  expect(expireText(Date.parse('2020-05-09T06:35:41.748Z'), offsetHours)).toBe(text);
});

test('expireText changes the day with the zone', () => {
  expect(expireText(Date.parse('2020-12-31T20:00:00Z'), 8)).toBe('2021-01-01 04:00:00.000000+08');
});
