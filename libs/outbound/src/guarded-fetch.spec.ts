import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseAllowList } from './allow-list.js';
import { OutboundFailed, OutboundRefused } from './outbound-error.js';
import { OutboundGuard } from './outbound-guard.js';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly host: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

type Route = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server;
let port: number;
let routes: Record<string, Route>;
let seen: Seen[];
let resolutions: string[];
let guard: OutboundGuard;

beforeEach(async () => {
  routes = {};
  seen = [];
  resolutions = [];
  server = createServer((request, response) => {
    void text(request).then((body) => {
      const { method = '', url = '', headers } = request;
      seen.push({ method, url, host: headers.host ?? '', authorization: headers.authorization, body });
      const route = routes[url];
      if (route === undefined) response.writeHead(404).end();
      else route(request, response);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  port = (server.address() as AddressInfo).port;
  // Two names for one server, and one name in a network that the allow list doesn't open.
  const names: Record<string, string> = {
    'a.example': '127.0.0.1',
    'b.example': '127.0.0.1',
    'in.example': '10.0.0.1',
  };
  guard = new OutboundGuard({
    allow: parseAllowList('127.0.0.1'),
    resolve: async (host) => {
      resolutions.push(host);
      return [{ address: names[host] ?? '10.0.0.2', family: 4 }];
    },
  });
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const at = (path: string, host = 'a.example'): string => `http://${host}:${port}${path}`;
const redirect =
  (location: string, status = 302): Route =>
  (_request, response) =>
    void response.writeHead(status, { location }).end();

const reasonOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return 'answered';
  } catch (error) {
    if (error instanceof OutboundRefused || error instanceof OutboundFailed) return error.reason;
    throw error;
  }
};

test('sends a request and returns the answer, with one look-up of the name', async () => {
  routes['/hook'] = (_request, response) => void response.writeHead(403, { 'x-reason': 'no' }).end('{"error":"no"}');
  const response = await guard.fetch(at('/hook'), {
    method: 'post',
    headers: { authorization: 'Bearer 1', host: 'evil.example' },
    body: '{"a":1}',
  });
  expect([response.status, response.headers.get('x-reason'), await response.json()]).toEqual([
    403,
    'no',
    { error: 'no' },
  ]);
  expect(seen).toEqual([
    { method: 'POST', url: '/hook', host: `a.example:${port}`, authorization: 'Bearer 1', body: '{"a":1}' },
  ]);
  expect(resolutions).toEqual(['a.example']);
});

test('refuses a forbidden destination without connecting to it', async () => {
  expect(await reasonOf(guard.fetch('http://in.example/'))).toBe('address');
  expect(await reasonOf(guard.fetch(`http://2130706433:${port}/`))).toBe('ambiguous-host');
  expect(await reasonOf(guard.fetch('ftp://a.example/'))).toBe('scheme');
  expect(await reasonOf(guard.fetch('nonsense'))).toBe('malformed');
  expect(seen).toEqual([]);
});

test.each([
  ['another host', 'http://in.example/', 'address'],
  ['an address', 'http://169.254.169.254/latest/meta-data', 'address'],
  ['an oddly written address', 'http://2130706433/', 'ambiguous-host'],
  ['another scheme', 'file:///etc/passwd', 'malformed'],
  ['another port', 'http://a.example:22/', 'port'],
  ['a URL with credentials', 'http://user:pass@a.example/', 'credentials'],
  ['a malformed URL', 'http://[', 'redirect'],
])('checks a redirect to %s', async (_name, location, reason) => {
  routes['/'] = redirect(location);
  expect(await reasonOf(guard.fetch(at('/')))).toBe(reason);
  expect(seen).toHaveLength(1);
});

test('follows three redirects but not a fourth', async () => {
  routes['/1'] = redirect('/2');
  routes['/2'] = redirect(at('/3', 'b.example'));
  routes['/3'] = redirect('4');
  routes['/4'] = (_request, response) => void response.end('there');
  expect(await (await guard.fetch(at('/1'))).text()).toBe('there');
  routes['/4'] = redirect('/5');
  expect(await reasonOf(guard.fetch(at('/1')))).toBe('too-many-redirects');
  expect(await reasonOf(guard.fetch(at('/1'), { maxRedirects: 0 }))).toBe('too-many-redirects');
});

test('sends no credentials to another origin', async () => {
  routes['/1'] = redirect('/2');
  routes['/2'] = redirect(at('/3', 'b.example'));
  await guard.fetch(at('/1'), { headers: { authorization: 'Bearer 1' } });
  expect(seen.map(({ authorization }) => authorization)).toEqual(['Bearer 1', 'Bearer 1', undefined]);
});

test.each([
  [301, 'POST', 'GET', ''],
  [302, 'POST', 'GET', ''],
  [303, 'PUT', 'GET', ''],
  [307, 'POST', 'POST', 'body'],
  [308, 'PUT', 'PUT', 'body'],
])('after %i a %s is repeated as %s', async (status, method, next, body) => {
  routes['/1'] = redirect('/2', status);
  await guard.fetch(at('/1'), { method, body: 'body' });
  expect(seen[1]).toMatchObject({ method: next, body });
});

test('does not send a stream twice', async () => {
  routes['/1'] = redirect('/2', 307);
  const body = new Blob(['stream']).stream();
  expect(await reasonOf(guard.fetch(at('/1'), { method: 'PUT', body }))).toBe('redirect');
  expect(seen).toMatchObject([{ body: 'stream' }]);
});

test.each([
  [
    'whose Content-Length',
    (response: ServerResponse) => response.writeHead(200, { 'content-length': 100 }).end('x'.repeat(100)),
  ],
  [
    'without a Content-Length that',
    (response: ServerResponse) => response.write('x'.repeat(50)) && response.end('x'.repeat(50)),
  ],
  [
    'that after decompression',
    (response: ServerResponse) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x'.repeat(5000))),
  ],
])('refuses an answer %s is too large', async (_name, answer) => {
  routes['/'] = (_request, response) => void answer(response);
  expect(await reasonOf(guard.fetch(at('/'), { maxResponseBytes: 99 }))).toBe('response-too-large');
});

test('accepts an answer of exactly the allowed size, and one without a body', async () => {
  routes['/'] = (_request, response) => void response.end('x'.repeat(99));
  routes['/none'] = (_request, response) => void response.writeHead(204).end();
  expect(await (await guard.fetch(at('/'), { maxResponseBytes: 99 })).text()).toHaveLength(99);
  expect((await guard.fetch(at('/none'))).status).toBe(204);
});

test.each([
  ['never answers', () => undefined],
  ['never ends its answer', (response: ServerResponse) => void response.write('x')],
])('gives up on a server that %s', async (_name, answer) => {
  routes['/'] = (_request, response) => answer(response);
  expect(await reasonOf(guard.fetch(at('/'), { timeoutMs: 100 }))).toBe('timeout');
});

test('the time-out covers all redirects together', async () => {
  routes['/'] = (_request, response) => void setTimeout(() => response.writeHead(302, { location: '/' }).end(), 60);
  expect(await reasonOf(guard.fetch(at('/'), { timeoutMs: 150 }))).toBe('timeout');
});

test('ends when the caller aborts', async () => {
  const controller = new AbortController();
  routes['/'] = () => controller.abort();
  expect(await reasonOf(guard.fetch(at('/'), { signal: controller.signal }))).toBe('aborted');
});

test('fails with "connection" when nothing listens at the address', async () => {
  server.close();
  await once(server, 'close');
  expect(await reasonOf(guard.fetch(at('/')))).toBe('connection');
});

test('returns a redirect instead of following it, if the caller asks for that', async () => {
  routes = { '/from': (_request, response) => response.writeHead(307, { location: `/to` }).end('moved') };
  const answer = await guard.fetch(`http://a.example:${port}/from`, { redirects: 'return' });
  expect([answer.status, await answer.text()]).toEqual([307, 'moved']);
  expect(seen.map(({ url }) => url)).toEqual(['/from']);
});

test('returns the part of an answer’s body that has arrived, if the caller needs no more', async () => {
  routes = {
    '/large': (_request, response) => response.end('x'.repeat(100_000)),
    '/broken': (_request, response) => {
      response.writeHead(200, { 'content-length': '10' }).write('some');
      setImmediate(() => response.destroy());
    },
  };
  const request = { answerBody: 'cut', maxResponseBytes: 1_000 } as const;
  const large = await guard.fetch(`http://a.example:${port}/large`, request);
  expect([large.status, (await large.text()).length]).toEqual([200, 1_000]);
  const broken = await guard.fetch(`http://a.example:${port}/broken`, request);
  expect([broken.status, await broken.text()]).toEqual([200, 'some']);
});

test('returns an answer whose body never ends, with the part that has arrived', async () => {
  routes = { '/endless': (_request, response) => void response.writeHead(200).write('begin') };
  const answer = await guard.fetch(`http://a.example:${port}/endless`, { answerBody: 'cut' });
  expect([answer.status, await answer.text()]).toEqual([200, 'begin']);
});
