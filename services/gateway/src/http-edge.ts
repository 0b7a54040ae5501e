import fastifyCors from '@fastify/cors';
import fastifyHttpProxy from '@fastify/http-proxy';
import fastifyRateLimit from '@fastify/rate-limit';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { bodyTooLarge, declaresMoreThan, hasBody, limitBody } from './body-limit.js';
import { originOf, rateKey, type Origin, type TrustedProxies } from './client-address.js';
import type { EdgeLog } from './edge-log.js';
import type { EdgeTelemetry, RequestTrace } from './edge-telemetry.js';
import { headersForClient, headersForService } from './forwarded-headers.js';
import { errorBody, GatewayError, upstreamError } from './gateway-error.js';
import type { HealthReports } from './health-report.js';
import { servePage } from './page.js';
import type { RateCounters } from './rate-counters.js';
import { requestIdOf } from './request-id.js';
import { basePath, DEFAULT_MAX_BODY_BYTES, routes, type RateClass, type Route } from './routes.js';
import type { Upstreams } from './upstreams.js';

const MINUTE_MS = 60_000;
const PREFLIGHT_MAX_AGE_S = 600;
/** An idle connection may be closed by the service just when it is used again: a request without body is sent again. */
const STALE_CONNECTION_RETRY_MS = 10;
const CLIENT_WENT_AWAY = 499;

export interface HttpEdgePorts {
  upstreams: Upstreams;
  counters: RateCounters;
  health: HealthReports;
  telemetry: EdgeTelemetry;
  log: EdgeLog;
  trustedProxies: TrustedProxies;
  corsOrigins: '*' | readonly string[];
  perMinute: Readonly<Record<RateClass, number>>;
  isDraining: () => boolean;
}

declare module 'fastify' {
  interface FastifyRequest {
    edge: { origin: Origin; trace: RequestTrace };
  }
}

/** Everything the gateway does with plain HTTP requests. It has no port of its own: requests come by `routing`. */
export async function createHttpEdge(ports: HttpEdgePorts): Promise<FastifyInstance> {
  const app = fastify({
    logger: false,
    genReqId: requestIdOf,
    frameworkErrors: (error, request, reply) => answerError(ports.log, error, request, reply),
  });
  app.setErrorHandler((error, request, reply) => answerError(ports.log, error, request, reply));
  traceRequests(app, ports);
  await limitRates(app, ports.counters);
  app.get('/healthz', async (_request, reply) => {
    const report = await ports.health.report();
    return reply
      .code(report.status === 'ok' ? 200 : 503)
      .header('cache-control', 'no-store')
      .send(report);
  });
  await app.register(async (scope) => {
    limitClass(scope, 'page', ports);
    await servePage(scope);
  });
  await app.register(async (scope) => {
    await allowOrigins(scope, ports.corsOrigins);
    for (const route of routes) await scope.register((routeScope) => proxyRoute(routeScope, route, ports));
  });
  await app.ready();
  return app;
}

function traceRequests(app: FastifyInstance, { telemetry, trustedProxies, isDraining }: HttpEdgePorts): void {
  app.addHook('onRequest', async (request, reply) => {
    const origin = originOf(request.raw, trustedProxies);
    const trace = telemetry.begin(request.raw, { requestId: request.id, clientAddress: origin.address });
    trace.route(request.routeOptions.url ?? 'none', 'gateway');
    request.edge = { origin, trace };
    reply.raw.once('close', () => trace.end(reply.raw.writableFinished ? reply.raw.statusCode : CLIENT_WENT_AWAY));
    reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff' });
    if (isDraining()) reply.header('connection', 'close');
    // Before anything reads the body.
    if (request.is404) throw new GatewayError('NOT_FOUND', 'there is nothing at this path');
  });
}

/** Lets the rate-limit plugin count in the gateway's own counters, which survive the loss of Redis. */
async function limitRates(app: FastifyInstance, counters: RateCounters): Promise<void> {
  class Store {
    incr(
      key: string,
      callback: (error: Error | null, result?: { current: number; ttl: number }) => void,
      windowMs: number,
    ): void {
      counters.increment(key, windowMs).then(
        ({ current, ttlMs }) => callback(null, { current, ttl: ttlMs }),
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
      );
    }

    child(): this {
      return this;
    }
  }
  await app.register(fastifyRateLimit, {
    global: false,
    store: Store,
    skipOnError: true,
    errorResponseBuilder: (_request, { ttl }) =>
      new GatewayError('RATE_LIMITED', 'too many requests from this address', { retryAfterS: Math.ceil(ttl / 1_000) }),
  });
}

