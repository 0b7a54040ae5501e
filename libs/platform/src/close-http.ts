import type { NestFastifyApplication } from '@nestjs/platform-fastify';

const SWEEP_INTERVAL_MS = 100;
const PATIENCE_MS = 2_000;

/**
 * Closes the HTTP side: nothing new is accepted, and requests in work end. A connection that was busy when the server
 * closed is idle afterwards, and nothing else closes it; one that was never used counts as busy for Node, so that after
 * two seconds what is left is cut off.
 */
export async function closeHttp(app: NestFastifyApplication): Promise<void> {
  const server = app.getHttpServer();
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_INTERVAL_MS);
  const cut = setTimeout(() => server.closeAllConnections(), PATIENCE_MS);
  try {
    await app.close();
  } finally {
    clearInterval(sweep);
    clearTimeout(cut);
  }
}
