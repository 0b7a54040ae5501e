import { randomUUID } from 'node:crypto';
import { waitFor } from '@weir/testing';
import { afterEach, describe, expect, inject, it } from 'vitest';
import { WcsSocket } from './wcs-socket.js';

const { httpUrl } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');

const sockets: WcsSocket[] = [];
const keep = (socket: WcsSocket): WcsSocket => {
  sockets.push(socket);
  return socket;
};
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});

const open = async (path = '/') => keep(await WcsSocket.open(wsUrl + path));
const connect = async (path = '/') => keep(await WcsSocket.connect(wsUrl + path));

/** A valid offer of a client that never connects. */
const offer = [
  ...['v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111'],
  ...['c=IN IP4 0.0.0.0', 'a=ice-ufrag:abcd', 'a=ice-pwd:abcdefghijklmnopqrstuvwx'],
  `a=fingerprint:sha-256 ${Array.from({ length: 32 }, () => 'AB').join(':')}`,
  ...['a=setup:actpass', 'a=mid:0', 'a=sendonly', 'a=rtcp-mux', 'a=rtpmap:111 opus/48000/2', 'a=ssrc:1 cname:x', ''],
].join('\r\n');

const publish = (socket: WcsSocket, name: string, overrides: Record<string, unknown> = {}) => {
  const mediaSessionId = randomUUID();
  socket.send('publishStream', {
    ...{ mediaSessionId, name, published: true, hasVideo: false, hasAudio: true, status: 'PENDING', record: false },
    ...{ mediaProvider: 'WebRTC', sdp: offer, bitrate: 0, minBitrate: 0, maxBitrate: 0 },
    ...overrides,
  });
  return mediaSessionId;
};

const newName = () => `raw-${randomUUID().slice(0, 8)}`;

describe('a client that speaks WCS by hand', () => {
  it.each(['/', '/websocket', '/any/other/path?x=1'])('is served on the path %s', async (path) => {
    const socket = await connect(path);
    expect(await socket.wait('getUserData')).toMatchObject({ status: 'ESTABLISHED', clientVersion: '2.0' });
    const version = await waitFor(() => socket.received.find(({ message }) => message === 'getVersion'));
    expect(version.data[0]).toEqual(expect.any(String));
  });

  it('gets a pong for its ping, with an empty list of data', async () => {
    const socket = await connect();
    socket.send('ping', null);
    const pong = await waitFor(() => socket.received.find(({ message }) => message === 'pong'));
    expect(pong.data).toEqual([]);
  });

  it('is told within 15 s that its ICE never arrived, and its name is then free', async () => {
    const socket = await connect();
    const name = newName();
    const mediaSessionId = publish(socket, name);
    const status = await socket.wait('notifyStreamStatusEvent', (first) => first['status'] === 'FAILED', 15_000);
    expect(status).toMatchObject({ mediaSessionId, info: 'Failed by ICE timeout' });
    publish(socket, name);
    await socket.wait('setRemoteSDP');
  });

  it('gets an error for an invalid SDP, and the session goes on', async () => {
    const socket = await connect();
    publish(socket, newName(), { sdp: 'v=nonsense' });
    await socket.wait('notifyStreamStatusEvent', (first) => first['status'] === 'FAILED');
    publish(socket, newName());
    await socket.wait('setRemoteSDP');
  });

  it('loses its streams together with its socket', async () => {
    const socket = await connect();
    const name = newName();
    publish(socket, name);
    await socket.wait('setRemoteSDP');
    socket.close();
    const next = await connect();
    publish(next, name);
    await next.wait('setRemoteSDP');
  });

  it('that sends anything but frames is cut off and does not harm others', async () => {
    const bystander = await connect();
    for (const frame of ['nonsense', '{"message":1}', '[]', '']) {
      const socket = await open();
      socket.socket.send(frame);
      socket.send('connection', { appKey: 'defaultApp' });
      await Promise.race([socket.waitForClose(), socket.wait('getUserData')]);
    }
    const huge = await open();
    huge.socket.send('x'.repeat(2 * 1024 * 1024));
    expect(await huge.waitForClose()).toBeGreaterThanOrEqual(1000);
    bystander.send('ping', null);
    await waitFor(() => bystander.received.find(({ message }) => message === 'pong'));
  });

  it('that floods the server is closed, while others are served', async () => {
    const bystander = await connect();
    const socket = await connect();
    for (let count = 0; count < 20_000; count += 1) socket.send('ping', null);
    await socket.waitForClose();
    bystander.send('ping', null);
    await waitFor(() => bystander.received.find(({ message }) => message === 'pong'));
  });
});
