import { Bus } from '@weir/bus';
import { ErrorCode, StreamRecordings, WeirError, type StartStreamRecordingRequest } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { everything, ofRobot } from './testing/grants.js';
import { App, Robot, type Client } from './testing/clients.js';
import { Instance, Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Instance;
const clients: Client[] = [];

beforeAll(async () => {
  around = await Surroundings.start();
  service = await Instance.start(around, { WEIR_PUBLIC_URL: 'http://weir.example:8080' });
  await service.channel.fleet.create('other', 'foreign', [{ name: 'front' }]);
  await service.channel.fleet.create('demo', 'r1', [{ name: 'front' }, { name: 'back' }]);
  clients.push(await Robot.open(service.wsUrl, around.auth.key(ofRobot('r1')), around.media));
  clients.push(await Robot.open(service.wsUrl, around.auth.key(ofRobot('foreign'), 'other'), around.media));
  await waitFor(() => service.channel.robots.count === 2);
}, 60_000);

afterAll(async () => {
  for (const client of clients) client.end();
  await service.stop();
  await around.stop();
});

const roles = {
  member: async () => around.auth.token(everything),
  operator: async () => around.auth.token([...everything, { verb: 'administer', object: '*' }]),
  viewer: async () => around.auth.token([{ verb: 'play', object: '*' }]),
  'viewer of the front camera': async () => around.auth.token([{ verb: 'play', object: 'r1/front' }]),
  'viewer of another robot': async () => around.auth.token([{ verb: 'play', object: 'r10/*' }]),
  'publisher only': async () => around.auth.token([{ verb: 'publish', object: '*' }]),
  'administrator only': async () => around.auth.token([{ verb: 'administer', object: '*' }]),
  'nobody special': async () => around.auth.token([]),
  'foreign member': async () => around.auth.token(everything, { tenant: 'other' }),
  'the robot itself': async () => around.auth.token(ofRobot('r1')),
} as const;
type Role = keyof typeof roles;

const OF_FRONT = { robot_id: 'r1', camera: 'front' };
const OF_BACK = { robot_id: 'r1', camera: 'back' };
const acts = {
  'start front': ['robot.start_stream', OF_FRONT],
  'start back': ['robot.start_stream', OF_BACK],
  'stop front': ['robot.stop_stream', OF_FRONT],
  'list cameras': ['robot.list_cameras', { robot_id: 'r1' }],
  'start foreign': ['robot.start_stream', { robot_id: 'foreign', camera: 'front' }],
  'start nothing': ['robot.start_stream', { robot_id: 'nothing', camera: 'front' }],
  unknown: ['robot.fly', {}],
} as const;

const ALL = [0, 0, 0, 0, 107, 107, 102] as const;
const NONE = [107, 107, 107, 107, 107, 107, 102] as const;
/** The `ec` of the reply to each act, in the order of the acts, and the robots and cameras that the role is shown. */
const table: Record<Role, readonly [ecs: readonly number[], robots: readonly string[], cameras: readonly string[]]> = {
  member: [ALL, ['r1', 'robot_dog_sr_20001', 'robot_dog_sr_20002'], ['back', 'front']],
  operator: [ALL, ['r1', 'robot_dog_sr_20001', 'robot_dog_sr_20002'], ['back', 'front']],
  viewer: [ALL, ['r1', 'robot_dog_sr_20001', 'robot_dog_sr_20002'], ['back', 'front']],
  'viewer of the front camera': [[0, 107, 0, 0, 107, 107, 102], ['r1'], ['front']],
  'viewer of another robot': [NONE, [], []],
  'publisher only': [NONE, [], []],
  'administrator only': [NONE, [], []],
  'nobody special': [NONE, [], []],
  'foreign member': [[107, 107, 107, 107, 0, 107, 102], ['foreign'], []],
  'the robot itself': [NONE, [], []],
};

describe.each(Object.entries(table))('as %s', (role, [ecs, robots, cameras]) => {
  let client: App;
  beforeAll(async () => {
    client = await App.open(service.wsUrl, await roles[role as Role]());
    clients.push(client);
  });

  it.each(Object.keys(acts).map((name, index) => [name, ecs[index]] as const))(
    '%s is answered with %i',
    async (name, ec) => {
      const [act, arg] = acts[name as keyof typeof acts];
      const { err, ret, act: replied } = await client.asks(act, arg);
      expect([replied, err?.ec]).toEqual([`${act}!`, ec]);
      if (ec !== 0) expect(ret).toBeNull();
    },
  );

  it('is told of these robots and cameras', async () => {
    const { ret } = await client.asks('robot.list', {});
    expect(ret.robots.map(({ robot_id }: { robot_id: string }) => robot_id)).toEqual(robots);
    const listed = await client.asks('robot.list_cameras', { robot_id: 'r1' });
    expect((listed.ret?.cameras ?? []).map(({ camera }: { camera: string }) => camera)).toEqual(cameras);
  });
});

it('as nobody at all, not even the socket is opened', async () => {
  const client = await App.open(service.wsUrl, undefined);
  expect(client.refused?.status).toBe(401);
});

it('a list of cameras tells what an app needs, and no more', async () => {
  await service.channel.fleet.addCamera('demo', 'r1', 'secret', { rtspUrl: 'rtsp://user:password@198.51.100.7/' });
  const client = await App.open(service.wsUrl, await roles.member());
  clients.push(client);
  expect((await client.asks('robot.list_cameras', { robot_id: 'r1' })).ret).toEqual({
    cameras: [
      {
        camera: 'back',
        default: false,
        stream: 'r1/back',
        hls_uri: 'http://weir.example:8080/videos/r1/back/index.m3u8',
      },
      { camera: 'front', default: true, stream: 'r1/front', hls_uri: 'http://weir.example:8080/videos/r1/index.m3u8' },
      {
        camera: 'secret',
        default: false,
        stream: 'r1/secret',
        hls_uri: 'http://weir.example:8080/videos/r1/secret/index.m3u8',
      },
    ],
  });
});

describe('recording a camera', () => {
  const asked: StartStreamRecordingRequest[] = [];
  let recorder: Bus;

  beforeAll(async () => {
    recorder = await Bus.connect({ url: around.nats.url, service: 'recording', instanceId: 'recording-1' });
    recorder.serve(StreamRecordings.method.start, (request) => {
      if (request.streamName === 'r1/back') throw new WeirError(ErrorCode.NOT_FOUND, 'no such stream');
      asked.push(request);
      return {
        recording: { recordingId: 'a-recording', startedAtMs: 1_700_000_000_000n, fileName: 'a-recording.mp4' },
      };
    });
    recorder.serve(StreamRecordings.method.stop, ({ tenant, key }) => ({
      stoppedCount: asked.splice(0).some((request) => request.tenant === tenant && request.key === key) ? 1 : 0,
    }));
  });
  afterAll(() => recorder.drain({ graceMs: 200 }));

  const as = async (role: Role): Promise<App> => {
    const client = await App.open(service.wsUrl, await roles[role]());
    clients.push(client);
    return client;
  };

  it('starts, and stops once', async () => {
    const client = await as('member');
    expect(await client.asks('robot.start_recording', OF_FRONT)).toMatchObject({
      act: 'robot.start_recording!',
      err: { ec: 0 },
      ret: { recording_id: 'a-recording', started_at: 1_700_000_000_000 },
    });
    expect(asked).toMatchObject([
      { tenant: 'demo', streamName: 'r1/front', labels: { protocol: 'robot', robotId: 'r1', camera: 'front' } },
    ]);
    expect((await client.asks('robot.stop_recording', OF_FRONT)).ret).toEqual({ stopped: true });
    expect((await client.asks('robot.stop_recording', OF_FRONT)).ret).toEqual({ stopped: false });
  });

  it('is refused without a stream, without such a camera and without the grant record', async () => {
    const client = await as('member');
    const { err, ret } = await client.asks('robot.start_recording', OF_BACK);
    expect([err, ret]).toEqual([
      { ec: 404, dm: 'no_stream', em: 'The camera has no stream now. Start it first.' },
      null,
    ]);
    expect((await client.asks('robot.start_recording', { robot_id: 'r1', camera: 'none' })).err?.ec).toBe(103);
    for (const role of ['viewer', 'foreign member', 'the robot itself'] as const) {
      const other = await as(role);
      expect((await other.asks('robot.start_recording', OF_FRONT)).err?.ec).toBe(107);
      expect((await other.asks('robot.stop_recording', OF_FRONT)).err?.ec).toBe(107);
    }
    expect(asked).toEqual([]);
  });
});
