import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePortRange, freePorts, startPlatform, type Platform } from '@weir/single-machine';
import { canMountDisks, SmallDisk, waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WcsSocket } from '../wcs-socket.js';

describe.runIf(canMountDisks)('a single machine whose disk is full (only root can mount a small disk)', () => {
  let disk: SmallDisk;
  const children: ChildProcess[] = [];
  let platform: Platform;
  let rtspPort = 0;

  beforeAll(async () => {
    disk = SmallDisk.mount('400m');
    const [httpPort = 0, rtsp = 0] = await freePorts(2);
    rtspPort = rtsp;
    platform = await startPlatform({
      dataDir: join(disk.folder, 'data'),
      env: {
        ...process.env,
        WEIR_HTTP_PORT: String(httpPort),
        WEIR_RTSP_PORT: String(rtspPort),
        WEIR_MEDIA_PORT: String(await freePortRange(8)),
        WEIR_DEMO_ROBOTS: '0',
        LOG_LEVEL: 'debug',
      },
      log: () => undefined,
    });
  });
  afterAll(async () => {
    for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
    await platform?.stop();
    disk?.unmount();
  });

  const ffmpeg = (...args: string[]): ChildProcess => {
    const child = spawn('ffmpeg', ['-nostdin', '-loglevel', 'error', ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    children.push(child);
    return child;
  };
  const operatorKey = (): string =>
    (JSON.parse(readFileSync(join(disk.folder, 'data/credentials.json'), 'utf8')) as { operator: { key: string } })
      .operator.key;
  const url = (name: string) => `rtsp://user:${operatorKey()}@127.0.0.1:${rtspPort}/demo/${name}`;
  const logIn = async () => {
    const { status } = await fetch(`${platform.httpUrl}/auth/`, {
      method: 'POST',
      body: JSON.stringify(platform.credentials.user),
    });
    return status;
  };
  const published = async (name: string) => {
    const response = await fetch(`${platform.httpUrl}/rest-api/stream/find_all`, {
      headers: { authorization: `Bearer ${operatorKey()}` },
    });
    return (await response.text()).includes(`"${name}"`);
  };
  const push = (name: string) =>
    ffmpeg(
      ...['-re', '-f', 'lavfi', '-i', 'testsrc=size=160x120:rate=15', '-c:v', 'libx264', '-preset', 'ultrafast'],
      ...['-tune', 'zerolatency', '-g', '15', '-f', 'rtsp', '-rtsp_transport', 'tcp', url(name)],
    );
  /** Like an encoder that tries again: PostgreSQL may have to start again first, and without it keys can't be checked. */
  const untilPushed = (name: string) => {
    let pushing = push(name);
    return waitFor(
      async () => {
        if (pushing.exitCode !== null) pushing = push(name);
        return published(name);
      },
      { timeoutMs: 20_000, intervalMs: 500, what: 'a new stream on a full disk' },
    );
  };
  const served = () => Object.entries(platform.pids()).filter(([name]) => name !== 'postgres');

  it('continues its streams, accepts clients, and writes again when there is room', { timeout: 120_000 }, async () => {
    push('before');
    await waitFor(() => published('before'), { timeoutMs: 20_000, what: 'the stream from before' });
    const player = ffmpeg('-rtsp_transport', 'tcp', '-i', url('before'), '-f', 'null', '-');
    const processes = served();

    disk.fill();
    // The log lines of these refusals give the services something to write.
    for (let request = 0; request < 200; request++) await fetch(`${platform.httpUrl}/rest-api/pull/find_all`);
    await waitFor(async () => (await fetch(`${platform.httpUrl}/healthz`)).status === 200, { timeoutMs: 20_000 });
    const socket = await WcsSocket.connect(platform.httpUrl.replace('http:', 'ws:'));
    await untilPushed('meanwhile');
    expect([200, 503]).toContain(await logIn());
    expect(served()).toEqual(processes);
    expect([player.exitCode, await published('before')]).toEqual([null, true]);
    expect(socket.closeCode).toBeUndefined();

    disk.makeRoom();
    const log = join(disk.folder, 'data/logs/relay-push.log');
    await waitFor(
      async () => {
        await fetch(`${platform.httpUrl}/rest-api/pull/find_all`);
        return readFileSync(log, 'utf8').includes('could not be written');
      },
      { timeoutMs: 20_000, intervalMs: 200, what: 'a log that counts the lines that it has lost' },
    );
    await waitFor(async () => (await logIn()) === 200, { timeoutMs: 20_000, what: 'a log-in' });
    expect(served()).toEqual(processes);
    expect(await published('before')).toBe(true);
    socket.close();
  });
});
