import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';

// The built program, which runs in a separate process as in production.
const MAIN = join(import.meta.dirname, '../dist/main.js');

interface Frame {
  id: string;
  act: string;
  err: { ec?: number; em?: string; dm: string };
  ret: { base_uri?: string };
  ebd?: unknown;
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
};

const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, { timeout: 20_000, interval: 50 });

const isRunning = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');

const childrenOf = (pid: number): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((child) => {
      try {
        const stat = readFileSync(`/proc/${child}/stat`, 'utf8');
        return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(pid);
      } catch {
        // It ended in the meantime.
        return false;
      }
    });

/** What a real RTSP receiver finds in a push. */
interface Received {
  streams: { codec_name: string; profile?: string; width?: number; height?: number; avg_frame_rate: string }[];
}

const receiver = (url: string): { readonly received: Promise<Received>; readonly process: ChildProcess } => {
  const process = spawn(
    'ffprobe',
    ['-loglevel', 'error', '-rtsp_flags', 'listen', '-of', 'json', '-show_streams', url],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let output = '';
  process.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return { received: once(process, 'close').then(() => JSON.parse(output) as Received), process };
};

/** Receives a push until it ends. */
const sink = (url: string): ChildProcess =>
  spawn('ffmpeg', ['-loglevel', 'quiet', '-nostdin', '-rtsp_flags', 'listen', '-i', url, '-f', 'null', '-'], {
    stdio: 'ignore',
  });

let cloud: WebSocketServer;
let robots: ChildProcess[];
let programs: ChildProcess[];
let tokens: (string | undefined)[];

beforeEach(async () => {
  robots = [];
  programs = [];
  tokens = [];
  cloud = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  cloud.on('connection', (_socket, request) => tokens.push(request.headers.authorization));
  await once(cloud, 'listening');
});
afterEach(async () => {
  for (const child of [...robots, ...programs]) child.kill('SIGKILL');
  for (const socket of cloud.clients) socket.terminate();
  cloud.close();
  await once(cloud, 'close');
});

const connection = async (): Promise<WebSocket> => {
  const [socket] = (await once(cloud, 'connection')) as [WebSocket];
  return socket;
};

const startRobot = async (...args: string[]): Promise<{ readonly child: ChildProcess; readonly socket: WebSocket }> => {
  const address = cloud.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const url = `ws://127.0.0.1:${address.port}/channel/robot`;
  const connecting = connection();
  const child = spawn(process.execPath, [MAIN, '--id', 'r1', '--token', 'secret', '--url', url, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  robots.push(child);
  return { child, socket: await connecting };
};

let asked = 0;
const say = (socket: WebSocket, act: string, camera: string, token?: object): string => {
  const id = `c${++asked}`;
  socket.send(JSON.stringify({ id, act, arg: { robot_id: 'r1', camera, token }, ebd: { ref: id } }));
  return id;
};

const ask = async (socket: WebSocket, act: string, camera: string, token?: object): Promise<Frame> => {
  const heard: Frame[] = [];
  const listen = (data: unknown) => void heard.push(JSON.parse(String(data)) as Frame);
  socket.on('message', listen);
  const id = say(socket, act, camera, token);
  try {
    return await soon(() => {
      const found = heard.find((frame) => frame.id === id);
      if (found === undefined) throw new Error('no reply yet');
      return found;
    });
  } finally {
    socket.off('message', listen);
  }
};

const listening = async (port: number): Promise<void> => {
  await soon(() => {
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    if (!readFileSync('/proc/net/tcp', 'utf8').includes(`:${hex} 00000000:0000 0A`)) throw new Error('nobody listens');
  });
};

const startSink = async (name: string): Promise<{ readonly uri: string; readonly process: ChildProcess }> => {
  const port = await freePort();
  const uri = `rtsp://127.0.0.1:${port}/demo/r1/${name}`;
  const process = sink(uri);
  programs.push(process);
  await listening(port);
  return { uri, process };
};

describe('a simulated robot', () => {
  it('sends its token and pushes a picture that a real receiver can read', async () => {
    const { socket } = await startRobot();
    expect(tokens).toEqual(['Bearer secret']);
    const port = await freePort();
    const uri = `rtsp://127.0.0.1:${port}/demo/r1/front`;
    const { received, process } = receiver(uri);
    programs.push(process);
    await listening(port);
    const { id, act, err, ret, ebd } = await ask(socket, 'robot.start_stream', 'front', { base_uri: '/b', uri });
    expect({ act, err, ret, ebd }).toEqual({
      act: 'robot.start_stream!',
      err: { ec: 0, em: 'ok', dm: 'ok' },
      ret: { base_uri: '/b' },
      ebd: { ref: id },
    });
    const { streams } = await received;
    expect(streams).toMatchObject([
      { codec_name: 'h264', profile: 'Constrained Baseline', width: 640, height: 360 },
      { codec_name: 'aac' },
    ]);
  }, 60_000);

  it('pushes in another size and with Opus if told to', async () => {
    const { socket } = await startRobot('--size', '320x240', '--audio', 'opus');
    const port = await freePort();
    const uri = `rtsp://127.0.0.1:${port}/demo/r1/back`;
    const { received, process } = receiver(uri);
    programs.push(process);
    await listening(port);
    expect((await ask(socket, 'robot.start_stream', 'back', { base_uri: '/b', uri })).err.dm).toBe('ok');
    expect((await received).streams).toMatchObject([{ codec_name: 'h264', width: 320 }, { codec_name: 'opus' }]);
  }, 60_000);

  it('continues a running push, replaces it for another stream, and stops', async () => {
    const { child, socket } = await startRobot();
    const [one, two] = [await startSink('one'), await startSink('two')];
    const pushes = () => childrenOf(child.pid ?? 0);
    await ask(socket, 'robot.start_stream', 'front', { base_uri: '/1', uri: one.uri });
    const [first] = pushes();
    expect((await ask(socket, 'robot.start_stream', 'front', { base_uri: '/1', uri: one.uri })).err.dm).toBe('ok');
    expect(pushes()).toEqual([first]);
    await ask(socket, 'robot.start_stream', 'front', { base_uri: '/2', uri: two.uri });
    const [second] = pushes();
    expect([pushes().length, second === first]).toEqual([1, false]);
    // A stop for a stream that has already been replaced ends nothing.
    await ask(socket, 'robot.stop_stream', 'front', { base_uri: '/1' });
    expect(pushes()).toEqual([second]);
    expect(await ask(socket, 'robot.stop_stream', 'front', { base_uri: '/2' })).toMatchObject({
      err: { dm: 'ok' },
      ret: {},
    });
    expect(pushes()).toEqual([]);
  }, 60_000);

  it.each([
    ['another robot', { act: 'robot.start_stream', arg: { robot_id: 'r2', camera: 'front' } }, 'invalid_arg'],
    [
      'a camera that it does not have',
      { act: 'robot.start_stream', arg: { robot_id: 'r1', camera: 'top' } },
      'invalid_arg',
    ],
    ['an unknown act', { act: 'robot.fly', arg: { robot_id: 'r1', camera: 'front' } }, 'invalid_operation'],
  ])('refuses %s', async (_what, request, dm) => {
    const { socket } = await startRobot();
    socket.send('nonsense');
    socket.send(JSON.stringify({ id: 'x', ...request }));
    const [data] = (await once(socket, 'message')) as [Buffer];
    expect(JSON.parse(data.toString())).toMatchObject({ id: 'x', err: { dm } });
  });

  it('reports it when its ffmpeg can’t push', async () => {
    const { child, socket } = await startRobot();
    const uri = `rtsp://127.0.0.1:${await freePort()}/nobody`;
    expect((await ask(socket, 'robot.start_stream', 'front', { base_uri: '/b', uri })).err.dm).toBe('ffmpeg_failed');
    expect(childrenOf(child.pid ?? 0)).toEqual([]);
  }, 60_000);

  it('starts ffmpeg again when ffmpeg dies', async () => {
    const { child, socket } = await startRobot();
    const { uri, process: first } = await startSink('front');
    await ask(socket, 'robot.start_stream', 'front', { base_uri: '/b', uri });
    const [pid = 0] = childrenOf(child.pid ?? 0);
    first.kill('SIGKILL');
    await once(first, 'close');
    const again = sink(uri);
    programs.push(again);
    process.kill(pid, 'SIGKILL');
    await soon(() => {
      const [other] = childrenOf(child.pid ?? 0);
      expect(other).toBeTypeOf('number');
      expect(other).not.toBe(pid);
    });
  }, 60_000);

  it('reconnects when it has lost the cloud', async () => {
    const { socket } = await startRobot();
    const again = connection();
    socket.terminate();
    await again;
    expect(tokens).toEqual(['Bearer secret', 'Bearer secret']);
  });
});

describe('no ffmpeg outlives its robot', () => {
  it.each(['SIGTERM', 'SIGINT', 'SIGKILL'] as const)(
    'that is ended by %s',
    async (signal) => {
      const { child, socket } = await startRobot();
      const { uri } = await startSink('front');
      await ask(socket, 'robot.start_stream', 'front', { base_uri: '/b', uri });
      const pids = childrenOf(child.pid ?? 0);
      expect(pids).toHaveLength(1);
      child.kill(signal);
      await soon(() => expect(pids.filter(isRunning)).toEqual([]));
    },
    60_000,
  );
});

describe('faults', () => {
  it('silent: no answer, but the socket is alive', async () => {
    const { socket } = await startRobot('--faults', 'silent');
    let heard = 0;
    socket.on('message', () => (heard += 1));
    say(socket, 'robot.stop_stream', 'front');
    const pong = once(socket, 'pong');
    socket.ping();
    await pong;
    expect(heard).toBe(0);
  });

  it('ffmpeg-failed and terse: an error without ec', async () => {
    const { socket } = await startRobot('--faults', 'ffmpeg-failed,terse');
    const { err } = await ask(socket, 'robot.start_stream', 'front', { base_uri: '/b', uri: 'rtsp://127.0.0.1:1/' });
    expect(err).toEqual({ dm: 'ffmpeg_failed' });
  });

  it('slow: the answer comes after everything else', async () => {
    const { socket } = await startRobot('--faults', 'slow');
    const heard: string[] = [];
    socket.on('message', () => void heard.push('answer'));
    socket.on('pong', () => void heard.push('pong'));
    const answer = ask(socket, 'robot.stop_stream', 'front');
    socket.ping();
    expect((await answer).err.dm).toBe('ok');
    expect(heard).toEqual(['pong', 'answer']);
  });
});
