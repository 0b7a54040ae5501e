import { EndReason, ErrorCode, WeirError } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ofRobot } from './testing/grants.js';
import { App, Robot, type Client } from './testing/clients.js';
import { Instance, Surroundings } from './testing/service.js';

const ENV = {
  WEIR_ROBOT_COMMAND_TIMEOUT_MS: '1500',
  WEIR_ROBOT_LINGER_MS: '1000',
  WEIR_ROBOT_CREDENTIAL_CHECK_MS: '200',
  WEIR_PUBLIC_URL: 'https://weir.example/',
};

let around: Surroundings;
let here: Instance;
let there: Instance;
let clients: Client[] = [];

const opened = async <C extends Client>(client: Promise<C>): Promise<C> => {
  clients.push(await client);
  return client;
};
const app = async (at = here): Promise<App> => opened(App.open(at.wsUrl, await around.auth.token()));
const robot = async (at = here, id = 'r1'): Promise<Robot> => {
  const connected = await opened(Robot.open(at.wsUrl, around.auth.key(ofRobot(id)), around.media));
  await waitFor(async () => (await at.channel.presence.online('demo', [id])).has(id), { what: 'the robot' });
  return connected;
};

beforeAll(async () => {
  around = await Surroundings.start();
  [here, there] = await Promise.all([Instance.start(around, ENV), Instance.start(around, ENV)]);
  await here.channel.fleet.create('demo', 'r1', [
    { name: 'back' },
    { name: 'front' },
    { name: 'gate', rtspUrl: 'rtsp://user:secret@198.51.100.7/live' },
    { name: 'pinned', pinned: true },
  ]);
}, 60_000);

afterEach(async () => {
  for (const client of clients) client.end();
  clients = [];
  await waitFor(() => {
    around.media.restart();
    const [one, other] = [here.channel.streams.load, there.channel.streams.load];
    return one.starting + one.live + other.starting + other.live === 0;
  });
});

beforeEach(() => around.media.reset());

afterAll(async () => {
  await Promise.all([here.stop(), there.stop()]);
  await around.stop();
});

describe('the original document’s own call', () => {
  it('gets the original document’s reply, from a client that knows nothing of weir', async () => {
    await here.channel.fleet.create('demo', 'robot_dog_sr_30002', [{ name: 'front' }]);
    await robot(here, 'robot_dog_sr_30002');
    const token = await around.auth.token();
    const socket = new WebSocket(`${here.wsUrl}/channel/app?tonken=${token}`);
    const reply = await new Promise<string>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('message', (data) => resolve(String(data)));
      socket.on('open', () =>
        socket.send(`{
    "id": "abc",
    "act": "robot.start_stream",
    "arg": {"robot_id": "robot_dog_sr_30002", "camera": "front"}
}`),
      );
    });
    socket.terminate();
    const uri = 'rtsp://127.0.0.1:8554/demo/robot_dog_sr_30002/front?expires=3600000&signature=1';
    expect(reply).toBe(
      '{"id":"abc","act":"robot.start_stream!","err":{"ec":0,"em":"This operation is successful.","dm":"ok"},' +
        `"ret":{"uri":"${uri}","hls_uri":"https://weir.example/videos/robot_dog_sr_30002/index.m3u8",` +
        `"rtsp_uri":"${uri}","stream":"robot_dog_sr_30002/front"}}`,
    );
  });
});

