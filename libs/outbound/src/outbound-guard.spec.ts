import type { LookupAddress } from 'node:dns';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { parseAllowList } from './allow-list.js';
import { OutboundFailed, OutboundRefused } from './outbound-error.js';
import { OutboundGuard, refusalOf, type OutboundPolicy } from './outbound-guard.js';

const http: OutboundPolicy = { schemes: ['http', 'https'] };

/** A name server that knows only these names. */
const dns =
  (names: Record<string, string[]>) =>
  async (host: string): Promise<LookupAddress[]> => {
    const addresses = names[host];
    if (addresses === undefined) throw new Error(`ENOTFOUND ${host}`);
    return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };

const guardOf = (names: Record<string, string[]> = {}, allow = ''): OutboundGuard =>
  new OutboundGuard({ allow: parseAllowList(allow), resolve: dns(names) });

const verdict = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return 'allowed';
  } catch (error) {
    if (error instanceof OutboundRefused || error instanceof OutboundFailed) return error.reason;
    throw error;
  }
};

describe('addresses', () => {
  test.each([
    ['a public one', '93.184.216.34', 'allowed'],
    ['a public one of IPv6', '2606:2800:220:1:248:1893:25c8:1946', 'allowed'],
    ['loopback', '127.0.0.1', 'address'],
    ['another loopback address', '127.255.0.1', 'address'],
    ['private, class A', '10.0.0.1', 'address'],
    ['private, class B', '172.16.0.1', 'address'],
    ['private, class C', '192.168.1.1', 'address'],
    ['link-local, where clouds keep their metadata', '169.254.169.254', 'address'],
    ['the metadata of another cloud', '168.63.129.16', 'address'],
    ['the metadata of a third cloud', '100.100.100.200', 'address'],
    ['carrier-grade NAT', '100.64.0.1', 'address'],
    ['unspecified', '0.0.0.0', 'address'],
    ['this network', '0.1.2.3', 'address'],
    ['multicast', '224.0.0.1', 'address'],
    ['broadcast', '255.255.255.255', 'address'],
    ['reserved', '240.0.0.1', 'address'],
    ['reserved for benchmarks', '198.18.0.1', 'address'],
    ['reserved for documentation', '192.0.2.1', 'address'],
    ['loopback of IPv6', '::1', 'address'],
    ['unspecified of IPv6', '::', 'address'],
    ['unique local', 'fd00:ec2::254', 'address'],
    ['link-local of IPv6', 'fe80::1', 'address'],
    ['site-local', 'fec0::1', 'address'],
    ['multicast of IPv6', 'ff02::1', 'address'],
    ['IPv4-mapped loopback', '::ffff:127.0.0.1', 'address'],
    ['IPv4-mapped loopback in hexadecimal', '::ffff:7f00:1', 'address'],
    ['IPv4-mapped public', '::ffff:93.184.216.34', 'allowed'],
    ['IPv4-compatible loopback', '::7f00:1', 'address'],
    ['loopback through NAT64', '64:ff9b::7f00:1', 'address'],
    ['private through NAT64', '64:ff9b::a00:1', 'address'],
    ['public through NAT64', '64:ff9b::5db8:d822', 'allowed'],
    ['a network’s own NAT64', '64:ff9b:1::a00:1', 'address'],
    ['loopback through 6to4', '2002:7f00:1::1', 'address'],
    ['Teredo', '2001:0:4136:e378::1', 'address'],
    ['reserved for documentation, IPv6', '2001:db8::1', 'address'],
    ['discard', '100::1', 'address'],
  ])('%s', async (_name, address, expected) => {
    const host = address.includes(':') ? `[${address}]` : address;
    expect(await verdict(guardOf().check(`http://${host}/`, http))).toBe(expected);
    expect(await verdict(guardOf({ 'named.example': [address] }).check('http://named.example/', http))).toBe(expected);
    expect(await verdict(guardOf().checkHost(address, 8080))).toBe(expected);
  });

  test('one forbidden address among several is enough', async () => {
    const guard = guardOf({ 'mixed.example': ['93.184.216.34', '10.0.0.1'] });
    expect(await verdict(guard.check('http://mixed.example/', http))).toBe('address');
  });
});

