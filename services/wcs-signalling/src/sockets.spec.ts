import { connect as connectTcp, Socket } from 'node:net';
import { ApplicationPolicy, EndReason } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Client, publication } from './testing/client.js';
import { PNG } from './testing/fake-media.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';
import { sessionListener } from './ws.js';

let around: Surroundings;
let service: Running;
let clients: Client[] = [];

beforeAll(async () => {
  around = await startSurroundings();
});
beforeEach(async () => {
  service = await startService(around);
});
afterEach(async () => {
  for (const client of clients) client.end();
  clients = [];
  await service.stop();
  around.media.published.clear();
  around.media.played.clear();
  around.media.closed.length = 0;
  around.media.autoConnect = true;
  around.media.publishDelayMs = 0;
});
afterAll(() => around.stop());

const connect = async (connection = {}): Promise<Client> => {
  const client = await Client.connect(service.wsUrl, connection);
  clients.push(client);
  return client;
};
const open = async (path = '/', headers = {}): Promise<Client> => {
  const client = await Client.open(`${service.wsUrl}${path}`, headers);
  clients.push(client);
  return client;
};

const HANDSHAKE = [
  'GET / HTTP/1.1',
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  '\r\n',
].join('\r\n');

/** The header of a masked text frame of `length` bytes. */
function frameHeader(length: number): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt16BE(0x81ff);
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

