import { randomUUID } from 'node:crypto';
import { RequestMethod, type Type } from '@nestjs/common';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeliveryLogController } from './delivery-log-rest.js';
import { RecordingsController } from './rest.js';
import { SessionController } from './session-http.js';
import { sessionWebhookIdOf } from './session-store.js';
import { KEYS, Recorder, startSurroundings, type Surroundings } from './testing/recorder.js';
import { recordingToken } from './testing/session-client.js';
import { SessionMedia } from './testing/session-media.js';
import { uploadIdOf } from './uploads.js';

let around: Surroundings;
let media: SessionMedia;
let recorder: Recorder;
let recordingId: string;
let sessionId: string;

beforeAll(async () => {
  around = await startSurroundings();
  media = await SessionMedia.start(around.nats.url);
  recorder = await Recorder.start(around.env);
  const { store, sessions } = recorder.recording;
  recordingId = randomUUID();
  await store.add(
    {
      ...{ id: recordingId, tenant: 'house', streamName: 'bedroom', urlKey: 'secret', container: 'webm' },
      labels: { apiId: 'doors', clientId: 'door' },
    },
    { owner: 'nobody', epoch: 1n },
  );
  const finished = { state: 'FINISHED', finishedAt: new Date(), stoppedAt: new Date(), sizeBytes: 10n } as const;
  const stored = await store.database.recording.update({ where: { id: recordingId }, data: finished });
  await recorder.recording.deliveries.again(stored, { kind: 'put', url: 'https://storage.example/x' });
  const session = { tenant: 'house', apiId: 'doors', clientId: 'door', kind: 'CLIENT' } as const;
  sessionId = randomUUID();
  await store.database.session.create({ data: { id: sessionId, ...session } });
  await sessions.store.started(sessionId, 'http://10.0.0.1/hook');
  await sessions.store.end(sessionId, 'CLIENT_STOP');
}, 60_000);

afterAll(async () => {
  await recorder.stop();
  await media.stop();
  await around.stop();
});

const tokenOf = (claims: Readonly<Record<string, unknown>>) =>
  recordingToken(around.auth, { tenant: 'house', api_id: 'doors', ...claims });
/** Everybody but the operator of the tenant `house`, with the answer to their calls for what belongs to `house`. */
const strangers = {
  'without a credential': [401, async () => null],
  'with an unknown key': [401, async () => `weir_${'u'.repeat(12)}_${'u'.repeat(43)}`],
  'with a key for other streams': [404, async () => KEYS.lobby],
  'with a key without the grant record': [404, async () => KEYS.viewer],
  'with a key of another tenant': [404, async () => KEYS.neighbour],
  'as the session’s own client': [401, () => tokenOf({ sub: 'door', kind: 'client' })],
  'as another client': [401, () => tokenOf({ sub: 'gate', kind: 'client' })],
  'as its supervisor': [401, () => tokenOf({ sub: 'guard', kind: 'supervisor', monitor: 'door' })],
  'with a token for stats': [401, () => tokenOf({ sub: 's', kind: 'stats' })],
} as const satisfies Record<string, readonly [status: number, credential: () => Promise<string | null>]>;

type Ids = { readonly recording: string; readonly session: string };
/** The calls for one recording or session, and their paths. */
const objectCalls: Readonly<Record<string, (ids: Ids) => string>> = {
  'GET recordings/:id': ({ recording }) => `/recordings/${recording}`,
  'POST recordings/:id/stop': ({ recording }) => `/recordings/${recording}/stop`,
  'POST recordings/:id/playback': ({ recording }) => `/recordings/${recording}/playback`,
  'GET recordings/:id/delivery': ({ recording }) => `/recordings/${recording}/delivery`,
  'POST recordings/:id/delivery': ({ recording }) => `/recordings/${recording}/delivery`,
  'DELETE recordings/:id': ({ recording }) => `/recordings/${recording}`,
  'GET recordings/:id/deliveries': ({ recording }) => `/recordings/${recording}/deliveries`,
  'POST recordings/:id/deliveries/:delivery/replay': ({ recording }) =>
    `/recordings/${recording}/deliveries/${uploadIdOf(recording)}/replay`,
  'GET recordings/sessions/:session/deliveries': ({ session }) => `/recordings/sessions/${session}/deliveries`,
  'POST recordings/sessions/:session/deliveries/:delivery/replay': ({ session }) =>
    `/recordings/sessions/${session}/deliveries/${sessionWebhookIdOf(session)}/replay`,
};
/** The other calls, each with a test of its own below. */
const otherCalls = [
  ...['POST recordings', 'GET recordings', 'GET recordings/:id/file'],
  ...['POST api/v2/session', 'POST api/session', 'POST api/v2/supervisor_session'],
  ...['GET api/v2/stats/:apiId/sessions', 'GET api/v2/stats/:apiId/recordings'],
];

