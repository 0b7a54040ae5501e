import { EndReason, ErrorCode, WeirError } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FakeMedia, type Kind } from './testing/fake-media.js';
import { OriginalServer, type Behaviour, type PublishedHere } from './testing/original-server.js';
import { KEYS, RelayInstance, startSurroundings, type Surroundings } from './testing/relay-instance.js';

let surroundings: Surroundings;
let media: FakeMedia;
let relay: RelayInstance;
let server: OriginalServer;

beforeAll(async () => {
  surroundings = await startSurroundings();
  media = await FakeMedia.start(surroundings.nats.url);
  relay = await RelayInstance.start({
    ...surroundings.env,
    WEIR_RELAY_OPEN_TIMEOUT_MS: '1000',
    WEIR_RELAY_ANSWER_TIMEOUT_MS: '1000',
    WEIR_RELAY_MEDIA_TIMEOUT_MS: '3000',
    WEIR_RELAY_MAX_RETRIES: '3',
  });
});
beforeEach(async () => {
  media.publish('cam');
  server = await OriginalServer.start();
});
afterEach(async () => {
  await relay.request('POST', 'terminate', { body: { localStreamName: 'cam' } });
  await server.kill();
  media.source = undefined;
  media.transcodes = false;
  media.tapRefusal = undefined;
  media.notCarried = [];
});
afterAll(async () => {
  await relay.stop();
  await media.stop();
  await surroundings.stop();
});

const push = (remoteStreamName = 'far', uri = server.uri, localStreamName = 'cam') =>
  relay.request('POST', 'push', { body: { uri, localStreamName, remoteStreamName } });

const published = async (name = 'far', packets = 60): Promise<PublishedHere> => {
  await waitFor(() => (server.published.get(name)?.received.video.size ?? 0) > packets, {
    what: 'video on the other server',
  });
  const here = server.published.get(name);
  if (here === undefined) throw new Error('unreachable');
  return here;
};

const listed = async () => (await relay.list())[0];

/** Expects the other server to have exactly what the source sent. */
const expectUntouched = ({ received }: PublishedHere, kind: Kind) => {
  for (const [sequenceNumber, payload] of received[kind]) expect(payload).toBe(media.sent[kind].get(sequenceNumber));
};

