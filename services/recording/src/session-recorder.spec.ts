import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { EndReason } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { MediaNode } from './testing/media-node.js';
import { answer, PutReceiver } from './testing/put-receiver.js';
import { probed, Recorder, startSurroundings, type Surroundings } from './testing/recorder.js';
import { recordingToken, RtmClient, sessionRequest } from './testing/session-client.js';

interface Hooked {
  readonly id: string;
  readonly body: Readonly<Record<string, unknown>>;
}

let around: Surroundings;
let media: MediaNode;
let instance: Recorder;
let hooks: Server;
let hooked: Hooked[] = [];
let clientIds = new Set<string>();
let receiver: PutReceiver;

beforeAll(async () => {
  around = await startSurroundings();
  media = await MediaNode.start(around.nats.url);
  hooks = createServer((request, response) => {
    void text(request).then((body) => {
      hooked.push({ id: String(request.headers['webhook-id']), body: JSON.parse(body) as Hooked['body'] });
      response.end();
    });
  });
  await once(hooks.listen(0, '127.0.0.1'), 'listening');
}, 60_000);

afterAll(async () => {
  await media.stop();
  await around.stop();
  hooks.close();
});

beforeEach(async () => {
  hooked = [];
  clientIds = new Set();
  receiver = await PutReceiver.open();
  instance = await Recorder.start(around.env);
}, 30_000);

afterEach(async () => {
  await instance.stop();
  await receiver.close();
});

const hookUrl = () => `http://127.0.0.1:${(hooks.address() as AddressInfo).port}/hook`;
const OFFER = { type: 'offer', sdp: 'v=0 offer' };
const TENANT = { tenant: 'house', api_id: 'doors' };

/** A client with its socket. */
class Client {
  constructor(
    readonly id: string,
    readonly sessionId: string,
    readonly socket: RtmClient,
    private readonly ids: object,
  ) {}

  static async open(id: string, generation: 'first' | 'second', tokenId?: string): Promise<Client> {
    const token = await recordingToken(around.auth, { ...TENANT, sub: id, kind: 'client' }, tokenId);
    const path = generation === 'first' ? '/api/session' : '/api/v2/session';
    const { json } = await sessionRequest(instance, 'POST', path, token, { client_id: id });
    const endpoint = json.ws_endpoint.replace(/^ws:\/\/[^/]+/, instance.url.replace('http', 'ws'));
    const socket = await new RtmClient(`${endpoint}?auth_token=${token}`).opened();
    const sessionId: string = json.session_id ?? json.recording_id;
    const ids = generation === 'first' ? { rec_id: sessionId } : { session_id: sessionId };
    return new Client(id, sessionId, socket, ids);
  }

  say(type: string, data?: object): void {
    this.socket.say({ type, client_id: this.id, ...this.ids, data });
  }

  heard(type: string, count = 1) {
    return waitFor(() => this.socket.frames.filter((frame) => frame.type === type)[count - 1], {
      what: `${type} number ${count}`,
      timeoutMs: 20_000,
    });
  }

  /** Begins a recording, and resolves with its id when some of it is on the disk. */
  async record(path: string, count = 1): Promise<string> {
    this.say('recording_start', { upload_url: receiver.url(path), webhook_url: hookUrl() });
    const { data } = await this.heard('recording_state', 2 * count - 1);
    expect(data['state']).toBe('started');
    const id = String(data['rec_id']);
    await recorded(id);
    return id;
  }
}

const recorded = (id: string) =>
  waitFor(() => (instance.recording.recordings.progressOf(id)?.sizeBytes ?? 0) > 10_000, {
    what: `bytes of ${id}`,
    timeoutMs: 20_000,
  });

const started = async (id: string, tokenId?: string): Promise<Client> => {
  clientIds.add(id);
  const client = await Client.open(id, 'second', tokenId);
  client.say('session_start', { sdp: OFFER, webhook_url: hookUrl() });
  await client.heard('sdp_update');
  return client;
};

