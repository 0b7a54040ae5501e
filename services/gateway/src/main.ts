import { runService } from '@weir/platform';
import { gatewaySettings } from './settings.js';
import { openGateway } from './gateway.js';

await runService({
  service: 'gateway',
  settings: gatewaySettings,
  open: openGateway,
}).catch((error: unknown) => {
  process.stderr.write(`gateway: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
