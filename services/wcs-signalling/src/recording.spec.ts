import { ApplicationPolicy } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Client, publication } from './testing/client.js';
import { FakeRecorder } from './testing/fake-recorder.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let recorder: FakeRecorder;
let service: Running;
const clients: Client[] = [];
const lines: { readonly msg?: string; readonly streamName?: string }[] = [];

beforeAll(async () => {
  around = await startSurroundings();
  recorder = await FakeRecorder.start(around.nats.url);
  around.applications.set({ appKey: 'guarded', tenant: 'demo', policy: ApplicationPolicy.TOKEN });
  const write = (line: string) => void lines.push(JSON.parse(line) as object);
  service = await startService(around, {}, 'wcs-signalling-1', pino({ level: 'warn' }, { write }));
});
afterEach(() => {
  for (const client of clients.splice(0)) client.end();
  recorder.hasRoom = true;
  recorder.started.length = 0;
  lines.length = 0;
});
afterAll(async () => {
  await service.stop();
  await recorder.stop();
  await around.stop();
});

const connect = async (connection = {}): Promise<Client> => {
  const client = await Client.connect(service.wsUrl, connection);
  clients.push(client);
  return client;
};

const rest = async (path: string, body: object, token: string) => {
  const url = `${service.httpUrl}/rest-api/${path.includes('/') ? path : `stream/${path}`}`;
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, text: await response.text() };
};

const isRecorded = async (mediaSessionId: string, token: string): Promise<boolean> => {
  const { text } = await rest('find', { mediaSessionId }, token);
  return (JSON.parse(text) as { record: boolean }[])[0]?.record === true;
};

describe('publishStream with record: true', () => {
  it('records the stream, and PUBLISHING and UNPUBLISHED name the file', async () => {
    const client = await connect();
    client.says('publishStream', { ...publication('p', 'filmed'), record: true });
    expect(await client.status('p', 'PUBLISHING')).toMatchObject({
      ...{ record: true, recordName: 'recording-1.mp4' },
      streamInfo: { recordStarted: true, recordTimestamp: 1_700_000_000_000 },
    });
    const [asked] = recorder.started;
    expect(asked).toMatchObject({
      ...{ tenant: 'demo', streamName: 'filmed', key: around.media.sessionOf('filmed') },
      labels: { protocol: 'wcs', appKey: 'defaultApp', mediaSessionId: 'p' },
    });
    client.says('unPublishStream', { mediaSessionId: 'p' });
    expect(await client.status('p', 'UNPUBLISHED')).toMatchObject({ record: true, recordName: 'recording-1.mp4' });
  });

  it('goes on without a recording when there is no room for one, says so, and logs one line', async () => {
    recorder.hasRoom = false;
    const client = await connect();
    client.says('publishStream', { ...publication('p', 'crowded'), record: true });
    const status = await client.status('p', 'PUBLISHING');
    expect(status).toMatchObject({ record: false, streamInfo: { recordStarted: false, recordTimestamp: null } });
    expect(status).not.toHaveProperty('recordName');
    expect(lines).toEqual([
      expect.objectContaining({ msg: 'a stream goes on without its recording', streamName: 'crowded' }),
    ]);
  });

  it('goes on without a recording when there is no recorder', async () => {
    await recorder.stop();
    const client = await connect();
    client.says('publishStream', { ...publication('p', 'alone'), record: true });
    expect(await client.status('p', 'PUBLISHING')).toMatchObject({ record: false });
    recorder = await FakeRecorder.start(around.nats.url);
  });

  it('needs the grant record under the policy token', async () => {
    const publish = { verb: 'publish', object: 'cam*' };
    const [without, with_] = await Promise.all([
      around.auth.mint([publish]),
      around.auth.mint([publish, { verb: 'record', object: 'cam1' }]),
    ]);
    const client = await connect({ appKey: 'guarded', custom: without.token });
    client.says('publishStream', { ...publication('p1', 'cam1'), record: true });
    expect(await client.status('p1', 'FAILED')).toMatchObject({ info: 'Restricted access' });
    await client.publishes('p2', 'cam2');
    client.says('publishStream', { ...publication('p3', 'cam1'), record: true, custom: with_.token });
    expect(await client.status('p3', 'PUBLISHING')).toMatchObject({ record: true });
    client.says('publishStream', { ...publication('p4', 'cam3'), record: true, custom: with_.token });
    expect(await client.status('p4', 'FAILED')).toMatchObject({ info: 'Restricted access' });
  });
});

