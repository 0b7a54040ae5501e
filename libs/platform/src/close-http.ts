import type { NestFastifyApplication } from '@nestjs/platform-fastify';

const SWEEP_INTERVAL_MS = 100;
const PATIENCE_MS = 2_000;

/**
 * Closes the HTTP side: it accepts nothing new, and requests in progress finish. The sweep closes connections that were
 * busy when the server closed and became idle later, because Node doesn't. Node also counts a connection that was never
 * used as busy, so whatever is left after two seconds is cut off.
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
