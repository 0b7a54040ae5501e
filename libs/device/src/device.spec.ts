import { CLOSE, ERROR_CODE, initString, type CloudMessage, type EndCause } from '@weir/protocol-topvdn';
import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Device, LOCAL_CODE, type Call, type DeviceOptions, type DeviceSettings } from './index.js';
import { FakePeerConnection, fakeTrack } from './testing/fake-peer-connection.js';
import { DEVICE_CID, FakeServer } from './testing/fake-server.js';

const URL_TEXT = 'topvdn://10.0.0.1:80?protocolType=1&token=x';
const QUICK: Partial<DeviceSettings> = {
  pace: { firstMs: 5, maxMs: 20 },
  paceInCall: { firstMs: 5, maxMs: 20 },
  iceGraceMs: 5,
  iceRetryMs: 20,
};

let server: FakeServer;
let devices: Device[];

beforeEach(async () => {
  server = await FakeServer.start();
  devices = [];
  FakePeerConnection.made = [];
});
afterEach(async () => {
  vi.unstubAllGlobals();
  for (const device of devices) device.stopCloudService();
  await server.stop();
});

const makeDevice = (options: DeviceOptions = {}): Device => {
  const device = new Device({
    ...{ serverUrl: server.url, WebSocket, RTCPeerConnection: FakePeerConnection.Constructor },
    localMedia: async () => [fakeTrack('audio'), fakeTrack('video')],
    ...options,
    settings: { ...QUICK, ...options.settings },
  });
  devices.push(device);
  return device;
};

const startDevice = async (options: DeviceOptions = {}): Promise<{ device: Device; messages: CloudMessage[] }> => {
  const device = makeDevice(options);
  const messages: CloudMessage[] = [];
  device.setCloudMessageListener((message) => void messages.push(message));
  await device.startCloudService('token-1');
  return { device, messages };
};

const named = (messages: readonly CloudMessage[], name: string) => messages.filter(({ Name }) => Name === name);

/** Starts a device with a call that it has opened, and whose media flows. */
const callingDevice = async (options: DeviceOptions = {}) => {
  const { device, messages } = await startDevice(options);
  const opening = device.open(URL_TEXT);
  const { ref } = await server.requested('open');
  server.send({ type: 'opened', ref, call_id: 'c1', sdp: 'answer 1' });
  const call = await opening;
  FakePeerConnection.last.ice('connected');
  expect(call.state).toEqual({ tag: 'established' });
  const peer_muted = { audio: false, video: false };
  server.state = {
    ...server.state,
    calls: [{ call_id: 'c1', cid: 7, role: 'opener', phase: 'established', peer_muted }],
  };
  return { device, messages, call, connection: FakePeerConnection.last };
};

const ended = (call: Call): Promise<EndCause> =>
  waitFor(() => (call.state.tag === 'ended' ? call.state.cause : undefined), { what: 'the end of the call' });

