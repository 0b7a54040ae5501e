import { afterEach, describe, expect, it } from 'vitest';
import { HealthReports } from './health-report.js';
import { startEdge, stopEdges } from './testing/edge-under-test.js';
import { startService, stopServices, type ServiceStandIn } from './testing/service-stand-in.js';
import { Upstreams } from './upstreams.js';

afterEach(async () => {
  await stopEdges();
  await stopServices();
});

const healthy = () => reporting(200, { status: 'ok', checks: { nats: { status: 'ok' } } });
const reporting = (status: number, body: unknown): Promise<ServiceStandIn> =>
  startService({
    onRequest: (request, response) => {
      response.writeHead(request.url === '/healthz' ? status : 404, { 'content-type': 'application/json' });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    },
  });

describe('/healthz', () => {
  it('is 200 when every configured service is ready', async () => {
    const [auth, wcs, media] = [await healthy(), await healthy(), await healthy()];
    const { url } = await startEdge({
      WEIR_UPSTREAM_AUTH: auth.url,
      WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url,
      WEIR_UPSTREAM_MEDIA: media.url,
    });
    const response = await fetch(`${url}/healthz`);
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await response.json()).toEqual({
      status: 'ok',
      services: {
        gateway: { status: 'ok' },
        auth: { status: 'ok' },
        'wcs-signalling': { status: 'ok' },
        media: { status: 'ok' },
      },
    });
  });

  it('is 503 with the reason for each service that is not ready', async () => {
    const auth = await reporting(503, {
      status: 'unavailable',
      checks: {
        nats: { status: 'ok' },
        redis: { status: 'unavailable', reason: 'no connection' },
        database: { status: 'unavailable' },
      },
    });
    const broken = await reporting(500, '<html>oops</html>');
    const silent = await startService({ onRequest: () => undefined });
    const { url } = await startEdge({
      WEIR_UPSTREAM_AUTH: auth.url,
      WEIR_UPSTREAM_WCS_SIGNALLING: broken.url,
      WEIR_UPSTREAM_MEDIA: silent.url,
      WEIR_UPSTREAM_RECORDING: 'http://127.0.0.1:9',
    });
    const response = await fetch(`${url}/healthz`);
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      status: 'unavailable',
      services: {
        gateway: { status: 'ok' },
        auth: { status: 'unavailable', reason: 'redis: no connection; database' },
        'wcs-signalling': { status: 'unavailable', reason: 'answers 500' },
        media: { status: 'unavailable', reason: 'no answer within 1500 ms' },
        recording: { status: 'unavailable', reason: "recording can't be reached" },
      },
    });
  });

  it('hides the addresses of internal servers, and logs why a service is not healthy', async () => {
    const reasons = {
      nats: 'connect ECONNREFUSED 10.1.2.3:4222',
      redis: 'getaddrinfo ENOTFOUND redis-master',
      database: "Can't reach database server at db.internal:5432",
      disk: '/var/lib/weir is full',
    };
    const checks = Object.fromEntries(
      Object.entries(reasons).map(([name, reason]) => [name, { status: 'unavailable', reason }]),
    );
    const auth = await reporting(503, { status: 'unavailable', checks });
    const { url, log } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    for (let time = 0; time < 2; time++) {
      const { services } = (await (await fetch(`${url}/healthz`)).json()) as { services: Record<string, unknown> };
      expect(services['auth']).toEqual({ status: 'unavailable', reason: 'nats; redis; database; disk' });
    }
    const lines = log.filter(({ message }) => message === 'service is not healthy');
    expect(lines).toHaveLength(1);
    for (const reason of Object.values(reasons)) expect(JSON.stringify(lines[0]?.fields)).toContain(reason);
  });

  it('asks the services at most once a second, however often it is asked', async () => {
    let asked = 0;
    const auth = await startService({
      onRequest: (_request, response) => {
        asked += 1;
        response.end('{}');
      },
    });
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
    const upstreams = new Upstreams({
      urls: new Map([['auth', new URL(auth.url)]]),
      timeoutMs: 1_000,
      connectTimeoutMs: 1_000,
      maxInFlight: 10,
      log,
    });
    let nowMs = 0;
    const reports = new HealthReports({ upstreams, log, nowMs: () => nowMs });
    await Promise.all([reports.report(), reports.report()]);
    nowMs = 999;
    await reports.report();
    expect(asked).toBe(1);
    nowMs = 1_000;
    await reports.report();
    expect(asked).toBe(2);

    reports.drain();
    expect(await reports.report()).toMatchObject({
      status: 'unavailable',
      services: { gateway: { status: 'unavailable', reason: 'the gateway is stopping' } },
    });
    await upstreams.close();
  });
});
