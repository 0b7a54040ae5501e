import fastifyCors from '@fastify/cors';
import fastifyRateLimit from '@fastify/rate-limit';
import { AddressCounts, rateKey } from '@weir/platform';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { AllowedSites } from './allowed-sites.js';
import { originOf, type Origin, type TrustedProxies } from './client-address.js';
import type { EdgeLog } from './edge-log.js';
import type { EdgeTelemetry, RequestTrace } from './edge-telemetry.js';
import { ClientGoneError, errorBody, GatewayError } from './gateway-error.js';
import type { HealthReports } from './health-report.js';
import { servePage } from './page.js';
import { proxyRoute, type ProxyPorts } from './proxy.js';
import type { RateCounters } from './rate-counters.js';
import type { Refusals } from './refusals.js';
import { requestIdOf } from './request-id.js';
import { routes, type RateClass } from './routes.js';
import type { SlowReaders } from './slow-readers.js';

const MINUTE_MS = 60_000;
const PREFLIGHT_MAX_AGE_S = 600;
const CLIENT_WENT_AWAY = 499;
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

export interface HttpEdgePorts extends ProxyPorts {
  counters: RateCounters;
  health: HealthReports;
  telemetry: EdgeTelemetry;
  slowReaders: SlowReaders;
  log: EdgeLog;
  refusals: Refusals;
  trustedProxies: TrustedProxies;
  sites: AllowedSites;
  /** How many at the same time; 0 is no limit. */
  requestsPerAddress: number;
  perMinute: Readonly<Record<RateClass, number>>;
  isDraining: () => boolean;
}

declare module 'fastify' {
  interface FastifyRequest {
    edge: {
      origin: Origin;
      trace: RequestTrace;
      /** Aborted when the answer has been sent or the client has gone. */
      ended: AbortSignal;
    };
  }
}

/**
 * Everything the gateway does with plain HTTP requests. It has no port of its own: requests arrive through `routing`.
 */
export async function createHttpEdge(ports: HttpEdgePorts): Promise<FastifyInstance> {
  const app = fastify({
    logger: false,
    genReqId: requestIdOf,
    frameworkErrors: (error, request, reply) => answerError(ports, error, request, reply),
  });
  // The framework doesn't read bodies: a route that takes one reads it itself, whatever its type.
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
    app.addHttpMethod(method, { hasBody: false, overrideExisting: true });
  app.setErrorHandler((error, request, reply) => answerError(ports, error, request, reply));
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
    await allowOrigins(scope, ports.sites);
    for (const route of routes)
      await scope.register(async (routeScope) => {
        limitClass(routeScope, route.rate, ports);
        routeScope.addHook('onRequest', async ({ edge }) => edge.trace.route(route.path, route.service));
        proxyRoute(routeScope, route, ports);
      });
  });
  await app.ready();
  return app;
}

function traceRequests(
  app: FastifyInstance,
  { telemetry, slowReaders, refusals, sites, trustedProxies, requestsPerAddress, isDraining }: HttpEdgePorts,
): void {
  const requestsOf = new AddressCounts();
  app.addHook('onRequest', async (request, reply) => {
    const origin = originOf(request.raw, trustedProxies);
    const trace = telemetry.begin(request.raw, { requestId: request.id, clientAddress: origin.address });
    trace.route(request.routeOptions.url ?? 'none', 'gateway');
    const end = new AbortController();
    request.edge = { origin, trace, ended: end.signal };
    reply.raw.once('close', () => {
      trace.end(reply.raw.writableFinished ? reply.raw.statusCode : CLIENT_WENT_AWAY);
      end.abort();
    });
    slowReaders.watch(reply.raw, () => refusals.answerCutOff(request.raw, origin, request.id));
    reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff' });
    const endConnection = () => request.raw.httpVersionMajor === 1 && reply.header('connection', 'close');
    if (isDraining()) endConnection();
    const key = rateKey(origin.address);
    if (!requestsOf.take(key, requestsPerAddress)) {
      // Requests that the client has already sent on this connection, ahead of their answers, are dropped with it.
      endConnection();
      throw new GatewayError('RATE_LIMITED', 'too many requests from this address at the same time', {
        retryAfterS: 1,
      });
    }
    end.signal.addEventListener('abort', () => requestsOf.release(key), { once: true });
    // This comes before anything reads the body.
    sites.checkHost(origin.host);
    if (request.is404) throw new GatewayError('NOT_FOUND', 'there is nothing at this path');
  });
}

/** Makes the rate-limit plugin use the gateway's own counters, which work on without Redis. */
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
 * CORS for the REST interfaces. They need a key or token in a header, which no browser adds by itself. Cookies and
 * other credentials are allowed only for origins that are named. A request that another site's page sends without a
 * preflight is refused, too.
 */
async function allowOrigins(scope: FastifyInstance, sites: AllowedSites): Promise<void> {
  await scope.register(fastifyCors, {
    origin: sites.areAll
      ? '*'
      : (origin, answer) => answer(null, sites.allows({ origin, host: undefined }) && origin !== undefined),
    credentials: !sites.areAll,
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders: ['X-Request-Id', 'Retry-After'],
    maxAge: PREFLIGHT_MAX_AGE_S,
    strictPreflight: false,
  });
  scope.addHook('onRequest', async ({ method, headers, edge }) => {
    if (!SAFE_METHODS.has(method)) sites.checkOrigin({ origin: headers.origin, host: edge.origin.host });
  });
}

function answerError(
  { log, refusals, trustedProxies }: Pick<HttpEdgePorts, 'log' | 'refusals' | 'trustedProxies'>,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  if (error instanceof ClientGoneError) {
    log.debug({ requestId: request.id }, error.message);
    void reply.code(CLIENT_WENT_AWAY).send();
    return;
  }
  const answer = asGatewayError(error);
  // The rest of a refused body isn't waited for.
  if (!request.raw.complete && request.raw.httpVersionMajor === 1) reply.header('connection', 'close');
  // For a path that the framework can't read, this runs before any hook.
  const origin = request.edge?.origin ?? originOf(request.raw, trustedProxies);
  refusals.request(answer, request.raw, origin, request.id);
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
