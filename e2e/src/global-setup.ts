import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePortRange, freePorts, startPlatform, type Platform, type ProcessName } from '@weir/single-machine';
import type { TestProject } from 'vitest/node';
import { z } from 'zod';
import { serveOnLoopback, type LoopbackServer } from './loopback-server.js';
import { startOtlpSink } from './otlp-sink.js';
import { startSite } from './site.js';

declare module 'vitest' {
  export interface ProvidedContext {
    platform: {
      httpUrl: string;
      rtspPort: number;
      dataDir: string;
      username: string;
      password: string;
      operatorKey: string;
      robots: { id: string; token: string; cameras: string[] }[];
      calls: { appId: string; appKey: string; devices: { cid: number; token: string }[] };
      natsUrl: string;
      redisUrl: string;
      databaseUrl: string;
      turnPort: number;
      /** `GET /pids` returns the processes' ids, `POST /kill/<process>` kills one. */
      controlUrl: string;
      /** The WebSDK, its examples and a blank page that loads it. */
      siteUrl: string;
      /** The URL to which the services send their traces and metrics; see otlp-sink.ts. */
      otlpUrl: string;
    };
  }
}

const calls = z.object({
  appId: z.string(),
  appKey: z.string(),
  devices: z.array(z.object({ cid: z.number(), token: z.string() })),
});
const credentials = z.object({
  calls,
  user: z.object({ username: z.string(), password: z.string() }),
  operator: z.object({ key: z.string() }),
  robots: z.array(z.object({ id: z.string(), token: z.string(), cameras: z.array(z.string()) })).default([]),
});

/** Starts the one platform that all end-to-end tests share, as `npm start` does, on free ports with its own data. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(join(tmpdir(), 'weir-e2e-'));
  const lines: string[] = [];
  const [httpPort = 0, rtspPort = 0, turnPort = 0] = await freePorts(3);
  const relayPort = await freePortRange(32);
  const otlp = await startOtlpSink();
  const site = await startSite();
  const platform = await startPlatform({
    dataDir,
    env: {
      ...process.env,
      WEIR_HTTP_PORT: String(httpPort),
      WEIR_RTSP_PORT: String(rtspPort),
      WEIR_MEDIA_PORT: String(await freePortRange(8)),
      WEIR_TURN: '1',
      WEIR_TURN_PORT: String(turnPort),
      WEIR_TURN_RELAY_PORTS: `${relayPort}-${relayPort + 31}`,
      // The tests themselves serve the applications' hooks and the uploads.
      WEIR_OUTBOUND_ALLOW: '127.0.0.0/8',
      WEIR_RECORDING_UPLOAD_HTTP: '1',
      WEIR_RECORDING_TALK_BACK: '1',
      WEIR_RECORDING_FOLDER: join(dataDir, 'delivered'),
      LOG_LEVEL: 'debug',
      OTEL_EXPORTER_OTLP_ENDPOINT: otlp.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_METRIC_EXPORT_INTERVAL: '2000',
      OTEL_BSP_SCHEDULE_DELAY: '500',
    },
    log: (line) => lines.push(line),
  });
  const control = await startControl(platform);
  const { user, operator, robots, calls } = credentials.parse(platform.credentials);
  project.provide('platform', {
    httpUrl: platform.httpUrl,
    rtspPort,
    dataDir,
    ...user,
    operatorKey: operator.key,
    robots,
    calls,
    natsUrl: platform.urls.nats,
    redisUrl: platform.urls.redis,
    databaseUrl: platform.urls.database,
    turnPort,
    controlUrl: control.url,
    siteUrl: site.url,
    otlpUrl: otlp.url,
  });
  return async () => {
    await site.close();
    await control.close();
    await platform.stop();
    await otlp.close();
    if (process.env['WEIR_E2E_KEEP'] === undefined) await rm(dataDir, { recursive: true, force: true });
    else console.log(`data kept in ${dataDir}\n${lines.join('\n')}`);
  };
}

function startControl(platform: Platform): Promise<LoopbackServer> {
  return serveOnLoopback((request, response) => {
    const [, verb, name = ''] = (request.url ?? '').split('/');
    if (request.method === 'POST' && verb === 'kill') platform.kill(name as ProcessName, 'SIGKILL');
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(platform.pids()));
  });
}
