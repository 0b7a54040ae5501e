import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { ReservedNames } from '@weir/access';
import { EndReason, ErrorCode, WeirError } from '@weir/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Recorder, startSurroundings, type Surroundings } from './testing/recorder.js';
import { recordingToken, RtmClient, sessionRequest } from './testing/session-client.js';
import { SessionMedia } from './testing/session-media.js';

let surroundings: Surroundings;
let media: SessionMedia;
let instance: Recorder;
let hooks: Server;
let hooked: Record<string, unknown>[];

beforeAll(async () => {
  surroundings = await startSurroundings();
  media = await SessionMedia.start(surroundings.nats.url);
  instance = await Recorder.start(surroundings.env);
  hooks = createServer((request, response) => {
    void text(request).then((body) => {
      hooked.push(JSON.parse(body) as Record<string, unknown>);
      response.end();
    });
  });
  await once(hooks.listen(0, '127.0.0.1'), 'listening');
}, 60_000);

afterAll(async () => {
  await instance.stop();
  await media.stop();
  await surroundings.stop();
  hooks.close();
});

beforeEach(() => {
  hooked = [];
  media.refusal = undefined;
});

let clients = 0;
const newClient = () => `client-${++clients}`;
const tokenOf = (claims: Readonly<Record<string, unknown>>, id?: string) =>
  recordingToken(surroundings.auth, claims, id);
const clientToken = (sub: string, more: object = {}, id?: string) => tokenOf({ sub, kind: 'client', ...more }, id);
const hookUrl = () => `http://127.0.0.1:${(hooks.address() as AddressInfo).port}/hook`;
const socketUrl = (endpoint: string, token: string) =>
  `${endpoint.replace(/^ws:\/\/[^/]+/, instance.url.replace('http', 'ws'))}?auth_token=${token}`;
const OFFER = { type: 'offer', sdp: 'v=0 offer' };

interface Started {
  readonly clientId: string;
  readonly token: string;
  readonly sessionId: string;
  readonly socket: RtmClient;
}

const startClient = async (clientId = newClient(), token?: string, autoPong = true): Promise<Started> => {
  const own = token ?? (await clientToken(clientId));
  const { json } = await sessionRequest(instance, 'POST', '/api/v2/session', own, { client_id: clientId });
  const socket = await new RtmClient(socketUrl(json.ws_endpoint, own), {}, autoPong).opened();
  const data = { sdp: OFFER, webhook_url: hookUrl() };
  socket.say({ type: 'session_start', client_id: clientId, session_id: json.session_id, data });
  await expect.poll(() => socket.types).toContain('sdp_update');
  return { clientId, token: own, sessionId: json.session_id, socket };
};

