import { describe, expect, it } from 'vitest';
import { AddressAllowances, Allowance } from './allowance.js';

const RATE = { burst: 3, perSecond: 2 };
const times = (count: number, take: () => boolean): boolean[] => Array.from({ length: count }, take);

describe('an allowance', () => {
  it('gives a burst, and then as much as comes back', () => {
    const allowance = new Allowance(RATE, 1_000);
    expect(times(4, () => allowance.take(1_000))).toEqual([true, true, true, false]);
    expect(allowance.take(1_499)).toBe(false);
    expect(allowance.take(1_500)).toBe(true);
    expect(allowance.take(1_500)).toBe(false);
  });

  it('never holds more than a burst', () => {
    const allowance = new Allowance(RATE, 0);
    expect(times(4, () => allowance.take(3_600_000))).toEqual([true, true, true, false]);
  });

  it('gives nothing for a clock that goes back', () => {
    const allowance = new Allowance(RATE, 1_000);
    times(3, () => allowance.take(1_000));
    expect(allowance.take(0)).toBe(false);
  });
});

describe('the allowances of addresses', () => {
  it('are one for each address', () => {
    const allowances = new AddressAllowances(RATE);
    expect(times(4, () => allowances.take('192.0.2.1', 0))).toEqual([true, true, true, false]);
    expect(allowances.take('192.0.2.2', 0)).toBe(true);
  });

  it('forget whoever has taken nothing for a while, and nobody else', () => {
    const allowances = new AddressAllowances(RATE);
    for (let address = 0; address < 100; address += 1) allowances.take(`192.0.2.${address}`, 0);
    times(3, () => allowances.take('198.51.100.1', 1_900));
    allowances.take('198.51.100.2', 2_000);
    expect(allowances.addresses).toBe(2);
    expect(allowances.take('198.51.100.1', 2_000)).toBe(false);
  });
});