describe('URLs', () => {
  const names = { 'camera.example': ['93.184.216.34'], 'xn--bcher-kva.example': ['93.184.216.34'] };
  test.each([
    ['https://camera.example/path?q#f', 'allowed'],
    ['http://camera.example:8080/', 'allowed'],
    ['http://bücher.example/', 'allowed'],
    ['http://CAMERA.example/', 'allowed'],
    ['ftp://camera.example/', 'scheme'],
    ['file:///etc/passwd', 'malformed'],
    ['gopher://camera.example/', 'scheme'],
    ['http://camera.example:25/', 'port'],
    ['http://camera.example:22/', 'port'],
    ['http://camera.example:0/', 'port'],
    ['http://user:secret@camera.example/', 'credentials'],
    ['http://user@camera.example/', 'credentials'],
    ['http://2130706433/', 'ambiguous-host'],
    ['http://0x7f000001/', 'ambiguous-host'],
    ['http://0x7f.1/', 'ambiguous-host'],
    ['http://0177.0.0.1/', 'ambiguous-host'],
    ['http://127.1/', 'ambiguous-host'],
    ['http://127.0.0.1./', 'ambiguous-host'],
    ['http://010.0.0.1/', 'ambiguous-host'],
    ['http://93.184.216.034/', 'ambiguous-host'],
    ['http://%31%32%37.0.0.1/', 'ambiguous-host'],
    ['http://１２７.0.0.1/', 'ambiguous-host'],
    ['http://camera.example\\@10.0.0.1/', 'malformed'],
    ['http://camera.example\t/', 'malformed'],
    ['http://camera.example/\ud800', 'malformed'],
    ['http://camera.example/📷', 'allowed'],
    [' http://camera.example/', 'malformed'],
    ['http:camera.example', 'malformed'],
    ['//camera.example/', 'malformed'],
    ['camera.example', 'malformed'],
    ['', 'malformed'],
    ['http://', 'malformed'],
    ['http://[::1%25eth0]/', 'malformed'],
    ['http://unknown.example/', 'unresolved'],
  ])('%j: %s', async (url, expected) => {
    expect(await verdict(guardOf(names).check(url, http))).toBe(expected);
  });

  const rtsp: OutboundPolicy = { schemes: ['rtsp'], credentials: 'allow' };
  test.each([
    ['rtsp://user:secret@camera.example/stream', 'allowed'],
    ['rtsp://camera.example:8554/stream', 'allowed'],
    ['rtsp://[2606:2800:220:1:248:1893:25c8:1946]/stream', 'allowed'],
    ['rtsp://[::1]/stream', 'address'],
    ['rtsp://[::ffff:10.0.0.1]/stream', 'address'],
    ['rtsp://10.0.0.1/stream', 'address'],
    ['rtsp://2130706433/stream', 'ambiguous-host'],
    ['rtsp://0x7f.1/stream', 'ambiguous-host'],
    ['rtsp://127.1/stream', 'ambiguous-host'],
    ['rtsp://c%61mera.example/stream', 'ambiguous-host'],
    ['rtsp://camera.example;x/stream', 'malformed'],
    ['http://camera.example/', 'scheme'],
  ])("with a camera's policy, %j: %s", async (url, expected) => {
    expect(await verdict(guardOf(names).check(url, rtsp))).toBe(expected);
  });

  test('a caller can set the allowed ports', async () => {
    const policy: OutboundPolicy = { schemes: ['http'], ports: [25, [9000, 9010]] };
    const ports = async (port: number) => verdict(guardOf(names).check(`http://camera.example:${port}/`, policy));
    expect(await Promise.all([25, 9000, 9010, 8999, 9011, 80].map(ports))).toEqual([
      'allowed',
      'allowed',
      'allowed',
      'port',
      'port',
      'port',
    ]);
  });

  test.each([
    ['rtsp', 554, 'allowed'],
    ['rtsp', 8554, 'allowed'],
    ['rtsp', 443, 'port'],
    ['rtsps', 322, 'allowed'],
    ['rtsps', 554, 'allowed'],
    ['rtsps', 443, 'allowed'],
    ['rtsps', 22, 'port'],
    [undefined, 554, 'port'],
  ] as const)('a host with the scheme %s and the port %d: %s', async (scheme, port, expected) => {
    const policy = scheme === undefined ? {} : { scheme };
    expect(await verdict(guardOf(names).checkHost('camera.example', port, policy))).toBe(expected);
    const inside = guardOf({ 'camera.example': ['10.0.0.7'] }, 'camera.example');
    expect(await verdict(inside.checkHost('camera.example', port, policy))).toBe(expected);
  });

  test.each(['2130706433', '0x7f.1', '127.1'])('a host must not be written as %s', async (host) => {
    expect(await verdict(guardOf().checkHost(host, 8554))).toBe('ambiguous-host');
  });

  test('a refusal never repeats the secrets of a URL', async () => {
    const refusal = guardOf(names).check('http://user:secret@camera.example/?key=secret', http);
    await expect(refusal).rejects.toThrow(expect.not.stringContaining('secret'));
  });
});