describe('the cloud service', () => {
  it('is started with a token and the configuration string, and asks at once what the server knows', async () => {
    const { hostname, port } = new URL(server.url);
    const device = new Device({ WebSocket, settings: QUICK });
    devices.push(device);
    await device.startCloudService('a_token', initString([{ host: hostname, port: Number(port) }]));
    expect(device.isOnline()).toBe(true);
    expect(device.cid).toBe(DEVICE_CID);
    expect(server.tokens).toEqual(['a_token']);
    expect(server.requests.map(({ type }) => type)).toEqual(['state']);
  });

  it('is started once at a time', async () => {
    const { device } = await startDevice();
    await expect(device.startCloudService('token-1')).rejects.toMatchObject({ code: LOCAL_CODE.alreadyStarted });
    device.stopCloudService();
    expect(device.isOnline()).toBe(false);
    await device.startCloudService('token-2');
    expect(server.tokens).toEqual(['token-1', 'token-2']);
  });

  it('needs a server', async () => {
    const device = new Device({ WebSocket });
    await expect(device.startCloudService('token-1', '[Config]')).rejects.toMatchObject({ code: ERROR_CODE.parameter });
  });

  it('ends its start if no server answers in time, and can be started again', async () => {
    const device = makeDevice({ settings: { startDeadlineMs: 50 } });
    await server.stop();
    const refused = { code: LOCAL_CODE.notStarted };
    await expect(device.startCloudService('token-1')).rejects.toMatchObject(refused);
    await expect(device.startCloudService('token-1')).rejects.toMatchObject(refused);
    server = await FakeServer.start();
  });

  it('comes back by itself when its connection is lost, with a new token, and says so', async () => {
    let made = 0;
    const device = makeDevice();
    const messages: CloudMessage[] = [];
    device.setCloudMessageListener((message) => void messages.push(message));
    await device.startCloudService(async () => `token-${++made}`);
    server.cut();
    await waitFor(() => server.tokens.length === 2 && device.isOnline(), { what: 'the second connection' });
    expect(server.tokens).toEqual(['token-1', 'token-2']);
    expect(messages.map(({ Name }) => Name)).toEqual(['Online', 'Offline', 'Online']);
  });

  it('gives a connection up on which nothing comes any more', async () => {
    const { device } = await startDevice({ settings: { pingIntervalMs: 10, pongDeadlineMs: 10 } });
    server.answersPings = false;
    await waitFor(() => server.tokens.length > 1, { what: 'the next connection' });
    server.answersPings = true;
    await waitFor(() => device.isOnline(), { what: 'the device online' });
  });

  it.each([
    ['the same device has started elsewhere', CLOSE.replaced],
    ['its token is no longer valid', CLOSE.unauthorized],
  ])('ends for good when %s', async (_why, code) => {
    const { device } = await startDevice();
    const stopped: number[] = [];
    device.on('stopped', (event) => stopped.push(event.code));
    server.closeWith(code);
    await waitFor(() => stopped.length > 0, { what: 'the end' });
    expect(stopped).toEqual([code]);
    expect(device.isOnline()).toBe(false);
    await device.startCloudService('token-2');
    expect(server.tokens).toEqual(['token-1', 'token-2']);
  });
});

describe('a message', () => {
  it('is given to the application as the vendor has it, and is acknowledged', async () => {
    const { messages } = await startDevice();
    server.say('PopMessage', 'aGVsbG8=', 'm1');
    expect(await server.requested('ack')).toEqual({ type: 'ack', id: 'm1' });
    expect(named(messages, 'PopMessage')).toEqual([
      { Name: 'PopMessage', Message: 'aGVsbG8=', SrcID: 0, name: 'PopMessage', message: 'aGVsbG8=', id: 'm1' },
    ]);
  });

  it('that comes again is acknowledged again, but given to the application once', async () => {
    const { messages } = await startDevice();
    server.say('PopMessage', 'aGVsbG8=', 'm1');
    await server.requested('ack');
    server.cut();
    await waitFor(() => server.tokens.length === 2, { what: 'the second connection' });
    const before = server.requests.length;
    await server.requested('state', before - 1);
    server.say('PopOffLineMessage', 'aGVsbG8=', 'm1');
    await waitFor(() => server.requests.filter(({ type }) => type === 'ack').length === 2, { what: 'two ack' });
    expect([...named(messages, 'PopMessage'), ...named(messages, 'PopOffLineMessage')]).toHaveLength(1);
  });

  it('is acknowledged when the application has it, not before, and is given to it once meanwhile', async () => {
    const device = makeDevice();
    const read: string[] = [];
    let finish: () => void = () => undefined;
    device.setCloudMessageListener(async (message) => {
      read.push(message.Message);
      if (message.id !== undefined)
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
    });
    await device.startCloudService('token-1');
    server.say('PopMessage', 'Zmlyc3Q=', 'm1');
    server.say('PopMessage', 'Zmlyc3Q=', 'm1');
    server.say('PopMessage', 'c2Vjb25k');
    await waitFor(() => read.includes('c2Vjb25k'), { what: 'the second message' });
    expect(read).toEqual(['', 'Zmlyc3Q=', 'c2Vjb25k']);
    expect(server.requests.map(({ type }) => type)).toEqual(['state']);
    finish();
    expect(await server.requested('ack')).toEqual({ type: 'ack', id: 'm1' });
  });

  it('on which the application fails is not acknowledged, and is given to it again', async () => {
    const device = makeDevice();
    const errors: string[] = [];
    device.on('error', ({ message }) => errors.push(message));
    let tries = 0;
    device.setCloudMessageListener(({ Name }) => {
      if (Name === 'PopMessage' && ++tries === 1) throw new Error('the disk is full');
    });
    await device.startCloudService('token-1');
    server.say('PopMessage', 'aGVsbG8=', 'm1');
    await waitFor(() => errors.length === 1, { what: 'the error' });
    expect(errors).toEqual(['the disk is full']);
    expect(server.requests.map(({ type }) => type)).toEqual(['state']);
    server.say('PopMessage', 'aGVsbG8=', 'm1');
    expect(await server.requested('ack')).toEqual({ type: 'ack', id: 'm1' });
  });
});