/** Without those of earlier clients: what an instance didn't deliver before its end, the next one does. */
const webhooks = (count: number) =>
  waitFor(
    () => {
      const own = hooked.filter(({ body }) => clientIds.has(String(body['client_id'])));
      return own.length >= count && own;
    },
    { what: `${count} webhooks`, timeoutMs: 30_000 },
  );

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe('a recorded session', () => {
  test('has several recordings one after another, and reports when each is delivered', async () => {
    const client = await started('door');
    const first = await client.record('/1.webm');
    client.say('recording_stop');
    expect((await client.heard('recording_state', 2)).data).toEqual({ state: 'stopped', rec_id: first });
    const second = await client.record('/2.webm', 2);
    client.say('session_stop');
    const told = await webhooks(3);
    for (const [id, path] of [
      [first, '/1.webm'],
      [second, '/2.webm'],
    ] as const) {
      const size = receiver.stored.get(path)?.body.length;
      const row = await instance.recording.store.find(id);
      const [ready, ...more] = told.filter(({ body }) => body['rec_id'] === id);
      expect(more).toEqual([]);
      expect(ready?.body).toEqual({
        ...{ status: 'upload_ready', msg: expect.any(String), rec_id: id, client_id: 'door' },
        recording_started_at: expect.stringMatching(ISO),
        recording_first_frame_written_at: expect.stringMatching(ISO),
        recording_first_peerframe_captured_at: row?.firstPeerFrameAt?.toISOString() ?? null,
        recording_stopped_at: expect.stringMatching(ISO),
        ...{ recording_file_duration_ms: row?.durationMs, recording_file_size_bytes: size },
      });
      expect(row).toMatchObject({ state: 'DELIVERED', sizeBytes: BigInt(size ?? 0) });
    }
    expect(told.filter(({ body }) => body['status'] === 'session_finished')).toHaveLength(1);
    expect(new Set(told.map(({ id }) => id)).size).toBe(3);

    const stats = await recordingToken(around.auth, { ...TENANT, sub: 's', kind: 'stats' });
    const listed = await sessionRequest(instance, 'GET', '/api/v2/stats/doors/recordings', stats);
    expect(listed.json).toMatchObject({
      api_id: 'doors',
      next_token: null,
      recordings: [first, second].map((id) => ({
        ...{ api_id: 'doors', recording_id: id, client_id: 'door', session_id: client.sessionId, state: 'DELIVERED' },
      })),
    });
  }, 60_000);

  test('has all its videos in one file, also those that come later or come back', async () => {
    const client = await started('court');
    const first = `recordings/${client.sessionId}`;
    const [second, third] = [`${first}/2`, `${first}/3`];
    const tapped = (streamName: string, count: number) =>
      waitFor(() => media.tapped.filter((name) => name === streamName).length >= count, {
        ...{ what: `tap ${count} of ${streamName}`, timeoutMs: 20_000 },
      });
    media.publish(second);
    const id = await client.record('/videos.webm');
    await tapped(second, 1);
    media.publish(third);
    await tapped(third, 1);
    // Its client changes what it sends: the others go on.
    media.endStream(first, EndReason.CLIENT);
    media.endStream(second, EndReason.CLIENT);
    media.publish(first);
    await tapped(first, 2);
    const { sizeBytes } = instance.recording.recordings.progressOf(id) ?? expect.unreachable();
    await waitFor(() => (instance.recording.recordings.progressOf(id)?.sizeBytes ?? 0) > sizeBytes + 30_000, {
      ...{ what: 'more of it', timeoutMs: 20_000 },
    });
    client.say('recording_stop');
    await webhooks(1);
    const file = join(around.dir, 'videos.webm');
    await writeFile(file, receiver.stored.get('/videos.webm')?.body ?? '');
    expect((await probed(file)).codecs).toEqual(['opus', 'vp8', 'vp8', 'vp8']);
    expect(await instance.recording.store.find(id)).toMatchObject({
      facts: { parts: 1, tracks: ['audio', 'video', 'video', 'video'].map((kind) => ({ kind })), notCarried: [] },
    });
  }, 60_000);

  test('reports once the status of a destination that refuses the file', async () => {
    receiver.faults.push((_request, response) => answer(response, 403, 'AccessDenied'));
    const client = await started('gate');
    const id = await client.record('/refused.webm');
    client.say('recording_stop');
    const [failed] = await webhooks(1);
    expect(failed?.body).toEqual({
      ...{ status: 'upload_failed', msg: expect.stringContaining('403'), rec_id: id, client_id: 'gate' },
      upload_status_code: 403,
    });
    client.say('session_stop');
    const told = await webhooks(2);
    expect(told.map(({ body }) => body['status'])).toEqual(['upload_failed', 'session_finished']);
    expect(await instance.recording.store.find(id)).toMatchObject({ state: 'FAILED' });
  }, 60_000);

  test('reports that nothing was recorded when no media came, although its state is saved meanwhile', async () => {
    media.isSilent = true;
    const { store } = instance.recording;
    const end = store.end.bind(store);
    // Longer than the pause between two rounds in which an instance saves the states of its recordings.
    vi.spyOn(store, 'end').mockImplementationOnce(async (...what) => sleep(1_000).then(() => end(...what)));
    try {
      const client = await started('dark');
      client.say('recording_start', { upload_url: receiver.url('/none.webm'), webhook_url: hookUrl() });
      const { data } = await client.heard('recording_state');
      client.say('recording_stop');
      const [failed] = await webhooks(1);
      expect(failed?.body).toEqual({
        ...{ status: 'upload_failed', msg: expect.stringContaining('nothing was recorded') },
        ...{ rec_id: data['rec_id'], client_id: 'dark', upload_status_code: null },
      });
      expect(receiver.stored.size).toBe(0);
    } finally {
      media.isSilent = false;
    }
  }, 60_000);

  test('refuses an upload_url that would fail later, names the trap, and records nothing', async () => {
    const client = await started('yard');
    const expired = `${receiver.url('/x')}?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60`;
    const urls = ['ftp://example.org/x', expired, 'https://10.0.0.1/x'];
    for (const [index, upload_url] of urls.entries()) {
      client.say('recording_start', { upload_url });
      await client.heard('error', index + 1);
    }
    const errors = client.socket.frames.filter(({ type }) => type === 'error');
    expect(errors.map(({ data }) => data['code'])).toEqual([
      'UPLOAD_URL_SCHEME',
      'UPLOAD_URL_EXPIRED',
      'UPLOAD_URL_FORBIDDEN_ADDRESS',
    ]);
    const labels = { path: ['clientId'], equals: 'yard' };
    expect(await instance.recording.store.database.recording.count({ where: { labels } })).toBe(0);
  });

  test.each([
    ['its socket is lost', async ({ socket }: Client) => socket.drop()],
    ['its token is revoked', async () => around.auth.revoke('revoked', instance.context.redis)],
    ['its stream ends', async ({ sessionId }: Client) => media.endStream(`recordings/${sessionId}`)],
    [
      'its instance stops, and another one follows',
      async () => {
        await instance.stop();
        instance = await Recorder.start(around.env);
      },
    ],
  ])(
    'is delivered also when %s',
    async (when, happens) => {
      const client = await started(when, when.includes('revoked') ? 'revoked' : undefined);
      const id = await client.record('/lost.webm');
      await happens(client);
      await waitFor(() => hooked.some(({ body }) => body['rec_id'] === id), { what: 'its webhook', timeoutMs: 30_000 });
      const ready = hooked.filter(({ body }) => body['rec_id'] === id);
      expect(ready).toMatchObject([{ body: { status: 'upload_ready' } }]);
      expect(receiver.stored.get('/lost.webm')?.body.length).toBe(ready[0]?.body['recording_file_size_bytes']);
    },
    60_000,
  );
});

test('a session that was left behind ends its recording, whichever instance has the recording by then', async () => {
  const client = await started('left behind');
  const id = await client.record('/behind.webm');
  // This is what an instance does that finds a live session without its owner.
  await instance.recording.sessions.store.end(client.sessionId, 'CONN_ERROR');
  const behind = await webhooks(2);
  expect(behind.map(({ body }) => body['status']).sort()).toEqual(['session_finished', 'upload_ready']);
  expect(behind.find(({ body }) => body['rec_id'] === id)).toBeDefined();
}, 60_000);

describe('the first generation', () => {
  test('records under the id of its session, which a lost socket ends', async () => {
    clientIds.add('booth');
    const client = await Client.open('booth', 'first');
    client.say('recording_start', { sdp: OFFER, upload_url: receiver.url('/booth.webm'), webhook_url: hookUrl() });
    await client.heard('sdp_update');
    await recorded(client.sessionId);
    client.socket.drop();
    const [ready] = await webhooks(1);
    expect(ready?.body).toMatchObject({ status: 'upload_ready', rec_id: client.sessionId, client_id: 'booth' });
    expect(receiver.stored.has('/booth.webm')).toBe(true);
  }, 60_000);
});