describe("a client's session", () => {
  test('is made, started, answered and ended, and its webhook is told', async () => {
    const { socket, sessionId, clientId } = await startClient();
    expect(socket.frames[0]).toEqual({
      type: 'sdp_update',
      client_id: clientId,
      session_id: sessionId,
      data: { sdp: { type: 'answer', sdp: 'answer to v=0 offer' } },
    });
    expect(media.published.at(-1)).toMatchObject({
      tenant: 'acme',
      streamName: `recordings/${sessionId}`,
      furtherStreamNames: [`recordings/${sessionId}/2`, `recordings/${sessionId}/3`],
      protocol: 'eyeson',
      videoCodecs: ['VP8', 'VP9', 'AV1', 'H264'],
      claim: { owner: 'recordings' },
      takesTalkBack: false,
    });
    socket.say({ type: 'session_stop', client_id: clientId, session_id: sessionId });
    await expect.poll(() => socket.closed).toEqual({ code: 1000, reason: 'CLIENT_STOP' });
    expect(socket.frames.at(-1)).toMatchObject({
      type: 'session_terminated',
      data: { termination_cause: 'CLIENT_STOP' },
    });
    await expect
      .poll(() => hooked)
      .toEqual([
        {
          status: 'session_finished',
          msg: expect.any(String),
          session_id: sessionId,
          client_id: clientId,
          termination_cause: 'CLIENT_STOP',
          started_at: expect.any(String),
          stopped_at: expect.any(String),
        },
      ]);
    expect(media.streams).not.toContain(`recordings/${sessionId}`);
  });

  test("has a name that nobody else may publish: it's reserved in the tenant", async () => {
    await startClient();
    const names = new ReservedNames({ redis: instance.context.redis, log: { warn: () => undefined } });
    expect(await names.find('acme', 'recordings/anything')).toEqual({ owner: 'recordings', prefix: 'recordings/' });
    expect(await names.find('umbrella', 'recordings/anything')).toBeUndefined();
  });

  test('answers a new offer of its client', async () => {
    const { socket, sessionId, clientId } = await startClient();
    const data = { sdp: { type: 'offer', sdp: 'v=0 again' } };
    socket.say({ type: 'sdp_update', client_id: clientId, session_id: sessionId, data });
    await expect
      .poll(() => socket.frames.at(-1)?.data)
      .toEqual({ sdp: { type: 'answer', sdp: 'answer to v=0 again' } });
  });

  test('can be tried again when its offer is refused', async () => {
    const clientId = newClient();
    const token = await clientToken(clientId);
    const { json } = await sessionRequest(instance, 'POST', '/api/v2/session', token, { client_id: clientId });
    const socket = await new RtmClient(socketUrl(json.ws_endpoint, token)).opened();
    const start = { type: 'session_start', client_id: clientId, session_id: json.session_id, data: { sdp: OFFER } };
    media.refusal = new WeirError(ErrorCode.INVALID, 'The offer is not usable');
    socket.say(start);
    await expect
      .poll(() => socket.frames.at(-1)?.data)
      .toEqual({ code: 'INVALID', message: 'The offer is not usable' });
    media.refusal = undefined;
    socket.say(start);
    await expect.poll(() => socket.types).toEqual(['error', 'sdp_update']);
  });

  test.each(['a\0b', '\ud800', '__proto__'])('can not be started under the id %j, and nothing failed', async (id) => {
    const clientId = newClient();
    const token = await clientToken(clientId);
    const { json } = await sessionRequest(instance, 'POST', '/api/v2/session', token, { client_id: clientId });
    const socket = await new RtmClient(socketUrl(json.ws_endpoint, token)).opened();
    const message = { type: 'session_start', client_id: clientId, data: { sdp: OFFER } };
    socket.say({ ...message, session_id: id });
    await expect.poll(() => socket.frames[0]?.data['code']).toMatch(/^(INVALID|NOT_FOUND)$/);
    socket.say({ ...message, session_id: json.session_id });
    await expect.poll(() => socket.types).toEqual(['error', 'sdp_update']);
  });

  test('can not be recorded to a URL that no database stores', async () => {
    const { socket, sessionId, clientId } = await startClient();
    const data = { upload_url: 'https://bucket.example/\ud800' };
    socket.say({ type: 'recording_start', client_id: clientId, session_id: sessionId, data });
    await expect.poll(() => socket.frames.at(-1)?.data['code']).toMatch(/^UPLOAD_URL_/);
  });

  test.each([
    ['its socket is lost', 'CONN_TIMEOUT', async ({ socket }: Started) => socket.drop()],
    [
      'its media are no longer heard',
      'CONN_TIMEOUT',
      async ({ sessionId }: Started) => media.end(`recordings/${sessionId}`, true, EndReason.ICE_LOST),
    ],
    [
      'its media node is lost',
      'CONN_ERROR',
      async ({ sessionId }: Started) => media.end(`recordings/${sessionId}`, true, EndReason.NODE_LOST),
    ],
  ])('ends when %s, with %s', async (_when, cause, happens) => {
    const started = await startClient();
    await happens(started);
    await expect.poll(() => hooked).toMatchObject([{ session_id: started.sessionId, termination_cause: cause }]);
    await expect.poll(() => media.streams).not.toContain(`recordings/${started.sessionId}`);
  });

  test('ends when its token is revoked', async () => {
    const clientId = newClient();
    const token = await clientToken(clientId, {}, 'revoked-1');
    const { socket } = await startClient(clientId, token);
    await surroundings.auth.revoke('revoked-1', instance.context.redis);
    await expect.poll(() => socket.closed?.reason).toBe('TOKEN_EXPIRED');
    expect((await sessionRequest(instance, 'POST', '/api/v2/session', token, { client_id: clientId })).status).toBe(
      401,
    );
  });

  test('is the only one of its client while the client is heard, and gives way when it is not', async () => {
    const first = await startClient();
    const body = { client_id: first.clientId };
    const refused = await sessionRequest(instance, 'POST', '/api/v2/session', first.token, body);
    expect([refused.status, refused.json.error.code]).toEqual([409, 'ALREADY_EXISTS']);
    const deaf = await startClient(newClient(), undefined, false);
    const next = await startClient(deaf.clientId, deaf.token);
    expect(next.sessionId).not.toBe(deaf.sessionId);
    await expect
      .poll(() => hooked)
      .toContainEqual(expect.objectContaining({ session_id: deaf.sessionId, termination_cause: 'SESSION_REPLACED' }));
  });

  test('refuses a webhook that the platform may not call, and names it', async () => {
    const clientId = newClient();
    const token = await clientToken(clientId);
    const { json } = await sessionRequest(instance, 'POST', '/api/v2/session', token, { client_id: clientId });
    const socket = await new RtmClient(socketUrl(json.ws_endpoint, token)).opened();
    const data = { sdp: OFFER, webhook_url: 'http://10.0.0.1/' };
    socket.say({ type: 'session_start', client_id: clientId, session_id: json.session_id, data });
    await expect.poll(() => socket.frames[0]?.data['code']).toBe('WEBHOOK_URL_REFUSED');
  });
});

