import { describe, expect, it } from 'vitest';
import { AddressAllowances } from './address-allowances.js';

const LIMITS = { frameBurst: 3, framesPerSecond: 2 };
const times = (count: number, take: () => boolean): boolean[] => Array.from({ length: count }, take);

describe('the allowance of an address', () => {
  it('is a burst, and then as much as comes back', () => {
    const allowances = new AddressAllowances(LIMITS);
    expect(times(4, () => allowances.take('192.0.2.1', 1_000))).toEqual([true, true, true, false]);
    expect(allowances.take('192.0.2.1', 1_499)).toBe(false);
    expect(allowances.take('192.0.2.1', 1_500)).toBe(true);
    expect(allowances.take('192.0.2.1', 1_500)).toBe(false);
  });

  it('is its own', () => {
    const allowances = new AddressAllowances(LIMITS);
    expect(times(4, () => allowances.take('192.0.2.1', 0))).toEqual([true, true, true, false]);
    expect(allowances.take('192.0.2.2', 0)).toBe(true);
  });

  it('is forgotten when it has taken nothing for a while, and not before', () => {
    const allowances = new AddressAllowances(LIMITS);
    for (let address = 0; address < 100; address += 1) allowances.take(`192.0.2.${address}`, 0);
    times(3, () => allowances.take('198.51.100.1', 1_900));
    allowances.take('198.51.100.2', 2_000);
    expect(allowances.addresses).toBe(2);
    expect(allowances.take('198.51.100.1', 2_000)).toBe(false);
  });
});
