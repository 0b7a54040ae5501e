import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';
import { restErrorBody, restErrorOf, type ErrorBody } from './error-filter.js';
import { readJson } from './json-body.js';
import { MethodNotAllowed, RoutedMethods } from './routed-methods.js';

export interface RestAdapterOptions {
  /** Largest body. */
  readonly maxBodyBytes?: number;
  readonly trustProxy?: FastifyServerOptions['trustProxy'];
  /** The protocol's own shape of an error, where it has one. */
  readonly bodyOf?: ErrorBody;
}

const DEFAULT_MAX_BODY_BYTES = 64 * 1024;
/** Names in paths are longer than Fastify lets them be. */
const MAX_PARAMETER_LENGTH = 4_096;

/**
 * How every service takes HTTP requests. A body is JSON whatever its content type says: curl's -d, Python's urllib and the
 * scripts of the original documents name others or none. A path with a slash at its end is the one without. What is not
 * routed is refused before its body is read, with the methods that are, and no answer repeats an address: it may hold
 * a token.
 */
export const restAdapter = ({
  maxBodyBytes = DEFAULT_MAX_BODY_BYTES,
  trustProxy = false,
  bodyOf = restErrorBody,
}: RestAdapterOptions = {}): FastifyAdapter => {
  const adapter = new FastifyAdapter({
    bodyLimit: maxBodyBytes,
    trustProxy,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_PARAMETER_LENGTH },
    // What Fastify refuses before there is a route: a path that can't be decoded.
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => {
      const answer = restErrorOf(new WeirError(ErrorCode.INVALID, 'The address can not be read'));
      void reply.code(answer.status).send(bodyOf(answer, request));
    },
  });
  const fastify = adapter.getInstance();
  const routed = new RoutedMethods();
  fastify.addHook('onRoute', ({ url, method }) => routed.add(url, method));
  fastify.addHook('onRequest', (request, reply, done) => {
    if (request.is404) return done(notRouted(routed, request, reply));
    // In a path or a query it stands for a NUL, which is in no name.
    if (request.url.includes('%00')) return done(new WeirError(ErrorCode.INVALID, 'The address holds a NUL character'));
    delete request.raw.headers['content-type'];
    done();
  });
  fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    // It means nothing, and some clients send one.
    if (request.method === 'DELETE') return done(null, undefined);
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