describe('a socket', () => {
  it.each(['/', '/websocket', '/any/path?with=query'])('is taken on %s', async (path) => {
    const client = await open(path);
    client.says('connection', { appKey: 'defaultApp' });
    expect(await client.hears('getUserData')).toMatchObject({ status: 'ESTABLISHED', appKey: 'defaultApp' });
    expect(await client.hears('getVersion')).toMatch(/^5\.2/);
  });

  it('is named after the client address that the gateway reports', async () => {
    const client = await open('/', { 'x-forwarded-for': '203.0.113.9, 127.0.0.1' });
    client.says('connection', {});
    const { authToken } = await client.hears('getUserData');
    expect(authToken).toMatch(/^\/203\.0\.113\.9:\d+\/127\.0\.0\.1:\d+$/);
  });

  it('is closed for an application that nobody knows', async () => {
    const client = await open();
    client.says('connection', { appKey: 'nobody' });
    expect(await client.hears('fail')).toMatchObject({ info: 'No such application' });
    expect(await client.closes()).toBe(4404);
    expect(client.heard.map(({ message }) => message)).not.toContain('getUserData');
  });

  it('is closed when something other than connection comes first', async () => {
    const client = await open();
    client.says('publishStream', publication('p', 'early'));
    expect(await client.status('p', 'FAILED')).toMatchObject({ info: 'Session does not exist' });
    expect(await client.closes()).toBe(4400);
  });

  it('is closed with 1009 for a frame over 256 Ki, and others go on', async () => {
    const [rude, polite] = [await connect(), await connect()];
    await polite.publishes('p', 'polite');
    rude.raw(`{"message":"submitBugReport","data":["${'x'.repeat(256 * 1024)}"]}`);
    expect(await rude.closes()).toBe(1009);
    await waitFor(() => service.wcs.sessions.load.sessions === 1);
    polite.says('ping');
    await polite.hears('pong');
  });

  it('takes a frame of 256 Ki', async () => {
    const client = await connect();
    const [begin, end] = ['{"message":"pushLogs","data":["', '"]}'];
    client.raw(begin + 'x'.repeat(256 * 1024 - begin.length - end.length) + end);
    await client.publishes('p', 'after-a-long-frame');
  });

  it.each([
    ['a frame', (socket: Socket) => socket.write(Buffer.concat([frameHeader(200_000), Buffer.alloc(100_000)]))],
    ['the header of a frame', (socket: Socket) => socket.write(frameHeader(200_000).subarray(0, 3))],
    ['a message of many fragments', (socket: Socket) => socket.write(Buffer.from([0x01, 0x80, 0, 0, 0, 0]))],
  ])('is closed when it does not finish %s in time', async (_what, begin) => {
    await service.stop();
    service = await startService(around, { WEIR_WCS_FRAME_TIMEOUT_MS: '200' });
    const { port } = new URL(service.wsUrl);
    const socket = connectTcp(Number(port), '127.0.0.1');
    let received = '';
    socket.setEncoding('latin1').on('data', (text: string) => (received += text));
    socket.write(HANDSHAKE);
    await waitFor(() => received.includes('\r\n\r\n'));
    begin(socket);
    await waitFor(() => received.includes('\x03\xf0A frame was not finished in time'), { what: 'the close frame' });
    await waitFor(() => socket.destroyed && service.wcs.sessions.load.sessions === 0);
  });

  it('is closed when its address has too many unfinished frames, and others are not', async () => {
    const from = (address: string) => open('/', { 'x-forwarded-for': address });
    const many = await Promise.all(Array.from({ length: 40 }, () => from('203.0.113.66')));
    for (const { socket } of many) socket.send('x'.repeat(256 * 1024 - 1), { fin: false });
    await waitFor(() => many.filter(({ closeCode }) => closeCode === 1013).length >= 8, { what: 'sockets closed' });
    const other = await from('203.0.113.77');
    other.says('connection', { appKey: 'defaultApp' });
    await other.hears('getVersion');
    other.socket.send('{"message":"ping",', { fin: false });
    other.socket.send('"data":[]}', { fin: true });
    await other.hears('pong');
    expect(many.some(({ closeCode }) => closeCode === undefined)).toBe(true);
  });

  it('is told what was wrong with malformed and binary frames', async () => {
    const client = await connect();
    client.raw('{"message":');
    client.raw(Buffer.from('hello'));
    await client.hears('fail', ({ info }) => info === 'Frame is not JSON');
    await client.hears('fail', ({ info }) => info === 'Binary frames are not supported');
  });

  it('is closed with 4429 when it floods', async () => {
    const client = await connect();
    for (let count = 0; count < 1_000; count++) client.says('pong');
    expect(await client.closes()).toBe(4429);
  });

  it('is dropped when its client does not read', async () => {
    await service.stop();
    service = await startService(around, { WEIR_WCS_MAX_BUFFERED_BYTES: '65536', WEIR_WCS_FRAME_BURST: '100000' });
    const [publisher, player] = [await connect(), await connect()];
    await publisher.publishes('p', 'torrent');
    await player.plays('v', 'torrent');
    player.socket.pause();
    const payload = 'x'.repeat(60_000);
    await waitFor(() => {
      publisher.says('sendStreamEvent', { mediaSessionId: 'p', type: 'data', payload });
      return around.media.closed.length > 0;
    });
    expect(around.media.closed.map(({ reason }) => reason)).toEqual([EndReason.DISCONNECTED]);
    await waitFor(() => service.wcs.sessions.load.sessions === 1);
    expect(publisher.closeCode).toBeUndefined();
  });

  it('is dropped when its client pings and does not read the pongs', () => {
    const closes: number[] = [];
    const socket = {
      ...{ bufferedBytes: 0, send: () => undefined, ping: () => undefined },
      close: (code: number) => void closes.push(code),
    };
    const { sessions } = service.wcs;
    const refusals = { say: () => undefined };
    const request = { socket: new Socket(), headers: {} };
    const listener = sessionListener(socket, request, { sessions, refusals, trustForwarded: false });
    listener.heard();
    expect(closes).toEqual([]);
    socket.bufferedBytes = 5 * 1024 * 1024;
    listener.heard();
    expect(closes).toEqual([4430]);
    listener.closed();
    expect(service.wcs.sessions.load.sessions).toBe(0);
  });

  it('is refused with 503 when the instance has no more room', async () => {
    await service.stop();
    service = await startService(around, { WEIR_WCS_MAX_SESSIONS: '1' });
    await connect();
    expect((await open()).refusedStatus).toBe(503);
  });

  it('is pinged, and dropped when it never answers', async () => {
    await service.stop();
    service = await startService(around, { WEIR_WCS_PING_INTERVAL_MS: '100', WEIR_WCS_PING_PROBES: '3' });
    const client = await connect();
    await client.hears('ping');
    expect(await client.closes()).toBe(4408);
  });

  it('is closed with 1001 when the service stops, and its streams end on their node', async () => {
    const client = await connect();
    await client.publishes('p', 'last');
    await service.stop();
    expect(await client.closes()).toBe(1001);
    expect(around.media.closed).toHaveLength(1);
    expect(around.media.published.size).toBe(0);
  });
});