describe('robot.start_stream', () => {
  it('has the robot push to a signed URL and replies when the picture flows', async () => {
    const [client, dog] = [await app(), await robot()];
    dog.behaviour = 'acknowledges-only';
    const reply = client.start();
    const command = await dog.hears(({ act }) => act === 'robot.start_stream');
    const { request, pushUrl } = around.media.named('r1/front');
    expect(command.arg).toEqual({
      robot_id: 'r1',
      camera: 'front',
      token: { base_uri: `/demo/r1/front/${request.sessionId}`, uri: pushUrl },
    });
    expect(request).toMatchObject({
      tenant: 'demo',
      ownerId: here.bus.instanceId,
      labels: { service: 'robot-channel', robotId: 'r1', camera: 'front' },
      source: { case: 'rtspPush', value: { expiresInMs: 1500 } },
    });
    expect(client.heard.filter(({ id }) => id !== undefined)).toEqual([]);
    around.media.push(pushUrl);
    expect((await reply).ret).toMatchObject({ stream: 'r1/front' });
  });

  it('names the camera in the HLS URL, except the default one', async () => {
    const [client] = [await app(), await robot()];
    expect((await client.start('r1', 'back')).ret.hls_uri).toBe('https://weir.example/videos/r1/back/index.m3u8');
    expect((await client.start('r1', 'front')).ret.hls_uri).toBe('https://weir.example/videos/r1/index.m3u8');
  });

  it('is one command and one stream for all apps that ask at once, on every instance', async () => {
    const clients = [await app(), await app(), await app(there), await app(there)];
    const dog = await robot(there);
    const replies = await Promise.all(clients.map((client) => client.start()));
    for (const { err, ret } of replies) expect([err?.dm, ret?.stream]).toEqual(['ok', 'r1/front']);
    expect(new Set(replies.map(({ ret }) => ret.uri)).size).toBe(4);
    expect((await clients[0]?.start())?.err?.ec).toBe(0);
    expect([dog.starts(), around.media.ingests.length]).toEqual([1, 1]);
  });

  it('reaches a robot that is connected to another instance', async () => {
    const dog = await robot(there);
    const client = await app(here);
    expect((await client.start()).err?.dm).toBe('ok');
    expect(dog.starts()).toBe(1);
    expect(here.channel.streams.load.live).toBe(1);
  });

  it('pulls a camera that has a URL, once, and asks no robot', async () => {
    const clients = [await app(), await app(there)];
    const dog = await robot();
    const replies = await Promise.all(clients.map((client) => client.start('r1', 'gate')));
    expect(replies.map(({ err }) => err?.ec)).toEqual([0, 0]);
    expect(around.media.ingests.map(({ source }) => source)).toMatchObject([
      { case: 'rtspPull', value: { url: 'rtsp://user:secret@198.51.100.7/live' } },
    ]);
    dog.end();
    await waitFor(async () => !(await here.channel.presence.online('demo', ['r1'])).has('r1'));
    expect((await clients[0]?.start('r1', 'gate'))?.err?.ec).toBe(0);
    expect(dog.commands).toEqual([]);
  });

  it('accepts the picture instead of an acknowledgement', async () => {
    const [client, dog] = [await app(), await robot()];
    dog.behaviour = 'pushes-only';
    expect((await client.start()).err?.ec).toBe(0);
  });
});