const callsOf = (controller: Type): string[] =>
  Object.getOwnPropertyNames(controller.prototype).flatMap((name) => {
    const handler: unknown = (controller.prototype as Record<string, unknown>)[name];
    if (typeof handler !== 'function' || !Reflect.hasMetadata('method', handler)) return [];
    const method = RequestMethod[Reflect.getMetadata('method', handler) as RequestMethod];
    const path = [Reflect.getMetadata('path', controller), Reflect.getMetadata('path', handler)] as string[];
    return `${method} ${path.filter((part) => part !== '/').join('/')}`;
  });

const ask = (call: string, path: string, as: string | null) => {
  const [method] = call.split(' ') as ['GET' | 'POST' | 'DELETE'];
  return recorder.request(method, path, { as, ...(method === 'POST' && { body: {} }) });
};

it('every call of the service is among those that are tried here', () => {
  const all = [RecordingsController, DeliveryLogController, SessionController].flatMap(callsOf);
  expect(all.sort()).toEqual([...Object.keys(objectCalls), ...otherCalls].sort());
});

describe.each(Object.entries(objectCalls))('%s', (call, pathOf) => {
  it.each(Object.entries(strangers))('%s is refused with the answer for what doesn’t exist', async (_who, stranger) => {
    const [status, credential] = stranger;
    const as = await credential();
    const answer = await ask(call, pathOf({ recording: recordingId, session: sessionId }), as);
    const ofNothing = await ask(call, pathOf({ recording: randomUUID(), session: randomUUID() }), as);
    expect(answer.status).toBe(status);
    expect([answer.status, answer.body]).toEqual([ofNothing.status, ofNothing.body]);
  });
});

it('none of these has changed anything, and the operator sees what is its own', async () => {
  expect((await recorder.request('GET', `/recordings/${recordingId}`)).body).toMatchObject({ deleted: null });
  const log = (path: string) => recorder.request('GET', `/recordings/${path}/deliveries`);
  expect((await log(recordingId)).body.deliveries).toMatchObject([{ id: uploadIdOf(recordingId), kind: 'upload' }]);
  await waitFor(async () => (await log(`sessions/${sessionId}`)).body.deliveries[0]?.attempts.length > 0);
  const [webhook, ...more] = (await log(`sessions/${sessionId}`)).body.deliveries;
  expect([webhook, more]).toMatchObject([
    { id: sessionWebhookIdOf(sessionId), kind: 'webhook', destination: '10.0.0.1', endedAt: null },
    [],
  ]);
  expect(webhook.attempts[0].error).toContain('address');
  const replay = (delivery: string) =>
    recorder.request('POST', `/recordings/sessions/${sessionId}/deliveries/${delivery}/replay`, { body: {} });
  await waitFor(async () => (await replay(webhook.id)).body.outcome === 'hastened', { what: 'another attempt' });
  await waitFor(async () => (await log(`sessions/${sessionId}`)).body.deliveries[0].attempts.length > 1);
  expect((await replay(uploadIdOf(recordingId))).status).toBe(404);
});

