import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder beside `src` or `dist`, whichever this file is in. */
const FILES = fileURLToPath(new URL('../web/', import.meta.url));

/** The player of watch.html, in the variant without subtitles and encryption, which the page doesn't need. */
const HLS_JS = fileURLToPath(import.meta.resolve('hls.js/dist/hls.light.min.mjs'));

/** The page loads only its own files, runs no inline code, can't be framed, and only it may ask for the camera. */
const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob: mediastream:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'permissions-policy': 'camera=(self), microphone=(self), geolocation=()',
  'referrer-policy': 'no-referrer',
};

/** Serves each file of the pages under its name, and index.html at `/`. Browsers check for changes by ETag. */
export async function servePage(scope: FastifyInstance): Promise<void> {
  scope.addHook('onRequest', async (_request, reply) => {
    reply.headers(PAGE_HEADERS);
  });
  await scope.register(fastifyStatic, {
    root: FILES,
    wildcard: false,
    index: 'index.html',
    cacheControl: true,
    maxAge: 0,
  });
  scope.get('/hls.js', (_request, reply) => reply.sendFile(path.basename(HLS_JS), path.dirname(HLS_JS)));
}
