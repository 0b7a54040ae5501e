import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { EndReason } from '@weir/contracts';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { RtspNode } from '../testing/rtsp-node.js';
import type { CameraTls } from './rtsp-pull.js';

const folder = mkdtempSync(join(tmpdir(), 'weir-rtsps-'));
const [certificate, key] = [join(folder, 'camera.crt'), join(folder, 'camera.key')];

let redisServer: TestServer;
let redis: Redis;
let cameraRedis: Redis;
let camera: RtspNode;
let tls: Server;
let cameraUrl: string;
let node: RtspNode | undefined;

beforeAll(async () => {
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
      .concat(['-subj', '/CN=camera', '-addext', 'subjectAltName=IP:127.0.0.1'])
      .concat(['-keyout', key, '-out', certificate]),
    { stdio: 'ignore' },
  );
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
  cameraRedis = new Redis(redisServer.url, { db: 1 });
  camera = await RtspNode.start(cameraRedis);
  camera.push(await camera.awaitPush('lens', 'c1', 60_000));
  await waitFor(() => camera.recorded.has('c1', 'connected'), { timeoutMs: 15_000 });
  tls = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (secure) => {
    const plain = connect(camera.server.port, '127.0.0.1');
    secure.on('error', () => plain.destroy());
    plain.on('error', () => secure.destroy());
    secure.pipe(plain).pipe(secure);
  });
  await once(tls.listen(0, '127.0.0.1'), 'listening');
  cameraUrl = camera
    .playUrl('lens')
    .replace('rtsp:', 'rtsps:')
    .replace(String(camera.server.port), String((tls.address() as AddressInfo).port));
});
afterEach(() => node?.close());
afterAll(async () => {
  tls.close();
  await camera.close();
  redis.disconnect();
  cameraRedis.disconnect();
  await redisServer.stop();
  rmSync(folder, { recursive: true });
});

let pulls = 0;
const pull = async (cameraTls: Partial<CameraTls> = {}) => {
  node = await RtspNode.start(redis, {}, { cameraTls });
  await node.pull(`pulled-${++pulls}`, 's1', cameraUrl);
  return node;
};

it('pulls a camera over TLS that has signed its own certificate', async () => {
  const { recorded } = await pull();
  await waitFor(() => recorded.has('s1', 'connected'), { timeoutMs: 15_000 });
});

it('pulls no camera with a certificate that nobody vouches for, if certificates are checked', async () => {
  const { recorded } = await pull({ verify: true });
  await waitFor(() => recorded.find('s1', 'ended') !== undefined, { timeoutMs: 10_000 });
  expect(recorded.find('s1', 'ended')?.reason).toBe(EndReason.SOURCE_FAILED);
});

it('pulls a camera whose authority is known', async () => {
  const { recorded } = await pull({ verify: true, ca: readFileSync(certificate, 'utf8') });
  await waitFor(() => recorded.has('s1', 'connected'), { timeoutMs: 15_000 });
});
