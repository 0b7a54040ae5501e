import type { types as mediasoup } from 'mediasoup';
import { describe, expect, it } from 'vitest';
import { announcedCandidates, mediaAddresses, urlHost, type LocalAddress } from './media-addresses.js';

const v4 = (address: string, internal = false): LocalAddress => ({ address, family: 'IPv4', internal });
const v6 = (address: string, scopeid = 0): LocalAddress => ({ address, family: 'IPv6', internal: false, scopeid });

const LOOPBACK = [v4('127.0.0.1', true), { address: '::1', family: 'IPv6', internal: true, scopeid: 0 } as const];

const listening = (host: string, announced: string[], local: LocalAddress[]) =>
  mediaAddresses(host, announced, [...LOOPBACK, ...local]).listeners.map(
    ({ protocol, ip, shared }) => `${protocol} ${ip}${shared ? ' shared' : ''}`,
  );

describe('where the node listens for media', () => {
  it('is the host that is set', () => {
    expect(listening('10.0.0.5', ['203.0.113.7'], [v4('10.0.0.5'), v4('10.0.0.6')])).toEqual([
      'udp 10.0.0.5',
      'tcp 10.0.0.5',
    ]);
  });

  it("is an announced address itself, where it is the machine's own: also its second one", () => {
    expect(listening('0.0.0.0', ['10.0.0.6'], [v4('10.0.0.5'), v4('10.0.0.6')])).toEqual([
      'udp 10.0.0.6',
      'tcp 10.0.0.6',
    ]);
    expect(listening('0.0.0.0', ['127.0.0.2'], [v4('10.0.0.5')])).toEqual(['udp 127.0.0.2', 'tcp 127.0.0.2']);
  });

  it('is every address where an announced one is translated, or a name', () => {
    const one = [v4('10.0.0.5'), v6('fe80::1', 2)];
    expect(listening('0.0.0.0', ['203.0.113.7'], one)).toEqual(['udp 0.0.0.0', 'tcp 0.0.0.0']);
    expect(listening('0.0.0.0', ['media.example.com'], [...one, v4('10.0.0.6')])).toEqual([
      'udp 0.0.0.0 shared',
      'udp 10.0.0.5 shared',
      'udp 10.0.0.6 shared',
      'tcp 0.0.0.0',
    ]);
  });

  it('is both for an address of the LAN and the public one in front of it', () => {
    expect(listening('0.0.0.0', ['10.0.0.5', '203.0.113.7'], [v4('10.0.0.5')])).toEqual([
      'udp 10.0.0.5 shared',
      'udp 0.0.0.0 shared',
      'tcp 0.0.0.0',
    ]);
  });

  it('is each of an IPv4 and an IPv6 address, however it is written', () => {
    const local = [v4('10.0.0.5'), v6('2001:db8::5')];
    expect(listening('0.0.0.0', ['10.0.0.5', '2001:DB8:0::5'], local)).toEqual([
      ...['udp 10.0.0.5', 'udp 2001:DB8:0::5', 'tcp 10.0.0.5', 'tcp 2001:DB8:0::5'],
    ]);
    expect(listening('0.0.0.0', ['203.0.113.7', '2001:db8:1::7'], local)).toEqual([
      ...['udp 0.0.0.0', 'udp ::', 'tcp 0.0.0.0', 'tcp ::'],
    ]);
  });
});

describe('what clients are told', () => {
  const candidate = (protocol: mediasoup.TransportProtocol, address: string, port: number): mediasoup.IceCandidate => ({
    ...{ foundation: protocol, priority: 1, ip: address, address, protocol, port, type: 'host' },
    ...(protocol === 'tcp' ? { tcpType: 'passive' as const } : {}),
  });

  it('is every announced address with the port of its listener, UDP first, in the order of the setting', () => {
    const addresses = mediaAddresses('0.0.0.0', ['10.0.0.5', '203.0.113.7', 'media.example.com'], [v4('10.0.0.5')]);
    const candidates = announcedCandidates(addresses, [
      candidate('udp', '10.0.0.5', 1),
      candidate('udp', '0.0.0.0', 2),
      candidate('tcp', '0.0.0.0', 3),
    ]);
    expect(candidates.map(({ protocol, address, port }) => `${protocol} ${address} ${port}`)).toEqual([
      ...['udp 10.0.0.5 1', 'udp 203.0.113.7 2', 'udp media.example.com 2'],
      ...['tcp 10.0.0.5 3', 'tcp 203.0.113.7 3', 'tcp media.example.com 3'],
    ]);
    const priorities = candidates.map(({ priority }) => priority);
    expect(priorities).toEqual([...new Set(priorities)].sort((a, b) => b - a));
    expect(new Set(candidates.map(({ foundation }) => foundation))).toHaveProperty('size', 6);
  });

  it('is TCP alone for a client that asks for it', () => {
    const addresses = mediaAddresses('127.0.0.1', ['127.0.0.1'], []);
    expect(announcedCandidates(addresses, [candidate('tcp', '127.0.0.1', 3)])).toMatchObject([{ protocol: 'tcp' }]);
  });

  it('is an IPv6 address in brackets, in a URL', () => {
    expect(['10.0.0.5', '2001:db8::5', 'media.example.com'].map(urlHost)).toEqual([
      ...['10.0.0.5', '[2001:db8::5]', 'media.example.com'],
    ]);
  });
});