describe('streams', () => {
  it('are published and played, and stop as their clients say', async () => {
    const [publisher, player] = [await connect(), await connect()];
    await publisher.publishes('p', 'cam');
    expect(await publisher.hears('setRemoteSDP')).toBe('p');
    expect([...around.media.published.values()][0]?.request).toMatchObject({
      tenant: 'demo',
      streamName: 'cam',
      ownerId: 'wcs-signalling-1',
      offerSdp: 'v=0 offer',
      protocol: 'wcs',
      statsIntervalMs: 1000,
    });
    await player.plays('v', 'cam');
    expect(await player.hears('notifyVideoFormat')).toMatchObject({ streamerVideoWidth: 640 });
    player.says('stopStream', { mediaSessionId: 'v' });
    expect(await player.status('v', 'STOPPED')).toMatchObject({ info: 'Stopped by user' });
    publisher.says('unPublishStream', { mediaSessionId: 'p' });
    expect(await publisher.status('p', 'UNPUBLISHED')).toMatchObject({ info: 'Stopped by publisher stop' });
    await waitFor(() => around.media.closed.length === 2);
    expect(around.media.closed.map(({ reason }) => reason)).toEqual([EndReason.CLIENT, EndReason.CLIENT]);
  });

  it('fail with the reasons of the media core', async () => {
    const client = await connect();
    await client.publishes('p1', 'taken');
    client.says('publishStream', publication('p2', 'taken'));
    expect(await client.status('p2', 'FAILED')).toMatchObject({ info: 'Stream name is already in use' });
    client.says('publishStream', { ...publication('p3', 'odd'), sdp: 'v=0 vp9 only' });
    expect(await client.status('p3', 'FAILED')).toMatchObject({ info: 'No common codecs' });
    client.says('playStream', publication('v1', 'nothing'));
    expect(await client.status('v1', 'FAILED')).toMatchObject({ info: 'Stream not found' });
  });

  it('end on their node when the socket is lost, however often the node has to be asked', async () => {
    const client = await connect();
    await client.publishes('p', 'lost');
    await client.plays('v', 'lost');
    around.media.closeFailures = 2;
    client.end();
    await waitFor(() => around.media.published.size === 0 && around.media.played.size === 0);
    expect(around.media.closed.every(({ reason }) => reason === EndReason.DISCONNECTED)).toBe(true);
    // The name is free again at once.
    const again = await connect();
    await again.publishes('p', 'lost');
  });

  it('that were answered after their socket was lost end on their node too', async () => {
    around.media.publishDelayMs = 300;
    const client = await connect();
    client.says('publishStream', publication('p', 'late'));
    await new Promise((resolve) => setTimeout(resolve, 100));
    client.end();
    await waitFor(() => around.media.closed.length === 1);
    expect(around.media.published.size).toBe(0);
  });

  it('tell players what the publisher signals, even players that come later', async () => {
    const [publisher, player] = [await connect(), await connect()];
    await publisher.publishes('p', 'talk');
    await player.plays('v', 'talk');
    publisher.says('sendStreamEvent', { mediaSessionId: 'p', type: 'audioMuted' });
    publisher.says('sendStreamEvent', { mediaSessionId: 'p', type: 'data', payload: { count: 23 } });
    await player.hears(
      'notifyStreamEvent',
      ({ type, mediaSessionId }) => type === 'audioMuted' && mediaSessionId === 'v',
    );
    const data = await player.hears('notifyStreamEvent', ({ type }) => type === 'data');
    expect(data).toEqual({ mediaSessionId: 'v', type: 'data', payload: { count: 23 } });
    const late = await connect();
    await late.plays('v2', 'talk');
    expect(await late.status('v2', 'PLAYING')).toMatchObject({
      audioState: { muted: true },
      videoState: { muted: false },
    });
  });

  it('answer requests for availability, a snapshot and data', async () => {
    const client = await connect();
    client.says('availableStream', { mediaSessionId: 'a1', name: 'shown' });
    expect(await client.hears('availableStream')).toEqual({ id: 'a1', status: 'false', info: 'Stream not found' });
    await client.publishes('p', 'shown');
    client.says('availableStream', { mediaSessionId: 'a2', name: 'shown' });
    expect(await client.hears('availableStream', ({ id }) => id === 'a2')).toEqual({ id: 'a2', status: 'true' });
    client.says('snapshot', { mediaSessionId: 's', name: 'shown' });
    expect(await client.hears('notifyStreamEvent', ({ type }) => type === 'snapshotCompleted')).toMatchObject({
      mediaSessionId: 's',
      payload: { snapshot: PNG.toString('base64') },
    });
    client.says('snapshot', { mediaSessionId: 's2', name: 'absent' });
    expect(await client.hears('notifyStreamEvent', ({ type }) => type === 'snapshotFailed')).toMatchObject({
      payload: { info: 'Stream not found' },
    });
    client.says('sendData', { operationId: 'o', payload: {} });
    expect(await client.hears('DataStatusEvent')).toEqual({ operationId: 'o', status: 'ACCEPTED' });
  });

  it('show the rates that the media core measures', async () => {
    const client = await connect();
    await client.publishes('p', 'rated');
    const stats = { videoBps: 704_856n, videoFps: 30, nackCount: 1n, width: 640, height: 360 };
    around.media.tell(around.media.sessionOf('rated'), { case: 'stats', value: stats });
    expect(await client.hears('inboundVideoRate')).toEqual({
      mediaSessionId: 'p',
      videoRate: 704_856,
      fps: 30,
      nack: 1,
      pli: 0,
      lostPackets: 0,
      width: 640,
      height: 360,
    });
  });

  it('keep tenants apart', async () => {
    around.applications.set({ appKey: 'otherApp', tenant: 'other', policy: ApplicationPolicy.OPEN });
    const [here, there] = [await connect(), await connect({ appKey: 'otherApp' })];
    await here.publishes('p', 'same');
    there.says('playStream', publication('v', 'same'));
    expect(await there.status('v', 'FAILED')).toMatchObject({ info: 'Stream not found' });
    await there.publishes('p', 'same');
  });
});
