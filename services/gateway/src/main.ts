import { runService } from '@weir/platform';
import { AppModule } from './app.module.js';
import { gatewaySettings } from './config.js';
import { Edge } from './edge.js';

await runService({
  service: 'gateway',
  settings: gatewaySettings,
  module: (context) => AppModule.with(context),
  start: async ({ log }, app) => {
    const edge = app.get(Edge);
    const listeners = await edge.listen();
    process.on('SIGHUP', () => void edge.reloadCertificate());
    log.info({ listeners }, 'public ports open');
    return { drain: () => edge.drain(), close: () => edge.close() };
  },
}).catch((error: unknown) => {
  process.stderr.write(`gateway: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