describe('an operator', () => {
  const everything = [
    { verb: 'administer', object: '*' },
    { verb: 'record', object: '*' },
  ];

  it('starts and stops a recording of a publisher, and the stream shows it', async () => {
    const { token } = await around.auth.mint(everything);
    const client = await connect();
    await client.publishes('p', 'watched');
    const config = { fileTemplate: '{streamName}-{endTime}', rotation: '20M' };
    expect(await rest('startRecording', { mediaSessionId: 'p', config }, token)).toEqual({ status: 200, text: '' });
    expect(recorder.started).toEqual([
      expect.objectContaining({ streamName: 'watched', name: 'watched-{endTime}', splitBytes: 20n * 1024n * 1024n }),
    ]);
    await waitFor(() => isRecorded('p', token), { what: 'the stream to be recorded' });
    expect(await rest('startRecording', { mediaSessionId: 'p' }, token)).toMatchObject({ status: 200 });
    expect(recorder.started).toHaveLength(2);
    expect(await rest('stopRecording', { mediaSessionId: 'p' }, token)).toEqual({ status: 200, text: '' });
    await waitFor(async () => !(await isRecorded('p', token)), { what: 'the end of the recording' });
    expect((await rest('stopRecording', { mediaSessionId: 'p' }, token)).status).toBe(404);
    client.says('unPublishStream', { mediaSessionId: 'p' });
    expect(await client.status('p', 'UNPUBLISHED')).toMatchObject({ record: false, recordName: 'recording-2.mp4' });
  });

  it('does the same by the later names, and lists what is being recorded', async () => {
    const narrow = everything.slice(0, 1);
    const [all, blind, foreign] = await Promise.all([
      around.auth.mint(everything),
      around.auth.mint([...narrow, { verb: 'record', object: 'other' }]),
      around.auth.mint(everything, { tenant: 'other' }),
    ]);
    const find = (token: string) => rest('recorder/find_all', {}, token);
    const client = await connect();
    await client.publishes('p', 'listed');
    expect((await find(all.token)).status).toBe(404);
    expect(await rest('recorder/startup', { mediaSessionId: 'p' }, all.token)).toEqual({ status: 200, text: '' });
    const { status, text } = await find(all.token);
    expect([status, JSON.parse(text)]).toEqual([200, [{ fileName: 'recording-1.mp4', mediaSessionId: 'p' }]]);
    for (const { token } of [blind, foreign]) expect((await find(token)).status).toBe(404);
    expect((await rest('recorder/startup', { mediaSessionId: 'p' }, blind.token)).status).toBe(403);
    expect((await rest('recorder/terminate', { mediaSessionId: 'p' }, foreign.token)).status).toBe(404);
    expect(await rest('recorder/terminate', { mediaSessionId: 'p' }, all.token)).toEqual({ status: 200, text: '' });
    expect((await rest('recorder/terminate', { mediaSessionId: 'p' }, all.token)).status).toBe(404);
    expect((await find(all.token)).status).toBe(404);
  });

  it('is told when the stream does not exist, the body is wrong or a right is missing', async () => {
    const [all, blind] = await Promise.all([around.auth.mint(everything), around.auth.mint(everything.slice(0, 1))]);
    const client = await connect();
    await client.publishes('p', 'closed');
    expect((await rest('startRecording', { mediaSessionId: 'other' }, all.token)).status).toBe(404);
    expect((await rest('stopRecording', { mediaSessionId: 'other' }, all.token)).status).toBe(404);
    expect((await rest('startRecording', {}, all.token)).status).toBe(400);
    const config = { rotation: 'often' };
    expect((await rest('startRecording', { mediaSessionId: 'p', config }, all.token)).status).toBe(400);
    expect((await rest('startRecording', { mediaSessionId: 'p' }, blind.token)).status).toBe(403);
    recorder.hasRoom = false;
    const refused = await rest('startRecording', { mediaSessionId: 'p' }, all.token);
    expect(refused.text).toContain('too little free space');
    expect(refused.status).toBeGreaterThanOrEqual(400);
  });
});
