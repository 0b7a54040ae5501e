import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';
import { restErrorBody, restErrorOf, type ErrorBody } from './error-filter.js';
import { readJson } from './json-body.js';
import { MethodNotAllowed, RoutedMethods } from './routed-methods.js';

export interface RestAdapterOptions {
  /** The size of the largest body. */
  readonly maxBodyBytes?: number;
  readonly trustProxy?: FastifyServerOptions['trustProxy'];
  /** Builds errors in the protocol's own shape; the default is `restErrorBody`. */
  readonly bodyOf?: ErrorBody;
  /** Routes whose handlers get the body's bytes as they are sent, such as a file's, each with the size of the largest. */
  readonly byteRoutes?: ReadonlyMap<string, number>;
}

const DEFAULT_MAX_BODY_BYTES = 64 * 1024;
/** Names in paths can be longer than Fastify's default allows. */
const MAX_PARAMETER_LENGTH = 4_096;

/**
 * Receives HTTP requests for every service. A body is read as JSON whatever its content type says: curl's -d, Python's
 * urllib and the scripts of the original documents send another type or none. A slash at the end of a path makes no
 * difference. A request without a route is refused before its body is read, and the answer names the methods that its
 * path has. No answer repeats the URL, which may hold a token.
 */
export const restAdapter = ({
  maxBodyBytes = DEFAULT_MAX_BODY_BYTES,
  trustProxy = false,
  bodyOf = restErrorBody,
  byteRoutes = new Map(),
}: RestAdapterOptions = {}): FastifyAdapter => {
  const adapter = new FastifyAdapter({
    bodyLimit: maxBodyBytes,
    trustProxy,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_PARAMETER_LENGTH },
    // Fastify refuses a path that can't be decoded before it looks for a route.
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => {
      const answer = restErrorOf(new WeirError(ErrorCode.INVALID, 'The URL is malformed'));
      void reply.code(answer.status).send(bodyOf(answer, request));
    },
  });
  const fastify = adapter.getInstance();
  const routed = new RoutedMethods();
  fastify.addHook('onRoute', (route) => {
    routed.add(route.url, route.method);
    const maxBytes = byteRoutes.get(route.url);
    if (maxBytes !== undefined) route.bodyLimit = maxBytes;
  });
  fastify.addHook('onRequest', (request, reply, done) => {
    if (request.is404) return done(notRouted(routed, request, reply));
    // It stands for a NUL, which no name contains.
    if (request.url.includes('%00')) return done(new WeirError(ErrorCode.INVALID, 'The URL contains a NUL character'));
    delete request.raw.headers['content-type'];
    done();
  });
  fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    // Some clients send a body with DELETE, where it has no meaning.
    if (request.method === 'DELETE') return done(null, undefined);
    if (byteRoutes.has(request.routeOptions.url ?? '')) return done(null, body);
    const reading = readJson(body);
    switch (reading.tag) {
      case 'empty':
        return done(null, undefined);
      case 'value':
        return done(null, reading.value);
      case 'refused':
        return done(new WeirError(ErrorCode.INVALID, reading.message));
      default:
        return reading satisfies never;
    }
  });
  return adapter;
};

const notRouted = (routed: RoutedMethods, { url }: FastifyRequest, reply: FastifyReply): Error => {
  const methods = routed.of(url.split('?', 1)[0] ?? '');
  if (methods.length === 0) return new WeirError(ErrorCode.NOT_FOUND, 'There is nothing at this path');
  reply.header('allow', methods.join(', '));
  return new MethodNotAllowed(methods);
};
