import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { DEFAULT_SERVER_CONFIG } from '@weir/protocol-rtsp';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { RtspNode, type RtspNodeOptions } from '../testing/rtsp-node.js';

let redisServer: TestServer;
let redis: Redis;
let node: RtspNode;
const sockets: Socket[] = [];

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await node.close();
});
afterAll(async () => {
  redis.disconnect();
  await redisServer.stop();
});

const start = async (options?: RtspNodeOptions) => {
  node = await RtspNode.start(redis, {}, options);
};

/** A client that never closes its side, and reads only when the test asks it to. */
async function client(localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port: node.server.port, host: '127.0.0.1', localAddress, allowHalfOpen: true });
  socket.on('error', () => undefined);
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

const request = (method: string, cseq: number) =>
  `${method} rtsp://127.0.0.1/demo/cam RTSP/1.0\r\nCSeq: ${cseq}\r\n\r\n`;

async function answer(socket: Socket): Promise<string> {
  socket.write(request('OPTIONS', 1));
  const [data] = (await once(socket, 'data')) as [Buffer];
  return data.toString();
}

describe('an RTSP client', () => {
  it('that asks and never reads is cut off before its answers fill the memory', async () => {
    await start();
    const socket = await client();
    const asking = setInterval(() => socket.write(request('OPTIONS', 1).repeat(500)), 5);
    try {
      await waitFor(() => node.server.connectionCount === 0, { what: 'the connection’s end', timeoutMs: 20_000 });
    } finally {
      clearInterval(asking);
    }
  });

  it('that sends many requests at once and reads is answered', async () => {
    await start();
    const socket = await client();
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
    });
    socket.write(request('OPTIONS', 7).repeat(300));
    await waitFor(() => text.match(/CSeq: 7/g)?.length === 300);
  });

  it('that asks too often is cut off even if it reads', async () => {
    await start();
    const socket = await client();
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
    });
    socket.write(request('OPTIONS', 7).repeat(5_000));
    await waitFor(() => node.server.connectionCount === 0, { what: 'the connection’s end' });
    expect(text.match(/CSeq: 7/g)?.length ?? 0).toBeLessThan(1_000);
  });

  it('that asks too often over many connections leaves others theirs', async () => {
    await start({ connectionsPerAddress: 100 });
    const greedy = await Promise.all(Array.from({ length: 50 }, () => client()));
    for (const socket of greedy) socket.pause().write(request('OPTIONS', 1).repeat(400));
    await waitFor(() => node.server.connectionCount < 10, { what: 'the end of most connections' });
    expect(await answer(await client('127.0.0.2'))).toContain('RTSP/1.0 200');
  });

  it('that says nothing is cut off even if it never closes its side', async () => {
    await start();
    const idleTimeoutMs = vi.spyOn(DEFAULT_SERVER_CONFIG, 'idleTimeoutMs', 'get').mockReturnValue(200);
    const socket = await client();
    await waitFor(() => node.server.connectionCount === 1);
    await waitFor(() => node.server.connectionCount === 0);
    idleTimeoutMs.mockRestore();
    expect(socket.destroyed).toBe(false);
  });

  it('leaves room for others, however many connections it opens', async () => {
    await start({ connectionsPerAddress: 3 });
    const greedy = await Promise.all(Array.from({ length: 3 }, () => client()));
    for (const socket of greedy) expect(await answer(socket)).toContain('RTSP/1.0 200');
    const refused = await client();
    refused.resume();
    await once(refused, 'end');
    expect(await answer(await client('127.0.0.2'))).toContain('RTSP/1.0 200');
    greedy[0]?.destroy();
    await waitFor(() => node.server.connectionCount === 3);
    expect(await answer(await client())).toContain('RTSP/1.0 200');
  });
});

describe('a source that is pulled', () => {
  let camera: Server;
  let asked: Socket[] = [];
  afterEach(() => {
    for (const socket of asked.splice(0)) socket.destroy();
    camera.close();
  });

  const pull = async (onConnection: (socket: Socket) => void) => {
    asked = [];
    camera = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined);
      asked.push(socket);
      onConnection(socket);
    });
    await once(camera.listen(0, '127.0.0.1'), 'listening');
    await start();
    await node.pull('pulled', 's1', `rtsp://127.0.0.1:${(camera.address() as AddressInfo).port}/x`);
  };

  it('and floods without reading is cut off', async () => {
    await pull((socket) => {
      const flood = setInterval(() => socket.write(request('GET_PARAMETER', 1).repeat(500)), 5);
      socket.once('close', () => clearInterval(flood));
    });
    await waitFor(() => asked[0]?.destroyed === true, { timeoutMs: 20_000 });
    expect(asked[0]?.bytesRead).toBeLessThan(1024 * 1024);
  });

  it('and refuses without closing is not kept', async () => {
    await pull((socket) => {
      socket.on('data', () => socket.write('RTSP/1.0 404 Not Found\r\nCSeq: 2\r\n\r\n'));
      socket.write('RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n');
      const talking = setInterval(() => socket.write('\r\n'), 50);
      socket.once('close', () => clearInterval(talking));
    });
    await waitFor(() => asked[0]?.destroyed === true, { timeoutMs: 10_000 });
  });
});