function limitClass(scope: FastifyInstance, rate: RateClass, { perMinute }: HttpEdgePorts): void {
  const max = perMinute[rate];
  if (max === 0) return;
  scope.addHook(
    'onRequest',
    scope.rateLimit({
      max,
      timeWindow: MINUTE_MS,
      keyGenerator: (request) => `${rate}:${rateKey(request.edge.origin.address)}`,
    }),
  );
}

/**
 * CORS of the REST interfaces. They are opened by a key or token in a header, which no browser adds by itself, so that
 * every origin may call them (as WCS's own REST interface lets it); credentials go with named origins only.
 */
async function allowOrigins(scope: FastifyInstance, origins: '*' | readonly string[]): Promise<void> {
  await scope.register(fastifyCors, {
    origin: origins === '*' ? '*' : [...origins],
    credentials: origins !== '*',
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders: ['X-Request-Id', 'Retry-After'],
    maxAge: PREFLIGHT_MAX_AGE_S,
    strictPreflight: false,
  });
}

async function proxyRoute(scope: FastifyInstance, route: Route, ports: HttpEdgePorts): Promise<void> {
  const { service } = route;
  const maxBodyBytes = route.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES;
  limitClass(scope, route.rate, ports);
  scope.addHook('onRequest', async (request) => {
    request.edge.trace.route(route.path, service);
  });

  const upstream = ports.upstreams.configured.get(service);
  if (upstream === undefined) {
    // In a hook, because it comes before the body is read.
    scope.addHook('onRequest', async () => {
      ports.upstreams.url(service);
    });
    for (const path of new Set([basePath(route), route.path])) scope.all(path, async () => undefined);
    return;
  }

  scope.addHook('preParsing', async (request, _reply, payload) => {
    if (declaresMoreThan(request.raw, maxBodyBytes)) throw bodyTooLarge(maxBodyBytes);
    return hasBody(request.raw) ? limitBody(payload, maxBodyBytes) : payload;
  });
  await scope.register(fastifyHttpProxy, {
    upstream: upstream.origin,
    prefix: basePath(route),
    rewritePrefix: basePath(route),
    routes: route.path.endsWith('/*') ? ['/', '/*'] : ['/'],
    httpMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    undici: ports.upstreams.agent,
    disableRequestLogging: true,
    internalRewriteLocationHeader: false,
    preHandler: (_request, reply, done) => {
      reply.raw.once('close', ports.upstreams.begin(service));
      done();
    },
    replyOptions: {
      rewriteRequestHeaders: (request, headers) => {
        const sent = headersForService(headers, request.edge.origin, request.id);
        if (request.method === 'GET' || request.method === 'HEAD') delete sent['content-length'];
        return request.edge.trace.inject(sent);
      },
      rewriteHeaders: (headers) => {
        ports.upstreams.answered(service);
        return headersForClient(headers);
      },
      retryDelay: ({ err, attempt, req }) =>
        attempt === 0 && isStale(err) && (req.method === 'GET' || req.method === 'HEAD')
          ? STALE_CONNECTION_RETRY_MS
          : null,
      onError: (reply, { error }) => {
        const answer = upstreamError(service, error);
        if (answer.statusCode >= 500) ports.upstreams.failed(service, error);
        if (answer.code === 'BODY_TOO_LARGE') reply.header('connection', 'close');
        reply.send(answer);
      },
    },
  });
}

const isStale = (error: Error | null): boolean =>
  error !== null && 'code' in error && (error.code === 'UND_ERR_SOCKET' || error.code === 'ECONNRESET');

function answerError(log: EdgeLog, error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const answer = asGatewayError(error);
  if (answer.code === 'INTERNAL') log.error({ err: error, requestId: request.id }, 'request failed in the gateway');
  if (answer.retryAfterS !== undefined) reply.header('retry-after', answer.retryAfterS);
  void reply
    .code(answer.statusCode)
    .headers({ 'content-type': 'application/json; charset=utf-8', 'x-request-id': request.id })
    .send(JSON.stringify(errorBody(answer, request.id)));
}

function asGatewayError(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error;
  const statusCode = (error as Partial<FastifyError> | undefined)?.statusCode;
  return statusCode !== undefined && statusCode >= 400 && statusCode < 500
    ? new GatewayError('BAD_REQUEST', 'this request is not valid', { cause: error })
    : new GatewayError('INTERNAL', 'the gateway failed on this request', { cause: error });
}
