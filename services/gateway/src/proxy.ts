import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Dispatcher } from 'undici';
import { rateKey } from '@weir/platform';
import { headersForClient, headersForService } from './forwarded-headers.js';
import { ClientGoneError, GatewayError, upstreamError } from './gateway-error.js';
import type { RequestBodies } from './request-body.js';
import { basePath, DEFAULT_MAX_BODY_BYTES, type Route } from './routes.js';
import type { Upstreams } from './upstreams.js';

export interface ProxyPorts {
  upstreams: Upstreams;
  bodies: RequestBodies;
  requestTimeoutMs: number;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

/** Forwards requests for a route's path, and for the paths below it, to the route's service. */
export function proxyRoute(scope: FastifyInstance, route: Route, ports: ProxyPorts): void {
  const base = basePath(route);
  const paths = route.path.endsWith('/*') ? [base, `${base}/*`] : [base];
  if (!ports.upstreams.configured.has(route.service)) {
    // The error comes from a hook, which runs before the body is read.
    scope.addHook('onRequest', async () => {
      ports.upstreams.url(route.service);
    });
    for (const path of paths) scope.all(path, async () => undefined);
    return;
  }
  for (const url of paths)
    scope.route({ url, method: [...METHODS], handler: (request, reply) => forward(request, reply, route, ports) });
}

/**
 * The whole body is received before the request goes to the service, and the request ends when its client goes: a
 * request occupies the service only as long as the service itself takes.
 */
async function forward(
  request: FastifyRequest,
  reply: FastifyReply,
  route: Route,
  { upstreams, bodies, requestTimeoutMs }: ProxyPorts,
): Promise<FastifyReply> {
  const { service, maxBodyBytes: maxBytes = DEFAULT_MAX_BODY_BYTES } = route;
  const { origin, trace, ended } = request.edge;
  const path = pathForService(request.raw.url ?? '/');
  const method = METHODS.find((known) => known === request.method) ?? 'GET';
  const isRead = method === 'GET' || method === 'HEAD';
  const address = rateKey(origin.address);
  const body = isRead
    ? undefined
    : await bodies.read(request.raw, address, { maxBytes, timeoutMs: requestTimeoutMs, ended });
  ended.addEventListener('abort', upstreams.begin(service), { once: true });

  const headers = headersForService(request.headers, origin, request.id);
  delete headers['content-length'];
  const asked = { path, method, headers: trace.inject(headers), body: body ?? null, signal: ended };
  let answer: Dispatcher.ResponseData;
  try {
    answer = await upstreams.request(service, asked).catch((error: unknown) => {
      // The service may close an idle connection at the moment when it is used again.
      if (isRead && isStale(error)) return upstreams.request(service, asked);
      throw error;
    });
  } catch (error) {
    if (ended.aborted) throw new ClientGoneError();
    const reason = upstreamError(service, error);
    if (reason.statusCode >= 500) upstreams.failed(service, error);
    throw reason;
  }
  upstreams.answered(service);
  // If the client goes away, its answer ends with an error; the framework handles that only while it sends the stream.
  answer.body.on('error', () => undefined);
  const answered = headersForClient(answer.headers);
  // Both sides add to Vary: the gateway the origin, the service whatever else its answer depends on.
  const vary = [reply.getHeader('vary'), answered.vary].filter((names) => names !== undefined).join(', ');
  if (vary !== '') answered.vary = vary;
  return reply.code(answer.statusCode).headers(answered).send(answer.body);
}

/** @throws GatewayError for a path that leads out of the service's paths */
function pathForService(url: string): string {
  const [path = ''] = url.split('?', 1);
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch (error) {
    throw new GatewayError('BAD_REQUEST', 'the path is not valid percent-encoded UTF-8', { cause: error });
  }
  if (decoded.split(/[/\\]/).includes('..')) throw new GatewayError('BAD_REQUEST', 'the path must not contain ".."');
  return url;
}

const isStale = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'UND_ERR_SOCKET' || error.code === 'ECONNRESET');
