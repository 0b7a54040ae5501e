import { createHmac } from 'node:crypto';
import { ApplicationPolicy } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { restClientConfigOf } from './rest-client-config.js';
import { Backend } from './testing/backend.js';
import { Client, publication } from './testing/client.js';
import { FakeRecorder } from './testing/fake-recorder.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
let backend: Backend;
const clients: Client[] = [];

const application = (url: string, hookSecret = 'secret') =>
  around.applications.set({
    appKey: 'hooked',
    tenant: 'demo',
    policy: ApplicationPolicy.HOOK,
    hookUrl: url,
    hookSecret,
  });

beforeAll(async () => {
  around = await startSurroundings();
  backend = await Backend.start();
  service = await startService(around, { WEIR_OUTBOUND_ALLOW: '127.0.0.0/8', WEIR_WCS_HOOK_TIMEOUT_MS: '1500' });
  application(backend.url);
});
afterEach(() => {
  for (const client of clients.splice(0)) client.end();
  backend.reset();
  around.media.published.clear();
  around.media.played.clear();
});
afterAll(async () => {
  await service.stop();
  await backend.stop();
  await around.stop();
});

const open = async (connection: Record<string, unknown> = {}, headers = {}): Promise<Client> => {
  const client = await Client.open(service.wsUrl, headers);
  clients.push(client);
  client.says('connection', { appKey: 'hooked', clientVersion: '2.0', ...connection });
  return client;
};
const connected = async (rules: Record<string, unknown> = {}): Promise<Client> => {
  backend.answer = ({ method }) => ({ status: 200, body: method === 'connect' ? { restClientConfig: rules } : {} });
  const client = await open({ custom: { token: 'xyz' } });
  await client.hears('getVersion');
  return client;
};

describe('connect', () => {
  it('asks the backend with everything it needs, signed both ways', async () => {
    const client = await open({ custom: { token: 'xyz' }, sipPassword: 'hidden' }, { origin: 'https://shop.example' });
    const { authToken } = await client.hears('getUserData');
    const asked = backend.of('connect')[0];
    expect(asked?.body).toEqual({
      appKey: 'hooked',
      nodeId: 'wcs-signalling-1',
      sessionId: authToken,
      origin: 'https://shop.example',
      custom: { token: 'xyz' },
      clientVersion: '2.0',
      clientOSVersion: '',
      clientBrowserVersion: '',
      mediaProviders: [],
      keepAlive: false,
    });
    const sign = (algorithm: string) =>
      createHmac(algorithm, 'secret')
        .update(asked?.text ?? '')
        .digest('hex');
    expect(asked?.headers['authorization']).toBe(`WCS ${sign('md5')}`);
    expect(asked?.headers['x-weir-signature']).toBe(`sha256=${sign('sha256')}`);
  });

  it('refused by the backend closes the socket after a fail', async () => {
    backend.answer = () => ({ status: 403 });
    const client = await open();
    expect(await client.hears('fail')).toMatchObject({ apiMethod: 'connect', info: 'Restricted access' });
    expect(await client.closes()).toBe(4403);
    expect(backend.of('connect')).toHaveLength(1);
  });

  it('is repeated when the backend hangs up, and succeeds when it recovers', async () => {
    let calls = 0;
    backend.answer = ({ method }) => (method === 'connect' && ++calls < 3 ? 'hang up' : { status: 200, body: {} });
    const client = await open();
    await client.hears('getUserData');
    expect(backend.of('connect')).toHaveLength(3);
  });

  it.each([
    ['says nothing', 'say nothing' as const],
    ['is broken', { status: 500 }],
    ['redirects', { status: 302 }],
  ])('lets nobody in when the backend %s', async (_what, answer) => {
    backend.answer = () => answer;
    const client = await open();
    expect(await client.closes()).toBe(4503);
  });

  it('never goes to an address that the operator has not allowed', async () => {
    const strict = await startService(around, {}, 'wcs-signalling-strict');
    const client = await Client.open(strict.wsUrl);
    clients.push(client);
    client.says('connection', { appKey: 'hooked' });
    expect(await client.closes()).toBe(4503);
    expect(backend.asked).toEqual([]);
    await strict.stop();
  });

  it('sends no signature without a secret', async () => {
    application(backend.url, '');
    await waitFor(async () => {
      backend.reset();
      await (await open()).hears('getUserData');
      return backend.of('connect')[0]?.headers['authorization'] === undefined;
    });
    application(backend.url);
  });
});

