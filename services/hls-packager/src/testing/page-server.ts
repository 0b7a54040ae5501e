import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';

const HLS_JS = createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js');
const PAGE = '<!doctype html><title>player</title><video muted playsinline></video><script src="/hls.js"></script>';

/** Serves a page with hls.js and the service at the same origin, as the gateway does. */
export async function servePlayerPage(serviceUrl: () => string): Promise<{ url: string; close(): Promise<void> }> {
  const hlsJs = await readFile(HLS_JS);
  const server: Server = createServer((incoming, response) => {
    if (incoming.url === '/') response.setHeader('content-type', 'text/html').end(PAGE);
    else if (incoming.url === '/hls.js') response.setHeader('content-type', 'text/javascript').end(hlsJs);
    else passOn(serviceUrl(), incoming, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function passOn(serviceUrl: string, incoming: IncomingMessage, response: ServerResponse): void {
  const { method, headers } = incoming;
  const outgoing = request(new URL(incoming.url ?? '/', serviceUrl), { method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  outgoing.on('error', () => response.writeHead(502).end());
  response.on('close', () => outgoing.destroy());
  incoming.pipe(outgoing);
}