describe('a push to a server with the original’s answers', () => {
  it('is answered with 200 and an empty body, and its media arrive untouched', async () => {
    expect(await push()).toEqual({ status: 200, body: '' });
    const here = await published();
    await waitFor(() => here.received.audio.size > 20, { what: 'audio on the other server' });
    expectUntouched(here, 'video');
    expectUntouched(here, 'audio');
    // The payload types are the answer's own.
    expect(here.payloadTypes).toEqual({ audio: 111, video: 127 });
    expect(server.heard).toEqual(['connection', 'publishStream']);
  });

  it('is listed with the original’s fields, and states that are true', async () => {
    await push();
    await published();
    await waitFor(async () => (await listed())?.status === 'PUBLISHING', { what: 'the state' });
    const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/) as string;
    expect(await relay.list()).toEqual([
      expect.objectContaining({
        ...{ localMediaSessionId: uuid, remoteMediaSessionId: uuid, uri: server.uri, status: 'PUBLISHING' },
        ...{ localStreamName: 'cam', remoteStreamName: 'far', direction: 'push', reason: '', retries: 0 },
      }),
    ]);
    const [item] = await relay.list();
    expect(item?.stats?.['packets']).toBeGreaterThan(60);
  });

  it('asks the source for a key frame when it begins and when the server wants one', async () => {
    const before = media.keyFrameRequests;
    await push();
    const here = await published();
    const atStart = media.keyFrameRequests;
    expect(atStart).toBeGreaterThan(before);
    await waitFor(
      () => {
        here.requestKeyFrame();
        return media.keyFrameRequests > atStart;
      },
      { what: 'a key frame request', intervalMs: 100 },
    );
  });

  it('succeeds although the last flight of the DTLS handshake is lost', async () => {
    server.losesLastFlight = true;
    await push();
    await waitFor(async () => (await listed())?.status === 'PUBLISHING', { what: 'the state' });
    await published();
    expect(await listed()).toMatchObject({ retries: 0 });
  });

  it('shows the server often that it is still there, so that a short cut isn’t taken for its end', async () => {
    await push();
    const here = await published();
    // There are two paths; without our own checks the library would check each of them only every five seconds.
    await waitFor(() => here.peer.checks >= 12, { timeoutMs: 20_000, what: 'connectivity checks' });
  });

  it('isn’t shown as up while nothing comes from the server, and is shown as up again when something comes', async () => {
    await push();
    const { peer } = await published();
    await waitFor(async () => (await listed())?.status === 'PUBLISHING', { what: 'the state' });
    peer.isSilent = true;
    await waitFor(async () => (await listed())?.status === 'PENDING', { timeoutMs: 20_000, what: 'waiting' });
    expect(await listed()).toMatchObject({ reason: 'Nothing comes from the server any more', retries: 0 });
    peer.isSilent = false;
    await waitFor(async () => (await listed())?.status === 'PUBLISHING', { timeoutMs: 20_000, what: 'the state' });
    expect(await listed()).toMatchObject({ reason: '', retries: 0 });
  });

  it('sends lost packets again', async () => {
    server.loses = (kind, sequenceNumber) => kind === 'video' && sequenceNumber % 10 === 0;
    await push();
    const here = await published('far', 200);
    await waitFor(() => {
      const numbers = [...here.received.video.keys()];
      const settled = numbers.slice(0, numbers.length - 20);
      const last = Math.max(...settled);
      return settled.filter((number) => number % 10 === 0).length > 10 && here.received.video.has(last);
    });
    expectUntouched(here, 'video');
    expect((await listed())?.stats?.['resentPackets']).toBeGreaterThan(10);
  });

  it('passes on the source’s clock, or its own if the source sends none', async () => {
    await push();
    const here = await published();
    await waitFor(() => here.senderReports.length >= 2, { what: 'sender reports' });
  });

  it('is ended by terminate: the server is told, the tap is closed, the list is empty', async () => {
    await push();
    await published();
    expect(await relay.request('POST', 'terminate', { body: { remoteStreamName: 'far' } })).toEqual({
      status: 200,
      body: '',
    });
    await waitFor(() => server.heard.includes('unPublishStream'), { what: 'unPublishStream' });
    expect(await relay.request('GET', 'find_all')).toMatchObject({ status: 404 });
    await waitFor(() => media.taps.size === 0, { what: 'the end of the tap' });
    expect(await relay.request('POST', 'terminate', { body: { remoteStreamName: 'far' } })).toMatchObject({
      status: 404,
    });
  });

  it('goes to several servers and names at once', async () => {
    const second = await OriginalServer.start();
    try {
      const statuses = await Promise.all([push('far'), push('wide'), push('far', second.uri)]);
      expect(statuses.map(({ status }) => status)).toEqual([200, 200, 200]);
      await Promise.all([published('far'), published('wide')]);
      await waitFor(() => (second.published.get('far')?.received.video.size ?? 0) > 60);
      expect(await relay.list()).toHaveLength(3);
      await relay.request('POST', 'terminate', { body: { uri: server.uri } });
      expect((await relay.list()).map(({ uri }) => uri)).toEqual([second.uri]);
    } finally {
      await relay.request('POST', 'terminate', { body: { uri: second.uri } });
      await second.kill();
    }
  });
});

