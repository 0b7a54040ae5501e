import { expect, it } from 'vitest';
import { AddressCounts, rateKey } from './address-counts.js';

it('counts an IPv6 client by its /64', () => {
  expect(rateKey('198.51.100.1')).toBe('198.51.100.1');
  expect(rateKey('::ffff:198.51.100.1')).toBe('198.51.100.1');
  expect(rateKey('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
  expect(rateKey('2001:db8:1:2::1')).toBe('2001:db8:1:2::/64');
  expect(rateKey('2001:db8:1:3::1')).not.toBe('2001:db8:1:2::/64');
});

it('frees places when an address releases them, and forgets an address that holds none', () => {
  const counts = new AddressCounts();
  expect([counts.take('a', 2), counts.take('a', 2), counts.take('a', 2), counts.take('b', 2)]).toEqual([
    true,
    true,
    false,
    true,
  ]);
  counts.release('a');
  expect(counts.take('a', 2)).toBe(true);
  for (const address of ['a', 'a', 'b']) counts.release(address);
  expect(counts.addresses).toBe(0);
  expect(Array.from({ length: 9 }, () => counts.take('c', 0))).not.toContain(false);
});