describe('the allow list', () => {
  test.each([
    ['http://10.0.0.1/', '10.0.0.0/8', 'allowed'],
    ['http://10.0.0.1/', '10.0.0.0/8:80', 'allowed'],
    ['http://10.0.0.1/', '10.0.0.0/8:81', 'address'],
    ['http://inside.example/', '10.0.0.0/8', 'allowed'],
    ['http://inside.example/', 'inside.example', 'allowed'],
    ['http://inside.example/', 'inside.example:8443', 'address'],
    ['http://inside.example:25/', 'inside.example', 'port'],
    ['http://inside.example:25/', 'inside.example:25', 'allowed'],
    ['http://inside.example:25/', '10.0.0.1:25', 'allowed'],
    ['http://2130706433/', '127.0.0.0/8', 'ambiguous-host'],
  ])('%s with %j: %s', async (url, allow, expected) => {
    expect(await verdict(guardOf({ 'inside.example': ['10.0.0.1'] }, allow).check(url, http))).toBe(expected);
  });
});

describe('resolution', () => {
  test('gives up when the name server does not answer or the caller aborts', async () => {
    const silent = () => new Promise<LookupAddress[]>(() => undefined);
    const guard = new OutboundGuard({ resolve: silent, resolveTimeoutMs: 20 });
    expect(await verdict(guard.check('http://camera.example/', http))).toBe('timeout');
    const patient = new OutboundGuard({ resolve: silent });
    const signal = AbortSignal.abort();
    expect(await verdict(patient.check('http://camera.example/', { ...http, signal }))).toBe('aborted');
  });

  test('reports a name without addresses as unresolved', async () => {
    expect(await verdict(guardOf({ 'empty.example': [] }).check('http://empty.example/', http))).toBe('unresolved');
  });

  test('uses the system’s resolver unless told otherwise', async () => {
    expect(await verdict(new OutboundGuard().check('http://localhost/', http))).toBe('address');
  });
});

describe('a destination that is stored for later', () => {
  test('is refused when the rules forbid it, but not when its name cannot be resolved', async () => {
    const guard = guardOf({ 'inside.example': ['10.0.0.1'] });
    const refused = async (url: string) => (await refusalOf(guard.check(url, http)))?.reason;
    expect(await refused('http://inside.example/')).toBe('address');
    expect(await refused('http://93.184.216.34:25/')).toBe('port');
    expect(await refused('http://93.184.216.34/')).toBeUndefined();
    expect(await refused('http://unknown.example/')).toBeUndefined();
  });
});

describe('a checked target', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  test('is reached at the address that was checked, even if the name server answers differently later', async () => {
    server = createServer((socket) => socket.end('here'));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const answers = [[{ address: '127.0.0.1', family: 4 }], [{ address: '10.255.255.1', family: 4 }]];
    const resolve = async () => answers.shift() ?? [];
    const guard = new OutboundGuard({ resolve, allow: parseAllowList('127.0.0.1') });
    const target = await guard.check(`rtsp://rebinding.example:${port}/`, { schemes: ['rtsp'] });
    const socket = connect({ host: target.host, port: target.port, lookup: target.lookup });
    const [data] = await once(socket, 'data');
    expect(String(data)).toBe('here');
    expect(answers).toHaveLength(1);
  });

  test('resolves its own host only', async () => {
    const target = await guardOf({ 'camera.example': ['93.184.216.34'] }).check('http://camera.example/', http);
    const ask = (host: string, options: object) =>
      new Promise((resolve) => target.lookup(host, options, (error, found) => resolve(error ?? found)));
    expect(await ask('camera.example', {})).toBe('93.184.216.34');
    expect(await ask('camera.example', { all: true })).toEqual([{ address: '93.184.216.34', family: 4 }]);
    expect(await ask('camera.example', { family: 6 })).toBeInstanceOf(OutboundRefused);
    expect(await ask('other.example', {})).toBeInstanceOf(OutboundRefused);
  });
});
