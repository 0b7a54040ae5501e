import type { OpenTrack, ServerConfig, TrackTransport } from './server-state.js';
import type { PortPair, TransportSpec } from './transport-header.js';

const FIRST_UNPRIVILEGED_PORT = 1024;

export interface ChosenTransport {
  readonly transport: TrackTransport;
  readonly profile: string;
}

/** The client's first alternative that this server supports; undefined means 461. */
export function chooseTransport(
  specs: readonly TransportSpec[],
  config: ServerConfig,
  others: readonly OpenTrack[],
): ChosenTransport | undefined {
  for (const spec of specs) {
    if (spec.multicast || !config.lowers.includes(spec.lower) || spec.profile.startsWith('RTP/S')) continue;
    if (spec.lower === 'tcp') {
      const channels = chooseChannels(spec.interleaved, others);
      if (channels) return { transport: { tag: 'tcp', channels }, profile: spec.profile };
    } else if (spec.clientPorts && areUsable(spec.clientPorts)) {
      return { transport: { tag: 'udp', clientPorts: spec.clientPorts }, profile: spec.profile };
    }
  }
  return undefined;
}

function areUsable(ports: PortPair): boolean {
  return ports.rtp >= FIRST_UNPRIVILEGED_PORT && ports.rtcp >= FIRST_UNPRIVILEGED_PORT && ports.rtp !== ports.rtcp;
}

/** The channels that the client requested, or the lowest free pair if another track uses one of them. */
function chooseChannels(wanted: PortPair | undefined, others: readonly OpenTrack[]): PortPair | undefined {
  const taken = new Set(
    others.flatMap(({ transport }) =>
      transport.tag === 'tcp' ? [transport.channels.rtp, transport.channels.rtcp] : [],
    ),
  );
  const isFree = (pair: PortPair): boolean => pair.rtp !== pair.rtcp && !taken.has(pair.rtp) && !taken.has(pair.rtcp);
  if (wanted && isFree(wanted)) return wanted;
  for (let rtp = 0; rtp < 255; rtp += 2) if (isFree({ rtp, rtcp: rtp + 1 })) return { rtp, rtcp: rtp + 1 };
  return undefined;
}
