import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { originOf, TrustedProxies } from './client-address.js';

const request = (remoteAddress: string, headers: Record<string, string>) =>
  ({ socket: { remoteAddress }, headers }) as unknown as IncomingMessage;

describe('where a request comes from', () => {
  const trusted = new TrustedProxies(['10.0.0.0/8', '192.0.2.1', 'fd00::/8']);

  it.each([
    [
      'the address that connects if it is no proxy, whatever it claims',
      '198.51.100.1',
      '1.1.1.1',
      '198.51.100.1',
      '198.51.100.1',
    ],
    [
      'the address that connects, without its IPv4-mapped form',
      '::ffff:198.51.100.1',
      '',
      '198.51.100.1',
      '198.51.100.1',
    ],
    ['behind one proxy', '10.0.0.1', '198.51.100.1', '198.51.100.1', '198.51.100.1, 10.0.0.1'],
    [
      'behind a proxy with an IPv4-mapped address',
      '::ffff:10.0.0.1',
      '198.51.100.1',
      '198.51.100.1',
      '198.51.100.1, 10.0.0.1',
    ],
    [
      'behind two proxies, without the entries that the client made up',
      '10.0.0.1',
      '1.1.1.1, 2001:db8::1, fd00::7',
      '2001:db8::1',
      '2001:db8::1, fd00::7, 10.0.0.1',
    ],
    ['read without its port', '192.0.2.1', '198.51.100.1:4711', '198.51.100.1', '198.51.100.1, 192.0.2.1'],
    ['read without its port in IPv6', '192.0.2.1', '[2001:db8::1]:4711', '2001:db8::1', '2001:db8::1, 192.0.2.1'],
    ['the proxy if that says nothing', '10.0.0.1', '', '10.0.0.1', '10.0.0.1'],
    ['the proxy if its entry is no address', '10.0.0.1', '198.51.100.1, unknown', '10.0.0.1', '10.0.0.1'],
    [
      'the first proxy if there are only proxies',
      '10.0.0.1',
      '10.0.0.3, 10.0.0.2',
      '10.0.0.3',
      '10.0.0.3, 10.0.0.2, 10.0.0.1',
    ],
  ])('is %s', (_what, remote, forwardedFor, address, chain) => {
    const origin = originOf(request(remote, { 'x-forwarded-for': forwardedFor }), trusted);
    expect(origin).toMatchObject({ address, forwardedFor: chain });
  });

  it('has the port of the client’s connection, or the one that a trusted proxy tells', () => {
    const portOf = (remoteAddress: string, forwardedFor: string) =>
      originOf(
        {
          socket: { remoteAddress, remotePort: 50_000 },
          headers: { 'x-forwarded-for': forwardedFor },
        } as unknown as IncomingMessage,
        trusted,
      ).port;
    expect(portOf('198.51.100.1', '1.1.1.1:4711')).toBe(50_000);
    expect(portOf('192.0.2.1', '198.51.100.1:4711')).toBe(4_711);
    expect(portOf('192.0.2.1', '[2001:db8::1]:4711')).toBe(4_711);
    expect(portOf('192.0.2.1', '2001:db8::1')).toBeUndefined();
    expect(portOf('192.0.2.1', '198.51.100.1')).toBeUndefined();
  });

  it('gives no host that is not a valid one', () => {
    expect(originOf(request('198.51.100.1', { host: 'a.example:8080' }), trusted).host).toBe('a.example:8080');
    expect(originOf(request('198.51.100.1', { host: '[::1]:8080' }), trusted).host).toBe('[::1]:8080');
    expect(originOf(request('198.51.100.1', { host: 'a"><script>' }), trusted).host).toBeUndefined();
  });
});