describe('a list', () => {
  it.each(Object.entries(strangers))('%s holds nothing of it', async (_who, [status, credential]) => {
    const as = await credential();
    const { status: got, body } = await recorder.request('GET', '/recordings', { as });
    const isHolder = as === KEYS.lobby || as === KEYS.neighbour;
    expect(got).toBe(isHolder ? 200 : status === 404 ? 403 : status);
    expect(JSON.stringify(body)).not.toContain(recordingId);
    const ofStream = await recorder.request('GET', '/recordings?stream=bedroom', { as });
    expect(JSON.stringify(ofStream.body)).not.toContain(recordingId);
  });

  it.each([
    ['sessions', () => sessionId],
    ['recordings', () => recordingId],
  ])('of the stats, of %s, is for the token of its api_id and tenant', async (of, id) => {
    const stats = async (claims: object) => {
      const as = await tokenOf({ sub: 's', kind: 'stats', ...claims });
      const { status, body } = await recorder.request('GET', `/api/v2/stats/doors/${of}`, { as });
      return [status, JSON.stringify(body).includes(id())];
    };
    expect(await stats({})).toEqual([200, true]);
    expect(await stats({ tenant: 'neighbours' })).toEqual([200, false]);
    expect(await stats({ api_id: 'gates' })).toEqual([403, false]);
    expect(await stats({ kind: 'client' })).toEqual([403, false]);
    expect(await stats({ kind: 'supervisor', monitor: 'door' })).toEqual([403, false]);
    for (const as of [null, KEYS.operator])
      expect((await recorder.request('GET', `/api/v2/stats/doors/${of}`, { as })).status).toBe(401);
  });
});

it('a recording is started only with the grant record on its stream', async () => {
  const start = async (as: string | null) =>
    (await recorder.request('POST', '/recordings', { as, body: { stream: 'bedroom' } })).status;
  await waitFor(async () => (await start(KEYS.neighbour)) === 404, { what: 'the media node to be known' });
  const statuses = await Promise.all(Object.values(strangers).map(async ([, credential]) => start(await credential())));
  expect(statuses).toEqual([401, 401, 403, 403, 404, 401, 401, 401, 401]);
});

it('a file is opened only with the signature of its URL, whatever else is sent', async () => {
  const expires = String(Math.floor(Date.now() / 1_000) + 60);
  for (const as of [null, KEYS.operator, KEYS.neighbour]) {
    const file = (id: string, query: string) => recorder.request('GET', `/recordings/${id}/file${query}`, { as });
    expect((await file(recordingId, '')).status).toBe(400);
    const wrong = `?expires=${expires}&signature=${'x'.repeat(43)}`;
    const [ofRecording, ofNothing] = [await file(recordingId, wrong), await file(randomUUID(), wrong)];
    expect(ofRecording.status).toBe(401);
    expect(ofRecording.body).toEqual(ofNothing.body);
  }
});

describe('a session', () => {
  const bodies = {
    'v2/session': { client_id: 'door' },
    session: { client_id: 'door' },
    'v2/supervisor_session': { client_id: 'guard', client_id_to_monitor: 'door' },
  };

  it.each([
    ['v2/session', { sub: 'gate', kind: 'client' }, 403],
    ['v2/session', { sub: 'door', kind: 'supervisor', monitor: 'door' }, 403],
    ['v2/session', { sub: 'door', kind: 'stats' }, 403],
    ['session', { sub: 'gate', kind: 'client' }, 403],
    ['session', { sub: 'door', kind: 'supervisor', monitor: 'door' }, 403],
    ['session', { sub: 'door', kind: 'stats' }, 403],
    ['v2/supervisor_session', { sub: 'guard', kind: 'client' }, 403],
    ['v2/supervisor_session', { sub: 'guard', kind: 'stats' }, 403],
    ['v2/supervisor_session', { sub: 'guard', kind: 'supervisor', monitor: 'gate' }, 403],
    ['v2/supervisor_session', { sub: 'other', kind: 'supervisor', monitor: 'door' }, 403],
    ['v2/supervisor_session', { sub: 'guard', kind: 'supervisor', monitor: 'door', tenant: 'neighbours' }, 404],
    ['v2/supervisor_session', { sub: 'guard', kind: 'supervisor', monitor: 'door', api_id: 'gates' }, 404],
  ] as const)('is not made at %s with the token %o', async (path, claims, status) => {
    const as = await tokenOf(claims);
    const answer = await recorder.request('POST', `/api/${path}`, { as, body: bodies[path] });
    expect(answer.status).toBe(status);
    expect(JSON.stringify(answer.body)).not.toContain(sessionId);
  });

  it.each(Object.keys(bodies) as (keyof typeof bodies)[])('is not made at %s without a token', async (path) => {
    for (const as of [null, KEYS.operator, 'nonsense'])
      expect((await recorder.request('POST', `/api/${path}`, { as, body: bodies[path] })).status).toBe(401);
  });
});