describe('a stream', () => {
  it('refused by the backend fails only where its rule says so', async () => {
    const strict = await connected({ publishStream: { restOnError: 'FAIL' } });
    backend.answer = () => ({ status: 403 });
    strict.says('publishStream', publication('p', 'one'));
    expect(await strict.hears('fail')).toEqual({
      apiMethod: 'StreamStatusEvent',
      id: 'p',
      status: 'FAILED',
      info: 'Restricted access',
    });
    const lax = await connected();
    backend.answer = () => ({ status: 403 });
    await lax.publishes('p', 'two');
  });

  it('is reported with its own custom, its status and its end', async () => {
    const client = await connected();
    client.says('publishStream', { ...publication('p', 'told'), custom: { seat: 7 } });
    await client.status('p', 'PUBLISHING');
    client.says('unPublishStream', { mediaSessionId: 'p' });
    await client.status('p', 'UNPUBLISHED');
    const told = () => backend.of('StreamStatusEvent').filter(({ body }) => body.name === 'told');
    await waitFor(() => told().length === 2);
    expect(backend.of('publishStream')[0]?.body).toMatchObject({
      mediaSessionId: 'p',
      name: 'told',
      sdp: 'v=0 offer',
      custom: { seat: 7 },
      appKey: 'hooked',
    });
    expect(backend.of('unPublishStream')[0]?.body).toMatchObject({ mediaSessionId: 'p', custom: { token: 'xyz' } });
    expect(told().map(({ body }) => body.status)).toEqual(['PUBLISHING', 'UNPUBLISHED']);
    expect(backend.of('ConnectionStatusEvent').map(({ body }) => body.status)).toContain('ESTABLISHED');
    client.end();
    await waitFor(() => backend.of('ConnectionStatusEvent').some(({ body }) => body.status === 'DISCONNECTED'));
  });

  it('has its recording reported, without what a rule excludes', async () => {
    const recorder = await FakeRecorder.start(around.nats.url);
    try {
      const client = await connected({ RecordingStatusEvent: { restExclude: 'recordTimestamp' } });
      client.says('publishStream', { ...publication('p', 'recorded'), record: true });
      await client.status('p', 'PUBLISHING');
      client.says('unPublishStream', { mediaSessionId: 'p' });
      const told = () => backend.of('RecordingStatusEvent').map(({ body }) => body);
      await waitFor(() => told().length === 2, { what: 'both events' });
      const recordName = 'recording-1.mp4';
      expect(told()).toMatchObject([
        { mediaSessionId: 'p', name: 'recorded', status: 'STARTED', recordName, appKey: 'hooked' },
        { mediaSessionId: 'p', name: 'recorded', status: 'STOPPED', recordName },
      ]);
      expect(told()[0]).not.toHaveProperty('recordTimestamp');
    } finally {
      await recorder.stop();
    }
  });

  it('gets another name where the rule lets the backend choose it', async () => {
    const client = await connected({
      publishStream: { restPolicy: 'OVERWRITE', restOverwrite: 'name' },
      playStream: { restPolicy: 'NOTIFY', restOverwrite: 'name' },
    });
    backend.answer = () => ({ status: 200, body: { name: 'inside' } });
    await client.publishes('p', 'outside');
    expect(around.media.sessionOf('inside')).toBeDefined();
    client.says('playStream', publication('v', 'outside'));
    expect(await client.status('v', 'FAILED')).toMatchObject({ info: 'Stream not found' });
  });

  it('is not asked about where the rule disables it, and loses what the rules exclude', async () => {
    const client = await connected({
      publishStream: { restExclude: 'sdp, bitrate' },
      playStream: { restPolicy: 'DISABLE', restOnError: 'FAIL' },
      StreamStatusEvent: { clientExclude: 'streamInfo,videoCodec,status' },
    });
    await client.publishes('p', 'quiet');
    await client.plays('v', 'quiet');
    expect(backend.of('publishStream')[0]?.body).not.toHaveProperty('sdp');
    expect(backend.of('publishStream')[0]?.body).not.toHaveProperty('bitrate');
    expect(backend.of('playStream')).toEqual([]);
    const status = await client.status('p', 'PUBLISHING');
    expect(status).not.toHaveProperty('streamInfo');
    expect(status).not.toHaveProperty('videoCodec');
    expect(status).toHaveProperty('audioCodec');
  });

  it('can be denied availability, a snapshot and data', async () => {
    const rule = { restOnError: 'FAIL' };
    const client = await connected({ availableStream: rule, snapshot: rule, sendData: rule });
    backend.answer = () => ({ status: 403 });
    client.says('availableStream', { mediaSessionId: 'a', name: 'x' });
    client.says('snapshot', { mediaSessionId: 's', name: 'x' });
    client.says('sendData', { operationId: 'o', payload: 1 });
    expect(await client.hears('availableStream')).toMatchObject({ status: 'false', info: 'Restricted access' });
    expect(await client.hears('notifyStreamEvent')).toMatchObject({ payload: { info: 'Restricted access' } });
    expect(await client.hears('DataStatusEvent')).toMatchObject({ status: 'FAILED', info: 'Restricted access' });
  });
});

describe('restClientConfigOf', () => {
  it.each([undefined, null, 5, 'text', [], { restClientConfig: 'x' }, { restClientConfig: { publishStream: 4 } }])(
    'takes %j for no rules',
    (body) => {
      expect(restClientConfigOf(body)).toEqual({});
    },
  );

  it('reads unknown words as the defaults', () => {
    expect(
      restClientConfigOf({ restClientConfig: { playStream: { restOnError: 'EXPLODE', restExclude: 5 }, other: {} } }),
    ).toEqual({
      playStream: {
        restOnError: 'LOG',
        restPolicy: 'NOTIFY',
        restExclude: [],
        clientExclude: [],
        restOverwrite: [],
      },
    });
  });
});