describe('robot.start_stream fails', () => {
  const outcome = ({ err, ret }: Awaited<ReturnType<App['start']>>) => [err?.ec, err?.dm, ret];

  it('when the robot is offline, at once, and claims nothing', async () => {
    const client = await app();
    expect(outcome(await client.start())).toEqual([400, 'robot_offline', null]);
    expect(around.media.ingests).toEqual([]);
  });

  it.each([
    ['silent', 106, 'timeout'],
    ['acknowledges-only', 106, 'timeout'],
    ['ffmpeg-failed', 106, 'ffmpeg_failed'],
    ['odd-error', 106, 'camera_busy'],
  ] as const)('when the robot is %s, and the next try is a new one', async (behaviour, ec, dm) => {
    const [client, dog] = [await app(), await robot()];
    dog.behaviour = behaviour;
    expect(outcome(await client.start())).toEqual([ec, dm, null]);
    dog.behaviour = 'honest';
    expect((await client.start()).err?.ec).toBe(0);
    expect(dog.starts()).toBe(2);
    // The failed try has closed its session.
    expect(around.media.closed).toHaveLength(1);
  });

  it('and tells a robot that sent no picture to stop', async () => {
    const [client, dog] = [await app(), await robot()];
    dog.behaviour = 'acknowledges-only';
    await client.start();
    await waitFor(() => dog.stops() === 1);
  });

  it('when the robot is lost in between, at once', async () => {
    const [client, dog] = [await app(), await robot()];
    dog.behaviour = 'silent';
    const reply = client.start();
    await dog.hears(({ act }) => act === 'robot.start_stream');
    dog.end();
    expect(outcome(await reply)).toEqual([400, 'robot_offline', null]);
  });

  it('when the robot connects anew in between, and the next try reaches the new socket', async () => {
    const [client, dog] = [await app(), await robot()];
    dog.behaviour = 'silent';
    const reply = client.start();
    await dog.hears(({ act }) => act === 'robot.start_stream');
    const again = await robot(there);
    expect(outcome(await reply)).toEqual([400, 'robot_offline', null]);
    expect((await client.start()).err?.ec).toBe(0);
    expect(again.starts()).toBe(1);
  });

  it.each([
    [EndReason.SOURCE_TIMEOUT, 106, 'timeout'],
    [EndReason.SOURCE_FAILED, 106, 'connection_error'],
    [EndReason.TERMINATED, 106, 'failed'],
    [EndReason.NODE_LOST, 106, 'failed'],
  ])('when the media core ends it with reason %i', async (reason, ec, dm) => {
    around.media.pullsConnect = false;
    const client = await app();
    const reply = client.start('r1', 'gate');
    await waitFor(() => around.media.has('r1/gate'));
    around.media.end('r1/gate', reason, 'no route to host');
    const { err } = await reply;
    expect([err?.ec, err?.dm]).toEqual([ec, dm]);
  });

  it.each([
    [ErrorCode.ALREADY_EXISTS, 106, 'logic_error'],
    [ErrorCode.FORBIDDEN, 106, 'connection_error'],
    [ErrorCode.UNAVAILABLE, 503, 'connection_error'],
    [ErrorCode.INTERNAL, 500, 'logic_error'],
  ])('when the media core refuses with code %i', async (code, ec, dm) => {
    around.media.ingestError = new WeirError(code, 'no');
    const [client] = [await app(), await robot()];
    expect(outcome(await client.start())).toEqual([ec, dm, null]);
  });

  it('when a pulled camera brings no picture in time', async () => {
    around.media.pullsConnect = false;
    const client = await app();
    expect(outcome(await client.start('r1', 'gate'))).toEqual([106, 'timeout', null]);
    await waitFor(() => around.media.closed.length === 1);
  });

  it('for a camera that the robot does not have', async () => {
    const client = await app();
    expect(outcome(await client.start('r1', 'top'))).toEqual([103, 'invalid_arg', null]);
  });
});