describe('a call that the device opens', () => {
  it('offers sound and picture, and trickles candidates when it knows the call', async () => {
    const { device } = await startDevice();
    const opening = device.open(URL_TEXT, { record: true });
    const request = await server.requested('open');
    expect(request).toMatchObject({ url: URL_TEXT, sdp: 'offer 1', record: true });
    expect(server.requests.map(({ type }) => type)).toEqual(['state', 'open']);
    server.send({ type: 'opened', ref: request.ref, call_id: 'c1', sdp: 'answer 1' });
    const call = await opening;
    expect(call).toMatchObject({ callId: 'c1', role: 'opener', state: { tag: 'connecting' } });
    expect(FakePeerConnection.last.remoteSdps).toEqual(['answer 1']);
    expect(FakePeerConnection.last.sections).toEqual([
      { kind: 'audio', direction: 'sendrecv' },
      { kind: 'video', direction: 'sendrecv' },
    ]);
    await waitFor(() => server.requests.filter(({ type }) => type === 'candidate').length === 2, {
      what: 'candidates',
    });
    expect(server.requests.slice(2)).toEqual([
      {
        ...{ type: 'candidate', call_id: 'c1' },
        candidate: { candidate: 'candidate:1', sdpMid: '0', sdpMLineIndex: 0 },
      },
      { type: 'candidate', call_id: 'c1', candidate: null },
    ]);
  });

  it('can hear and see without a microphone and a camera', async () => {
    const { device } = await startDevice();
    void device.open(URL_TEXT, { media: [] }).catch(() => undefined);
    await server.requested('open');
    expect(FakePeerConnection.last.sections).toEqual([
      { kind: 'audio', direction: 'recvonly' },
      { kind: 'video', direction: 'recvonly' },
    ]);
  });

  it.each([
    [ERROR_CODE.busy, 'busy'],
    [ERROR_CODE.offline, 'unreachable'],
    [ERROR_CODE.answeredElsewhere, 'answered-elsewhere'],
    [ERROR_CODE.tokenExpired, 'closed'],
  ])('and that is refused with %d ends as %s, with its connection closed', async (code, cause) => {
    const { device } = await startDevice();
    const calls: Call[] = [];
    device.on('call', (call) => calls.push(call));
    const opening = device.open(URL_TEXT);
    const { ref } = await server.requested('open');
    server.send({ type: 'error', ref, code, message: 'not now' });
    await expect(opening).rejects.toMatchObject({ name: 'DeviceError', code, message: 'not now' });
    expect(calls[0]?.state).toEqual({ tag: 'ended', cause });
    expect(FakePeerConnection.last.isClosed).toBe(true);
    expect(device.calls).toEqual([]);
  });

  it('is closed on the server too if it was closed before the server answered', async () => {
    const { device } = await startDevice();
    const opening = device.open(URL_TEXT);
    const { ref } = await server.requested('open');
    device.close();
    server.send({ type: 'opened', ref, call_id: 'c1', sdp: 'answer 1' });
    await expect(opening).rejects.toMatchObject({ code: LOCAL_CODE.noCall });
    expect(await server.requested('close')).toEqual({ type: 'close', call_id: 'c1' });
  });

  it('is closed on the server too if the server has answered too late', async () => {
    const { device } = await startDevice({ settings: { answerDeadlineMs: 100 } });
    const opening = device.open(URL_TEXT);
    const { ref } = await server.requested('open');
    await expect(opening).rejects.toMatchObject({ code: ERROR_CODE.unavailable });
    server.send({ type: 'opened', ref, call_id: 'c1', sdp: 'answer 1' });
    expect(await server.requested('close')).toEqual({ type: 'close', call_id: 'c1' });
  });

  it('needs a started service and WebRTC', async () => {
    await expect(makeDevice().open(URL_TEXT)).rejects.toMatchObject({ code: ERROR_CODE.offline });
    const device = new Device({ serverUrl: server.url, WebSocket, settings: QUICK });
    devices.push(device);
    await device.startCloudService('token-1');
    await expect(device.open(URL_TEXT)).rejects.toMatchObject({ code: LOCAL_CODE.noWebRtc });
  });
});