describe('the first generation', () => {
  test('gets a recording_id and an endpoint without a query, and starts with one message', async () => {
    const clientId = newClient();
    const token = await clientToken(clientId);
    const { status, json } = await sessionRequest(instance, 'POST', '/api/session', token, { client_id: clientId });
    expect([status, Object.keys(json).sort()]).toEqual([201, ['ice_credentials', 'recording_id', 'ws_endpoint']]);
    expect(json.ws_endpoint).toMatch(/^ws:\/\/[^?]+$/);
    const socket = await new RtmClient(socketUrl(json.ws_endpoint, token)).opened();
    const message = { client_id: clientId, rec_id: json.recording_id };
    socket.say({ type: 'candidate', ...message, data: { candidate: { candidate: 'candidate:1', sdpMid: '0' } } });
    const data = { sdp: OFFER, upload_url: 'https://bucket.example/file' };
    socket.say({ type: 'recording_start', ...message, data });
    await expect.poll(() => socket.frames[0]).toMatchObject({ type: 'sdp_update', rec_id: json.recording_id });
  });
});

describe('supervisors', () => {
  const supervisorToken = (monitor: string, more: object = {}) =>
    tokenOf({ sub: 'guard', kind: 'supervisor', monitor, ...more });
  const ask = async (monitor: string, more: object = {}) =>
    sessionRequest(instance, 'POST', '/api/v2/supervisor_session', await supervisorToken(monitor), {
      ...{ client_id: 'guard', client_id_to_monitor: monitor },
      ...more,
    });

  test('watch a live client, at most three, and end with it', async () => {
    const client = await startClient();
    const made = await Promise.all([1, 2, 3, 4].map(() => ask(client.clientId)));
    expect(made.map(({ status }) => status).sort()).toEqual([201, 201, 201, 409]);
    const { json } = made.find(({ status }) => status === 201) ?? expect.unreachable();
    expect(json).toMatchObject({ session_id_to_monitor: client.sessionId });
    expect(json.ws_endpoint).toMatch(new RegExp(`/api/v2/supervisor_io/${client.sessionId}$`));
    const token = await supervisorToken(client.clientId);
    const socket = await new RtmClient(socketUrl(json.ws_endpoint, token)).opened();
    const data = { sdp: OFFER, session_id_to_monitor: client.sessionId, webhook_url: hookUrl() };
    socket.say({ type: 'supervisor_join_session', client_id: 'guard', session_id: json.session_id, data });
    await expect.poll(() => socket.types).toEqual(['sdp_update']);
    media.end(`recordings/${client.sessionId}`, false, EndReason.STREAM_ENDED);
    await expect
      .poll(() => hooked)
      .toMatchObject([
        { status: 'supervisor_session_finished', session_id: json.session_id, termination_cause: 'CLIENT_STOP' },
      ]);
  });

  test('get all videos of the client, and a new offer when they change', async () => {
    const client = await startClient();
    const { json } = await ask(client.clientId);
    const socket = await new RtmClient(socketUrl(json.ws_endpoint, await supervisorToken(client.clientId))).opened();
    const say = (type: string, data: object) =>
      socket.say({ type, client_id: 'guard', session_id: json.session_id, data });
    say('supervisor_join_session', { sdp: OFFER, session_id_to_monitor: client.sessionId });
    await expect.poll(() => socket.types).toEqual(['sdp_update']);
    const streamName = `recordings/${client.sessionId}`;
    expect(media.played.at(-1)).toMatchObject({
      ...{ streamName, furtherStreamNames: [`${streamName}/2`, `${streamName}/3`] },
    });
    media.offer(streamName, 'v=0 more');
    await expect.poll(() => socket.frames.at(-1)?.data).toEqual({ sdp: { type: 'offer', sdp: 'v=0 more' } });
    say('sdp_update', { sdp: { type: 'answer', sdp: 'v=0 fine' } });
    await expect.poll(() => media.answers).toEqual(['v=0 fine']);
  });

  test('reach no client that is not live, that their token does not name, or that is another tenant’s', async () => {
    const client = await startClient();
    expect((await ask('nobody')).status).toBe(404);
    const other = { client_id: 'guard', client_id_to_monitor: client.clientId };
    const statusWith = async (token: string) =>
      (await sessionRequest(instance, 'POST', '/api/v2/supervisor_session', token, other)).status;
    expect(await statusWith(await supervisorToken('somebody'))).toBe(403);
    expect(await statusWith(await supervisorToken(client.clientId, { tenant: 'umbrella' }))).toBe(404);
    expect(await statusWith(await supervisorToken(client.clientId, { api_id: 'gates' }))).toBe(404);
    expect(await statusWith(client.token)).toBe(403);
  });
});

