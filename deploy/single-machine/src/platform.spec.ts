import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identify } from '../setup/process-identity.mjs';
import { startPlatform } from './platform.js';
import { freePortRange, freePorts } from './ports.js';

let dataDir = '';
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'weir-platform-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const start = async (env: NodeJS.ProcessEnv = {}) => {
  const [httpPort, rtspPort] = await freePorts(2);
  return startPlatform({
    dataDir,
    env: {
      WEIR_HTTP_PORT: String(httpPort),
      WEIR_RTSP_PORT: String(rtspPort),
      WEIR_MEDIA_PORT: String(await freePortRange(2)),
      WEIR_MEDIA_WORKERS: '2',
      ...env,
    },
    log: () => undefined,
  });
};

describe('a start is refused, and nothing runs', () => {
  it('if another weir uses the data', async () => {
    writeFileSync(join(dataDir, 'lock'), JSON.stringify(identify(process.ppid)));
    await expect(start()).rejects.toThrow(
      `Another weir (process ${process.ppid}) runs with the data in ${dataDir}. Stop it, or set WEIR_DATA_DIR`,
    );
  });

  it('if ports are taken, and each is named with its setting', async () => {
    const [httpPort = 0] = await freePorts(1);
    const mediaPort = await freePortRange(2);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(httpPort, '127.0.0.1', resolve));
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(mediaPort + 1, resolve));
    try {
      await expect(start({ WEIR_HTTP_PORT: String(httpPort), WEIR_MEDIA_PORT: String(mediaPort) })).rejects.toThrow(
        `WEIR_HTTP_PORT: another program listens on TCP port ${httpPort}\n` +
          `  WEIR_MEDIA_PORT: another program uses UDP port ${mediaPort + 1}`,
      );
      // The failed start has released the data for a start with other settings.
      await expect(start({ WEIR_HTTP_PORT: String(httpPort) })).rejects.toThrow('Some ports are taken');
    } finally {
      await new Promise((resolve) => server.close(resolve));
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    }
  });

  it('if settings are wrong, before anything is touched', async () => {
    await expect(start({ WEIR_HTTP_PORT: 'http' })).rejects.toThrow('WEIR_HTTP_PORT=http');
  });
});
