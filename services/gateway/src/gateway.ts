import { openInOrder, type OpenService, type ServiceContext } from '@weir/platform';
import { edgeConfig, type gatewaySettings } from './settings.js';
import { Edge } from './edge.js';

type GatewayContext = ServiceContext<typeof gatewaySettings>;

/**
 * The gateway's process. Nest's own HTTP port serves only the process's health; the public ports belong to the edge,
 * which passes bodies and sockets through without Nest's parsers.
 */
export const openGateway = ({ config, redis, log }: GatewayContext): Promise<OpenService> =>
  openInOrder(log, async (opened) => {
    const edge = opened.add('edge', new Edge({ config: edgeConfig(config), redis, log, nowMs: Date.now }));
    return {
      listen: async () => {
        const listeners = await edge.listen();
        process.on('SIGHUP', () => void edge.reloadCertificate());
        log.info({ listeners }, 'public ports open');
      },
      drain: () => edge.drain(),
    };
  });