describe('nobody reaches what belongs to somebody else', () => {
  test("a session isn't started with another client's token", async () => {
    const [mine, theirs] = [newClient(), newClient()];
    const { json } = await sessionRequest(instance, 'POST', '/api/v2/session', await clientToken(mine), {
      client_id: mine,
    });
    const start = { type: 'session_start', session_id: json.session_id, data: { sdp: OFFER } };
    const strangers = [await clientToken(theirs), await clientToken(mine, { tenant: 'umbrella' })];
    for (const token of strangers) {
      const socket = await new RtmClient(socketUrl(json.ws_endpoint, token)).opened();
      for (const client_id of [mine, theirs]) socket.say({ ...start, client_id });
      // One isn't the token's client_id, and the other has no such session.
      await expect.poll(() => socket.frames.map(({ data }) => data['code']).sort()).toEqual(['FORBIDDEN', 'NOT_FOUND']);
    }
  });

  test.each([
    ['no token', undefined, 401],
    ['nonsense', 'nonsense', 401],
  ])('a session needs a token: %s', async (_what, token, status) => {
    const answer = await sessionRequest(instance, 'POST', '/api/v2/session', token, { client_id: 'c' });
    expect([answer.status, Object.keys(answer.json.error)]).toEqual([
      status,
      expect.arrayContaining(['code', 'message']),
    ]);
  });

  test('the client_id must be the one of the token', async () => {
    const answer = await sessionRequest(instance, 'POST', '/api/v2/session', await clientToken('a'), {
      client_id: 'b',
    });
    expect([answer.status, answer.json.error.code]).toEqual([403, 'FORBIDDEN']);
  });

  test.each([
    ['without a token', '', 401],
    ['with a token for something else', 'stats', 403],
  ])('a socket is refused %s', async (_what, kind, status) => {
    const token = kind === '' ? '' : await tokenOf({ sub: 'x', kind });
    const refused = await RtmClient.refusal(`${instance.url.replace('http', 'ws')}/api/v2/io?auth_token=${token}`);
    expect(refused).toBe(status);
  });
});