describe('what a push can’t carry', () => {
  const rejecting = (kind: Kind) => (answer: string) => answer.replace(new RegExp(`m=${kind} \\d+`), `m=${kind} 0`);

  const expectHalf = async (carried: Kind, notCarried: string) => {
    const { status, body } = await push();
    expect({ status, body: JSON.parse(body) as unknown }).toEqual({ status: 200, body: { notCarried: [notCarried] } });
    await waitFor(async () => (await listed())?.status === 'PUBLISHING', { what: 'the state' });
    expect(await listed()).toMatchObject({ notCarried: [notCarried], reason: '' });
    const here = server.published.get('far');
    await waitFor(() => (here?.received[carried].size ?? 0) > 20, { what: `${carried} on the other server` });
    expect(here?.received[carried === 'audio' ? 'video' : 'audio'].size).toBe(0);
  };

  it('because the server answers with other codecs is named in the answer and the list', async () => {
    media.source = { audio: ['opus', 48_000], video: ['AV1', 90_000] };
    await expectHalf('audio', "video AV1: the other server doesn't take it");
  });

  it.each([
    ['audio', 'video', "audio opus: the other server doesn't take it"],
    ['video', 'audio', "video H264: the other server doesn't take it"],
  ] as const)('because the server rejects the section is named: %s', async (rejected, carried, notCarried) => {
    server.amends = rejecting(rejected);
    await expectHalf(carried, notCarried);
  });

  it('because no WCS server has the codec is named', async () => {
    media.source = { audio: ['G726-32', 8_000], video: ['VP8', 90_000] };
    await expectHalf('video', 'audio G726-32: no WCS server takes this codec');
  });

  it('because the source’s node can’t carry it either is named', async () => {
    media.notCarried = ['video H264: a stream has one video track'];
    expect(JSON.parse((await push()).body)).toEqual({ notCarried: media.notCarried });
    await published();
    expect((await listed())?.notCarried).toEqual(media.notCarried);
  });

  it('is no longer named for the next attempt, if the server then takes everything', async () => {
    server.amends = rejecting('audio');
    await push();
    expect(await listed()).toHaveProperty('notCarried');
    const first = await published();
    server.amends = (answer) => answer;
    first.end('FAILED', 'Failed by RTP activity');
    await waitFor(() => (server.published.get('far')?.received.audio.size ?? 0) > 0, { what: 'sound' });
    await waitFor(async () => (await listed())?.status === 'PUBLISHING', { what: 'the state' });
    expect(await listed()).not.toHaveProperty('notCarried');
  });

  it('is the reason of a 500, without a relay, if it is everything', async () => {
    media.source = { audio: ['G726-32', 8_000], video: ['AV1', 90_000] };
    const { status, body } = await push();
    expect(status).toBe(500);
    expect(JSON.parse(body)).toMatchObject({
      error: {
        code: 'RELAY_FAILED',
        message:
          'The push did not come about: No common codecs: audio G726-32: no WCS server takes this codec; ' +
          "video AV1: the other server doesn't take it",
      },
    });
    expect(await relay.list()).toEqual([]);
    await waitFor(() => media.taps.size === 0, { what: 'the end of the tap' });
  });

  it('because its picture is too large to be transcoded is the reason of a 500', async () => {
    media.tapRefusal = new WeirError(ErrorCode.NO_COMMON_CODECS, '8192×8192 is too large for transcoding');
    const { status, body } = await push();
    expect(status).toBe(500);
    expect(body).toContain('No common codecs: 8192×8192 is too large for transcoding');
    expect(await relay.list()).toEqual([]);
  });

  it('the media core transcodes', async () => {
    media.source = { audio: ['MPEG4-GENERIC', 48_000], video: ['H265', 90_000] };
    media.transcodes = true;
    expect(await push()).toEqual({ status: 200, body: '' });
    const here = await published();
    await waitFor(() => here.received.audio.size > 20, { what: 'audio on the other server' });
    expect(here.payloadTypes).toEqual({ audio: 111, video: 127 });
  });

  it('isn’t G.722', async () => {
    media.source = { audio: ['G722', 8_000], video: ['H264', 90_000] };
    expect(await push()).toEqual({ status: 200, body: '' });
    const here = await published();
    await waitFor(() => here.received.audio.size > 20, { what: 'audio on the other server' });
    expect(here.payloadTypes.audio).toBe(9);
  });
});

describe('an impossible push', () => {
  it('of an unknown stream is 404', async () => {
    expect(await push('far', server.uri, 'nobody')).toMatchObject({ status: 404 });
    expect(server.heard).toEqual([]);
  });

  it('under a name that is pushed there already is 409', async () => {
    await push();
    expect(await push()).toMatchObject({ status: 409 });
    media.publish('other');
    expect(await push('far', server.uri, 'other')).toMatchObject({ status: 409 });
    expect(await relay.list()).toHaveLength(1);
  });

  it('under a name that the server has in use is 409', async () => {
    server.behaviour = 'busy';
    expect(await push()).toMatchObject({ status: 409 });
    expect(await relay.list()).toEqual([]);
  });

  it.each([
    'mute',
    'no-answer',
    'not-json',
    'huge-frame',
    'binary',
    'refuses',
    'hangs-up',
    'bad-sdp',
    'forbidden-candidate',
  ] as const satisfies readonly Behaviour[])(
    'because the server is %s is 500 and leaves nothing behind',
    async (behaviour) => {
      server.behaviour = behaviour;
      const { status, body } = await push();
      expect(status).toBe(500);
      expect(JSON.parse(body)).toMatchObject({ error: { code: 'RELAY_FAILED' } });
      expect(await relay.list()).toEqual([]);
      await waitFor(() => media.taps.size === 0, { what: 'the end of the tap' });
    },
  );

  it.each([
    ['another scheme', 'http://127.0.0.1:8080'],
    ['no URL', 'demo'],
    ['a password', 'ws://a:b@127.0.0.1:8080'],
    ['an address that is forbidden', 'ws://10.1.2.3:8080'],
    ['an address in disguise', 'ws://2130706433:8080'],
    ['nobody listening', 'ws://127.0.0.1:9'],
    ['a name that nobody knows', 'ws://nowhere.invalid:8080'],
  ])('because the uri has %s is 500', async (_what, uri) => {
    expect(await push('far', uri)).toMatchObject({ status: 500 });
    expect(await relay.list()).toEqual([]);
  });

  it.each([
    ['nothing', undefined],
    ['no JSON', '{'],
    ['a field less', { uri: 'ws://a', localStreamName: 'cam' }],
    ['a name that is none', { uri: 'ws://a', localStreamName: 'cam', remoteStreamName: '\u0007' }],
  ])('because the body has %s is 400', async (_what, body) => {
    const response = await relay.request('POST', 'push', { body });
    expect(response).toMatchObject({ status: 400 });
    expect(JSON.parse(response.body)).toEqual({
      error: { code: 'INVALID', message: expect.any(String), fields: expect.any(Object) },
    });
  });

  it.each([
    ['PUT', 'push?token=secret', 405],
    ['POST', 'nothing?token=secret', 404],
    ['POST', 'terminate', 404],
  ] as const)('gets an error in the same form as every other: %s %s', async (method, path, status) => {
    const response = await relay.app.inject({
      method,
      url: `/rest-api/pull/${path}`,
      headers: { authorization: `Bearer ${KEYS.operator}`, 'content-type': 'text/plain' },
      payload: '{"localStreamName":"cam"}',
    });
    expect(response.statusCode).toBe(status);
    expect(response.json()).toEqual({ error: { code: expect.any(String), message: expect.any(String), fields: {} } });
    expect(response.body).not.toContain('secret');
  });
});

