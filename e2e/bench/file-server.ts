import { createReadStream, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { serveOnLoopback, type LoopbackServer } from '../src/loopback-server.js';

/** Serves the current files of one folder to pages of any origin. */
export async function serveFolder(folder: string): Promise<LoopbackServer> {
  return serveOnLoopback((request, response) => {
    response.setHeader('access-control-allow-origin', '*').setHeader('cache-control', 'no-cache');
    const file = join(folder, basename(new URL(request.url ?? '/', 'http://files').pathname));
    if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true) response.writeHead(404).end();
    else
      createReadStream(file)
        .on('error', () => response.destroy())
        .pipe(response);
  });
}
