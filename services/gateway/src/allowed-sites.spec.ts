import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { AllowedSites } from './allowed-sites.js';
import { startEdge, stopEdges } from './testing/edge-under-test.js';
import { exchange, parseAnswer } from './testing/raw-http.js';
import { startService, stopServices } from './testing/service-stand-in.js';

afterEach(async () => {
  await stopEdges();
  await stopServices();
});

const LOCAL = { WEIR_CORS_ORIGINS: 'local', WEIR_ALLOWED_HOSTS: 'local' };

/** The status of a handshake: 101 when the socket opens. */
const dial = (url: string, headers: Record<string, string> = {}): Promise<number> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { headers, perMessageDeflate: false });
    socket.once('open', () => {
      socket.terminate();
      resolve(101);
    });
    socket.once('unexpected-response', (_request, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    socket.once('error', reject);
  });

describe('the origin of a page', () => {
  const sites = (...origins: string[]) => new AllowedSites({ origins, hosts: ['*'] });

  it.each([
    ['a client other than a browser', undefined, true],
    ["the gateway's own page", 'http://box.example:8080', true],
    ["the gateway's own page over TLS", 'https://box.example:8443', true],
    ['a page of this machine', 'http://localhost:3000', true],
    ['a page of this machine by address', 'http://127.0.0.1:5173', true],
    ['a page of this machine by IPv6', 'http://[::1]:5173', true],
    ['a named page', 'https://app.example', true],
    ['a page of another site', 'https://attacker.example', false],
    ['a page whose name begins like one of the gateway', 'http://localhost.attacker.example', false],
    ['a page whose name ends like one of the gateway', 'http://notbox.example:8080', false],
    ['a page without an origin: a file, a sandboxed frame', 'null', false],
    ['another port of a named site', 'https://app.example:444', false],
    ['nonsense', '://', false],
  ])('of %s is judged', (_who, origin, allowed) => {
    expect(sites('local', 'https://app.example/').allows({ origin, host: 'box.example:8080' })).toBe(allowed);
  });

  it('does not matter if all are allowed; without `local`, a page of this machine is refused', () => {
    expect(sites('*').allows({ origin: 'null', host: 'x' })).toBe(true);
    expect(sites('https://app.example').allows({ origin: 'http://localhost:1', host: 'x' })).toBe(false);
  });

  it('decides whether a WebSocket is accepted, on every path', async () => {
    const [wcs, robots] = [await startService(), await startService()];
    const { socketUrl } = await startEdge({
      ...LOCAL,
      WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url,
      WEIR_UPSTREAM_ROBOT_CHANNEL: robots.url,
    });
    for (const path of ['/', '/websocket', '/channel/app', '/channel/robot']) {
      expect(await dial(socketUrl + path, { origin: 'https://attacker.example' }), path).toBe(403);
      expect(await dial(socketUrl + path, { origin: 'null' }), path).toBe(403);
      expect(await dial(socketUrl + path, { origin: 'http://localhost:3000' }), path).toBe(101);
      expect(await dial(socketUrl + path), path).toBe(101);
    }
    expect([wcs.sockets.length, robots.sockets.length]).toEqual([4, 4]);
  });

  it('decides whether a request may change something, and whether the page may read the answer', async () => {
    const wcs = await startService();
    const { url } = await startEdge({ ...LOCAL, WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const ask = (method: string, origin?: string) =>
      fetch(`${url}/rest-api/stream/find_all`, { method, headers: { ...(origin !== undefined && { origin }) } });
    const refused = await ask('POST', 'https://attacker.example');
    expect(refused.status).toBe(403);
    expect(await refused.json()).toMatchObject({ error: { code: 'ORIGIN_NOT_ALLOWED' } });
    expect((await ask('GET', 'https://attacker.example')).headers.get('access-control-allow-origin')).toBeNull();
    expect(wcs.requests).toHaveLength(1);
    const local = await ask('POST', 'http://localhost:3000');
    expect([local.status, local.headers.get('access-control-allow-origin')]).toEqual([200, 'http://localhost:3000']);
    expect((await ask('POST', url)).status).toBe(200);
    expect((await ask('POST')).status).toBe(200);
  });
});

describe('the name that the gateway is addressed by', () => {
  const statusFor = async (port: number, host: string, ...headers: string[]) => {
    const request = ['GET /healthz HTTP/1.1', `Host: ${host}`, 'Connection: close', ...headers, '', ''].join('\r\n');
    return parseAnswer(await exchange(port, request)).statusCode;
  };

  it('must be one of its own, because a site can point its name at this machine', async () => {
    const wcs = await startService();
    const { port, socketUrl } = await startEdge({
      ...LOCAL,
      WEIR_ALLOWED_HOSTS: 'local, video.example',
      WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url,
    });
    for (const host of [
      'localhost',
      `localhost:${port}`,
      '127.0.0.1:8080',
      '[::1]:8080',
      '192.0.2.7',
      'VIDEO.example:80',
    ])
      expect(await statusFor(port, host), host).toBe(200);
    for (const host of [
      'attacker.example',
      `attacker.example:${port}`,
      'localhost.attacker.example',
      'localhost.attacker.example.',
    ])
      expect(await statusFor(port, host), host).toBe(421);
    const rebound = { host: `attacker.example:${port}`, origin: `http://attacker.example:${port}` };
    expect(await dial(socketUrl, rebound)).toBe(421);
    expect(wcs.sockets).toEqual([]);
  });

  it('may be any by default', async () => {
    const { port } = await startEdge();
    expect(await statusFor(port, 'any.example')).toBe(200);
  });
});
