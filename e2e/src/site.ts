import { createReadStream, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join, normalize, sep } from 'node:path';
import { serveOnLoopback, type LoopbackServer } from './loopback-server.js';

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.mp4': 'video/mp4',
  '.png': 'image/png',
};

const BLANK_PAGE = `<!doctype html><meta charset="utf-8"><title>WebSDK</title>
<body><div id="local" style="width:320px;height:240px"></div><div id="remote" style="width:320px;height:240px"></div>
<script src="/websdk/flashphoner-webrtc-only.js"></script></body>`;

/**
 * Serves the unmodified WebSDK package below `/websdk/`, hls.js at `/hls.js`, and at `/` a page that only loads the
 * SDK.
 */
export async function startSite(): Promise<LoopbackServer> {
  const sdkDir = dirname(createRequire(import.meta.url).resolve('@flashphoner/websdk/package.json'));
  return serveOnLoopback((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://site');
    if (pathname === '/') {
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.end(BLANK_PAGE);
      return;
    }
    if (pathname === '/hls.js') {
      response.setHeader('content-type', 'text/javascript; charset=utf-8');
      createReadStream(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js')).pipe(response);
      return;
    }
    const file = normalize(join(sdkDir, pathname.replace(/^\/websdk\//, '/')));
    if (!file.startsWith(sdkDir + sep) || statSync(file, { throwIfNoEntry: false })?.isFile() !== true) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader('content-type', CONTENT_TYPES[extname(file)] ?? 'application/octet-stream');
    createReadStream(file).pipe(response);
  });
}
