import { expect, it } from 'vitest';
import { originOf } from './device-origin.js';

const socket = { remoteAddress: '192.0.2.1', remotePort: 4_000 };
const toldBy = (headers: Record<string, string>) => originOf({ headers, socket });

it('a device comes from where the gateway tells, or else from where its socket does', () => {
  expect(toldBy({})).toEqual({ address: '192.0.2.1', port: 4_000 });
  expect(toldBy({ 'x-forwarded-for': '198.51.100.7, 10.0.0.1' })).toEqual({ address: '198.51.100.7', port: 0 });
  expect(toldBy({ 'x-forwarded-for': '198.51.100.7', forwarded: 'for="198.51.100.7:50123"' })).toEqual({
    ...{ address: '198.51.100.7', port: 50_123 },
  });
  expect(toldBy({ 'x-forwarded-for': '2001:db8::1', forwarded: 'for="[2001:db8::1]:50123"' })).toEqual({
    ...{ address: '2001:db8::1', port: 50_123 },
  });
});

it('its port is not known if no port is told', () => {
  for (const forwarded of ['', 'for=unknown', 'for="[2001:db8::1]"', 'for="198.51.100.7"'])
    expect(toldBy({ 'x-forwarded-for': '198.51.100.7', forwarded }).port).toBe(0);
});