describe('a call that another device accepts', () => {
  const accept = () => server.say('ConnectionAcceptted', JSON.stringify({ call_id: 'c1', cid: 7, ice_servers: [] }));

  it('is told with ConnectionAcceptted, and joined', async () => {
    const { device, messages } = await startDevice();
    const calls: Call[] = [];
    device.on('call', (call) => calls.push(call));
    accept();
    const { ref, sdp } = await server.requested('join');
    expect(sdp).toBe('offer 1');
    expect(named(messages, 'ConnectionAcceptted')).toHaveLength(1);
    server.send({ type: 'joined', ref, call_id: 'c1', sdp: 'answer 1' });
    await waitFor(() => FakePeerConnection.last.remoteSdps.length > 0, { what: 'the answer' });
    expect(calls).toMatchObject([{ callId: 'c1', peerCid: 7, role: 'opened' }]);
    let media = 0;
    calls[0]?.on('media', () => media++);
    server.say('StartPopData', '{"call_id":"c1"}');
    await waitFor(() => media === 1, { what: 'media' });
  });

  it('is joined at once, however long the application takes with the message', async () => {
    const { device } = await startDevice();
    device.setCloudMessageListener(() => new Promise(() => undefined));
    accept();
    await server.requested('join');
  });

  it('is joined by the application if it wants that', async () => {
    const { device, messages } = await startDevice({ autoJoin: false });
    accept();
    await waitFor(() => named(messages, 'ConnectionAcceptted').length > 0, { what: 'the acceptance' });
    const joining = device.join('c1', 7, [fakeTrack('audio')]);
    const { ref } = await server.requested('join');
    server.send({ type: 'joined', ref, call_id: 'c1', sdp: 'answer 1' });
    expect((await joining).callId).toBe('c1');
  });

  it('is joined once, even if its connection is made again meanwhile', async () => {
    server.state = {
      ...server.state,
      calls: [
        ...[{ call_id: 'c1', cid: 7, role: 'opened', phase: 'connecting', peer_muted: { audio: false, video: false } }],
      ] as typeof server.state.calls,
    };
    const { device } = await startDevice();
    await server.requested('join');
    accept();
    server.cut();
    await waitFor(() => server.tokens.length === 2, { what: 'the second connection' });
    await waitFor(() => server.requests.filter(({ type }) => type === 'join').length === 2, { what: 'the next join' });
    expect(device.calls.map(({ callId }) => callId)).toEqual(['c1']);
    expect(FakePeerConnection.made.map(({ isClosed }) => isClosed)).toEqual([true, false]);
  });

  it("is not joined if it is the one that the device is opening: both have opened each other's URL", async () => {
    const { device } = await startDevice();
    const opening = device.open(URL_TEXT);
    const { ref } = await server.requested('open');
    accept();
    server.send({ type: 'opened', ref, call_id: 'c1', sdp: 'answer 1' });
    const call = await opening;
    server.say('PopMessage', 'aGVsbG8=', 'm1');
    await server.requested('ack');
    expect(device.calls).toEqual([call]);
    expect(server.requests.filter(({ type }) => type === 'join')).toEqual([]);
  });

  it('and that cannot be joined is closed', async () => {
    const { device } = await startDevice({ localMedia: () => Promise.reject(new Error('the camera is in use')) });
    const errors: string[] = [];
    device.on('error', ({ message }) => errors.push(message));
    accept();
    expect(await server.requested('close')).toEqual({ type: 'close', call_id: 'c1' });
    expect(errors).toEqual(['the camera is in use']);
  });
});