describe('a stream', () => {
  const live = async () => {
    const [client, dog] = [await app(), await robot()];
    expect((await client.start()).err?.ec).toBe(0);
    return { client, dog };
  };
  const isGone = () => waitFor(() => !around.media.has('r1/front'), { what: 'the end of the stream' });

  it('ends after some time if nobody comes, and the robot is told', async () => {
    const { dog } = await live();
    await isGone();
    expect(dog.commands).toEqual(['robot.start_stream', 'robot.stop_stream']);
  });

  it('ends some time after its last viewer has left, and goes on if a viewer comes in between', async () => {
    const { client, dog } = await live();
    around.media.watch('r1/front', 2);
    await new Promise((resolve) => setTimeout(resolve, 1_800));
    expect(around.media.has('r1/front')).toBe(true);
    around.media.watch('r1/front', 0);
    await isGone();
    await waitFor(() => dog.stops() === 1);
    expect((await client.start()).err?.ec).toBe(0);
    expect(dog.starts()).toBe(2);
  });

  it('that is pinned goes on without viewers, and an operator can let it go', async () => {
    const [client] = [await app(), await robot()];
    expect((await client.start('r1', 'pinned')).err?.ec).toBe(0);
    expect((await client.stop('r1', 'pinned')).ret).toEqual({ stopped: false });
    await new Promise((resolve) => setTimeout(resolve, 1_800));
    expect(around.media.has('r1/pinned')).toBe(true);
    await there.channel.fleet.changeCamera('demo', 'r1', 'pinned', { pinned: false });
    await waitFor(() => !around.media.has('r1/pinned'));
    await here.channel.fleet.changeCamera('demo', 'r1', 'pinned', { pinned: true });
  });

  it('ends at once when the only app that asked for it stops it', async () => {
    const { client, dog } = await live();
    expect((await client.stop()).ret).toEqual({ stopped: true });
    expect([around.media.has('r1/front'), dog.stops()]).toEqual([false, 1]);
    expect((await client.stop()).ret).toEqual({ stopped: true });
  });

  it('goes on when another app wants it, or somebody watches', async () => {
    const { client } = await live();
    const other = await app(there);
    expect((await other.start()).err?.ec).toBe(0);
    expect((await other.stop()).ret).toEqual({ stopped: false });
    around.media.watch('r1/front', 1);
    await waitFor(async () => (await client.stop()).ret.stopped === false);
    expect(around.media.has('r1/front')).toBe(true);
  });

  it('is stopped from another instance', async () => {
    const { client } = await live();
    const other = await app(there);
    await other.start();
    await client.stop();
    expect((await other.stop()).ret).toEqual({ stopped: true });
    expect(around.media.has('r1/front')).toBe(false);
  });

  it('that the media core ended is forgotten: the next start is a new one', async () => {
    const { client, dog } = await live();
    around.media.end('r1/front', EndReason.SOURCE_FAILED);
    await waitFor(() => here.channel.streams.load.live === 0);
    expect((await client.start()).err?.ec).toBe(0);
    expect(dog.starts()).toBe(2);
  });

  it('outlives the socket of its robot as long as the push goes on', async () => {
    const { client, dog } = await live();
    around.media.watch('r1/front', 1);
    dog.end();
    await waitFor(async () => !(await here.channel.presence.online('demo', ['r1'])).has('r1'));
    expect((await client.start()).err?.ec).toBe(0);
    expect(around.media.ingests).toHaveLength(1);
  });

  it.each([
    ['the same instance', () => here],
    ['another instance', () => there],
  ])('is begun again by a robot that was restarted and finds %s', async (_where, at) => {
    const { dog } = await live();
    around.media.watch('r1/front', 1);
    const asked = dog.heard.find(({ act }) => act === 'robot.start_stream');
    dog.end();
    const again = await robot(at());
    const { arg } = await again.hears(({ act }) => act === 'robot.start_stream');
    expect(arg).toEqual(asked?.arg);
    expect(around.media.ingests).toHaveLength(1);
  });

  it('ends when its robot comes back and can not go on, so that the next start is a new one', async () => {
    const { client, dog } = await live();
    around.media.watch('r1/front', 1);
    dog.end();
    const key = around.auth.key(ofRobot('r1'));
    const again = await opened(Robot.open(here.wsUrl, key, around.media, 'ffmpeg-failed'));
    await isGone();
    again.behaviour = 'honest';
    expect((await client.start()).err?.ec).toBe(0);
  });

  it.each([
    ['the same instance', () => here],
    ['another instance', () => there],
  ])('ends with the key of its robot, which was connected to %s and is not any more', async (_where, at) => {
    const key = around.auth.key(ofRobot('r1'));
    const dog = await opened(Robot.open(at().wsUrl, key, around.media));
    await waitFor(async () => (await here.channel.presence.online('demo', ['r1'])).has('r1'));
    const client = await app(here);
    expect((await client.start()).err?.ec).toBe(0);
    around.media.watch('r1/front', 1);
    dog.end();
    around.auth.removeKey(key);
    await isGone();
  });

  it('ends when its camera is removed, and when its camera gets another URL', async () => {
    const { client } = await live();
    around.media.watch('r1/front', 1);
    await there.channel.fleet.changeCamera('demo', 'r1', 'front', { rtspUrl: 'rtsp://198.51.100.9/' });
    await isGone();
    expect((await client.start()).err?.ec).toBe(0);
    expect(around.media.ingests.at(-1)?.source.case).toBe('rtspPull');
    await there.channel.fleet.removeCamera('demo', 'r1', 'front');
    await isGone();
    expect((await client.start()).err?.dm).toBe('invalid_arg');
    await here.channel.fleet.addCamera('demo', 'r1', 'front', {});
  });
});