describe('the life of a push', () => {
  it('ends with its source: the server is told', async () => {
    await push();
    await published();
    media.endStream('cam', EndReason.CLIENT);
    await waitFor(async () => (await relay.list()).length === 0, { what: 'the end of the relay' });
    expect(server.heard).toContain('unPublishStream');
  });

  it.each([
    ['whose media node has died', EndReason.NODE_LOST],
    ['that brought no media for too long', EndReason.NO_MEDIA],
  ])('waits for a source %s', async (_what, reason) => {
    await push();
    await published();
    media.endStream('cam', reason);
    await waitFor(async () => (await listed())?.status === 'PENDING', { what: 'waiting' });
    media.publish('cam');
    await waitFor(async () => (await listed())?.status === 'PUBLISHING', { what: 'the relay' });
  });

  it('ends when the server unpublishes it in order', async () => {
    await push();
    (await published()).end('UNPUBLISHED', 'Stopped by rest /terminate');
    await waitFor(async () => (await relay.list()).length === 0, { what: 'the end of the relay' });
  });

  it('is tried again when the server fails it, and comes back', async () => {
    await push();
    const first = await published();
    first.end('FAILED', 'Failed by RTP activity');
    await waitFor(() => server.published.get('far') !== undefined && server.published.get('far') !== first);
    await published();
    await waitFor(async () => (await listed())?.status === 'PUBLISHING');
    expect(await listed()).toMatchObject({
      retries: 1,
      reason: expect.stringContaining('Failed by RTP activity') as string,
    });
  });

  it('is cut off from a server that pings and doesn’t read the pongs, and comes back', async () => {
    await push();
    const first = await published();
    await server.pingUnread();
    await waitFor(() => server.published.get('far') !== undefined && server.published.get('far') !== first);
    await published();
    expect((await listed())?.retries).toBe(1);
  });

  it('comes back when the server has been killed and started again', async () => {
    await push();
    await published();
    const { port } = server;
    await server.kill();
    await waitFor(async () => (await listed())?.status === 'PENDING', { what: 'waiting' });
    server = await OriginalServer.start(port);
    await published();
  });

  it('fails with its reason when the server stays away, and the failed one makes room for the next', async () => {
    await push();
    await published();
    const { port } = server;
    await server.kill();
    await waitFor(async () => (await listed())?.status === 'FAILED', { what: 'failure', timeoutMs: 20_000 });
    expect(await listed()).toMatchObject({ retries: 3, reason: expect.stringContaining('ECONNREFUSED') as string });
    server = await OriginalServer.start(port);
    expect(await push()).toMatchObject({ status: 200 });
    await published();
    expect(await relay.list()).toHaveLength(1);
  });

  it('that never gets its media path up is tried again, and fails', async () => {
    server.behaviour = 'no-media';
    expect(await push()).toMatchObject({ status: 200 });
    await waitFor(async () => (await listed())?.status === 'FAILED', { what: 'failure', timeoutMs: 25_000 });
    expect((await listed())?.reason).toMatch(/Failed by (ICE|DTLS)/);
  });
});