describe('the stats', () => {
  const ask = async (query: string, more: object = {}, apiId = 'paged') =>
    sessionRequest(
      instance,
      'GET',
      `/api/v2/stats/${apiId}/${query}`,
      await tokenOf({ sub: 's', kind: 'stats', api_id: 'paged', ...more }),
    );

  test('list the sessions of an api_id, page by page', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const clientId = newClient();
      const token = await clientToken(clientId, { api_id: 'paged' });
      ids.push(
        (await sessionRequest(instance, 'POST', '/api/v2/session', token, { client_id: clientId })).json.session_id,
      );
    }
    const listed: string[] = [];
    let next: string | null = '';
    while (next !== null) {
      const { json } = await ask(`sessions?limit=2${next === '' ? '' : `&next_token=${next}`}`);
      expect(json.api_id).toBe('paged');
      listed.push(...json.sessions.map(({ session_id }: { session_id: string }) => session_id));
      next = json.next_token;
    }
    expect(listed).toEqual(ids);
    const now = new Date();
    const month = `year=${now.getUTCFullYear()}&month=${now.getUTCMonth() + 1}`;
    expect((await ask(`sessions?${month}`)).json.sessions).toHaveLength(5);
    expect((await ask('sessions?year=2001')).json).toMatchObject({ sessions: [], next_token: null });
    expect((await ask('recordings')).json).toEqual({ api_id: 'paged', recordings: [], next_token: null });
  });

  test('of another api_id or tenant are out of reach', async () => {
    expect((await ask('sessions', { api_id: 'doors' })).status).toBe(403);
    expect((await ask('sessions', { tenant: 'umbrella' })).json.sessions).toEqual([]);
    expect((await ask('sessions', { kind: 'client' })).status).toBe(403);
    expect((await ask('sessions?next_token=x')).status).toBe(400);
  });
});

test('a stopping instance ends its sessions and tells their webhooks', async () => {
  const other = await Recorder.start(surroundings.env);
  const first = instance;
  instance = other;
  try {
    const { socket, sessionId } = await startClient();
    await other.stop();
    expect(socket.frames.at(-1)).toMatchObject({ data: { termination_cause: 'SERVER_SHUTDOWN' } });
    await expect.poll(() => hooked).toMatchObject([{ session_id: sessionId, termination_cause: 'SERVER_SHUTDOWN' }]);
  } finally {
    instance = first;
  }
});

describe('the start of a session', () => {
  test('is refused as long as the database is away, and starts when it is back', async () => {
    const clientId = newClient();
    const token = await clientToken(clientId);
    const { json } = await sessionRequest(instance, 'POST', '/api/v2/session', token, { client_id: clientId });
    const socket = await new RtmClient(socketUrl(json.ws_endpoint, token)).opened();
    const start = { type: 'session_start', client_id: clientId, session_id: json.session_id, data: { sdp: OFFER } };
    await surroundings.postgres.kill();
    socket.say(start);
    await expect.poll(() => socket.frames[0]?.data['code'], { timeout: 15_000 }).toBe('UNAVAILABLE');
    await surroundings.postgres.restart();
    socket.say(start);
    await expect.poll(() => socket.types, { timeout: 15_000 }).toEqual(['error', 'sdp_update']);
  }, 60_000);
});