describe('a call', () => {
  it('ends when the other side closes it: everything is let go, and the application is told', async () => {
    const { device, messages, call, connection } = await callingDevice();
    server.say('ConnectionClosed', '{"call_id":"c1","cause":"channel-lost"}');
    expect(await ended(call)).toBe('channel-lost');
    await waitFor(() => named(messages, 'ConnectionClosed').length > 0, { what: 'the message' });
    expect(connection.isClosed).toBe(true);
    expect(device.calls).toEqual([]);
    call.close();
    expect(server.requests.filter(({ type }) => type === 'close')).toEqual([]);
  });

  it('is closed once, however often it is asked', async () => {
    const { device, call } = await callingDevice();
    call.close();
    device.close(call);
    device.close();
    await server.requested('close');
    expect(await ended(call)).toBe('closed');
    expect(server.requests.filter(({ type }) => type === 'close')).toHaveLength(1);
  });

  it('goes on while the connection to the server is lost, and is told about what happened meanwhile', async () => {
    const { device, call, connection } = await callingDevice();
    const states: string[] = [];
    call.on('state', ({ tag }) => states.push(tag));
    call.mute({ audio: true });
    await server.requested('mute');
    const before = server.requests.length;
    server.state = {
      ...server.state,
      calls: server.state.calls.map((it) => ({ ...it, peer_muted: { audio: false, video: true } })),
    };
    server.cut();
    await waitFor(() => states.includes('established'), { what: 'the call established again' });
    expect(states).toEqual(['reconnecting', 'established']);
    expect(call.peerMuted).toEqual({ audio: false, video: true });
    expect(await server.requested('mute', before)).toMatchObject({ audio: true, video: false });
    expect(connection.isClosed).toBe(false);
    expect(device.calls).toEqual([call]);
    // Media flowed all the time, so ICE had no reason to begin again.
    expect(server.requests.filter(({ type }) => type === 'restart')).toEqual([]);
  });

  it('has ended if the server no longer has it', async () => {
    const { call } = await callingDevice();
    server.state = { ...server.state, calls: [] };
    server.cut();
    expect(await ended(call)).toBe('channel-lost');
  });

  it("of an earlier life of the device is closed: it isn't the device's any more", async () => {
    server.state = {
      ...server.state,
      calls: [
        {
          ...{ call_id: 'old', cid: 7, role: 'opener', phase: 'established' },
          peer_muted: { audio: false, video: false },
        },
      ],
    };
    await startDevice();
    expect(await server.requested('close')).toEqual({ type: 'close', call_id: 'old' });
  });

  it.each(['disconnected', 'failed'])('begins ICE again when it is %s, and goes on', async (trouble) => {
    const { call, connection } = await callingDevice();
    connection.ice(trouble);
    expect(call.state).toEqual({ tag: 'reconnecting' });
    const { ref, sdp } = await server.requested('restart');
    expect(sdp).toBe('offer 2 with other ICE');
    server.send({ type: 'restarted', ref, call_id: 'c1', sdp: 'answer 2' });
    await waitFor(() => connection.remoteSdps.length === 2, { what: 'the second answer' });
    connection.ice('connected');
    expect(call.state).toEqual({ tag: 'established' });
  });

  it('tries again when ICE was not begun again, with the refused offer taken back', async () => {
    const { connection } = await callingDevice();
    connection.ice('failed');
    const { ref } = await server.requested('restart');
    const before = server.requests.length;
    server.send({ type: 'error', ref, code: ERROR_CODE.unavailable, message: 'later' });
    const again = await server.requested('restart', before);
    expect(again.sdp).toBe('offer 3 with other ICE');
    server.send({ type: 'restarted', ref: again.ref, call_id: 'c1', sdp: 'answer 3' });
    await waitFor(() => connection.remoteSdps.at(-1) === 'answer 3', { what: 'the answer' });
    connection.ice('connected');
  });

  it('ends by itself when neither media nor the server come back', async () => {
    const { call, connection } = await callingDevice({ settings: { giveUpAfterMs: 30 } });
    await server.stop();
    connection.ice('failed');
    expect(await ended(call)).toBe('channel-lost');
    server = await FakeServer.start();
  });

  it('tells the other side what is off, and switches the tracks', async () => {
    const tracks = [fakeTrack('audio'), fakeTrack('video')];
    const { call } = await callingDevice({ localMedia: async () => tracks });
    call.mute({ video: true });
    expect(await server.requested('mute')).toMatchObject({ call_id: 'c1', audio: false, video: true });
    expect(tracks.map(({ enabled }) => enabled)).toEqual([true, false]);
    const told: object[] = [];
    call.on('peerMuted', (muted) => told.push(muted));
    server.send({ type: 'muted', call_id: 'c1', audio: true, video: false });
    await waitFor(() => told.length > 0, { what: "the other side's mute" });
    expect(told).toEqual([{ audio: true, video: false }]);
  });

  it('measures its quality, tells the server, and tells the application what the server says', async () => {
    const { call } = await callingDevice({ settings: { qualityIntervalMs: 5 } });
    expect(await server.requested('quality')).toMatchObject({ call_id: 'c1', sent: { loss: 0, bitrate_bps: 0 } });
    const told: object[] = [];
    call.on('quality', (quality) => told.push(quality));
    const sent = { loss: 0.25, rtt_ms: 40, bitrate_bps: 100_000 };
    server.send({ type: 'quality', call_id: 'c1', sent });
    await waitFor(() => told.some((quality) => JSON.stringify(quality) === JSON.stringify({ sent })), {
      what: 'the quality',
    });
  });

  it('tells the application what does not reach its side', async () => {
    const { call } = await callingDevice();
    const told: object[] = [];
    call.on('notCarried', (missing) => told.push(missing));
    server.send({ type: 'not-carried', call_id: 'c1', way: 'sent', message: 'video H264: the client takes VP8' });
    await waitFor(() => told.length > 0, { what: 'what is missing' });
    expect(told).toEqual([{ way: 'sent', message: 'video H264: the client takes VP8' }]);
  });

  it('has the picture in its stream only when it comes, because a `video` element waits for it without a sound', async () => {
    vi.stubGlobal(
      'MediaStream',
      class {
        readonly tracks: object[];
        constructor(tracks: readonly object[]) {
          this.tracks = [...tracks];
        }
        addTrack(track: object) {
          this.tracks.push(track);
        }
      },
    );
    const { call, connection } = await callingDevice();
    const sound = Object.assign(new EventTarget(), { kind: 'audio', muted: true });
    const picture = Object.assign(new EventTarget(), { kind: 'video', muted: true });
    for (const track of [sound, picture]) connection.ontrack?.({ track });
    expect(call.remoteTracks).toEqual([sound, picture]);
    expect(call.remoteStream).toMatchObject({ tracks: [sound] });
    picture.dispatchEvent(new Event('unmute'));
    expect(call.remoteStream).toMatchObject({ tracks: [sound, picture] });
  });

  it('sends less picture on a poor path, then none, and prefers its sound', async () => {
    const { connection } = await callingDevice({ settings: { qualityIntervalMs: 5 } });
    const sent = (kind: string) => connection.senders.find(({ track }) => track.kind === kind)?.encoding;
    expect(sent('audio')).toEqual({ priority: 'high', networkPriority: 'high' });
    await waitFor(
      () => {
        connection.packets = { sent: connection.packets.sent + 100, lost: connection.packets.lost + 20 };
        return JSON.stringify(sent('video')) === JSON.stringify({ maxBitrate: 120_000, active: false });
      },
      { what: 'no picture', intervalMs: 1 },
    );
    expect(sent('audio')).toEqual({ priority: 'high', networkPriority: 'high' });
    const lost = connection.packets.lost;
    await waitFor(
      () => {
        connection.packets = { sent: connection.packets.sent + 100, lost };
        return JSON.stringify(sent('video')) === JSON.stringify({ maxBitrate: 1_500_000, active: true });
      },
      { what: 'the whole picture again', intervalMs: 1 },
    );
  });

  it('is closed when the service is stopped', async () => {
    const { device, call } = await callingDevice();
    device.stopCloudService();
    await server.requested('close');
    expect(await ended(call)).toBe('closed');
  });
});

describe('ringing', () => {
  it('is told, refused and given up by requests that are answered', async () => {
    const { device } = await startDevice();
    for (const [act, type] of [
      [() => device.ringing(URL_TEXT), 'ringing'],
      [() => device.decline(URL_TEXT), 'decline'],
      [() => device.cancel(), 'cancel'],
    ] as const) {
      const done = act();
      const request = await server.requested(type);
      server.send({ type: 'done', ref: request.ref });
      await done;
    }
  });

  it('of others is told to the application, and what rings is known at every start', async () => {
    const rings = [{ cid: 7, direction: 'in' as const, url: URL_TEXT }];
    server.state = { ...server.state, rings };
    const device = makeDevice();
    const told: unknown[] = [];
    device.on('rings', (event) => told.push(event));
    device.on('ringing', (event) => told.push(event));
    device.on('stoppedRinging', (event) => told.push(event));
    await device.startCloudService('token-1');
    server.send({ type: 'ringing', cid: 7 });
    server.send({ type: 'stopped-ringing', cid: 7, cause: 'answered-elsewhere' });
    await waitFor(() => told.length === 3, { what: 'three events' });
    expect(told).toEqual([rings, { cid: 7 }, { cid: 7, cause: 'answered-elsewhere' }]);
  });
});
