import { statSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '@weir/testing';
import { describe, expect, inject, it } from 'vitest';
import { WcsSocket } from './wcs-socket.js';

const { httpUrl, dataDir, username, password, operatorKey } = inject('platform');

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(httpUrl + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const asOperator = { authorization: `Bearer ${operatorKey}` };

describe('the platform over HTTP', () => {
  it('says that every service is well', async () => {
    const response = await fetch(`${httpUrl}/healthz`);
    expect(response.status).toBe(200);
    const { services } = (await response.json()) as { services: Record<string, { status: string }> };
    for (const name of ['auth', 'media', 'wcs-signalling']) expect(services[name]).toMatchObject({ status: 'ok' });
  });

  it('has a first page', async () => {
    const response = await fetch(`${httpUrl}/`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toContain('text/html');
    expect(await response.text()).toContain('<video');
  });

  it('keeps its credentials for their owner alone', () => {
    const path = join(dataDir, 'credentials.json');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ user: { username, password } });
  });

  it('logs a user in as the original document shows it', async () => {
    const response = await post('/auth/', { username, password });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      err: { ec: 0, em: 'ok' },
      ret: {
        token: expect.any(String),
        expire: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}[+-]\d\d$/),
      },
      ext: null,
      ebd: null,
    });
  });

  it('tells a wrong password from an unknown user by nothing', async () => {
    const answers = await Promise.all(
      [
        { username, password: 'wrong' },
        { username: 'nobody@nowhere', password },
      ].map(async (body) => {
        const response = await post('/auth/', body);
        return { status: response.status, body: await response.json() };
      }),
    );
    expect(answers[0]?.status).toBe(401);
    expect(answers[0]).toEqual(answers[1]);
  });

  it('lists sessions and streams for an operator and nobody else', async () => {
    expect((await post('/rest-api/connection/find_all', {})).status).toBe(401);
    const socket = await WcsSocket.connect(httpUrl.replace('http:', 'ws:'));
    const connections = await post('/rest-api/connection/find_all', {}, asOperator);
    expect(connections.status).toBe(200);
    expect(((await connections.json()) as unknown[]).length).toBeGreaterThan(0);
    expect((await post('/rest-api/stream/find', { name: 'no such stream' }, asOperator)).status).toBe(404);
    socket.close();
  });

  it('ends a connection at the word of an operator', async () => {
    const socket = await WcsSocket.connect(httpUrl.replace('http:', 'ws:'));
    const list = await post('/rest-api/connection/find_all', {}, asOperator);
    const connections = (await list.json()) as { sessionId: string }[];
    const { authToken } = (await socket.wait('getUserData')) as { authToken: string };
    expect(connections.map(({ sessionId }) => sessionId)).toContain(authToken);
    expect((await post('/rest-api/connection/terminate', { sessionId: authToken }, asOperator)).status).toBe(200);
    await waitFor(() => socket.closeCode !== undefined);
  });

  it('answers what nobody serves with an error that has a code', async () => {
    const response = await fetch(`${httpUrl}/no/such/thing`);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { code: expect.any(String) } });
  });
});
