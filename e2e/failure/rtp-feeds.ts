import { randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
// eslint-disable-next-line @nx/enforce-module-boundaries -- a service must provide RTP, and this stands in for one
import type { Bus } from '@weir/bus';
// eslint-disable-next-line @nx/enforce-module-boundaries -- as above
import { EndReason, Media, MediaKind, MediaRtp } from '@weir/contracts';
import { DEMO_TENANT } from '../bench/demo-user.js';
import type { KnownTrack } from './known-media.js';
import { KnownPackets } from './known-packets.js';
import type { Connection } from './known-source.js';

const TRACKS = {
  VP8: { kind: MediaKind.VIDEO, codec: 'VP8', clockRate: 90_000, channels: 0, parameters: {} },
  opus: { kind: MediaKind.AUDIO, codec: 'opus', clockRate: 48_000, channels: 2, parameters: {} },
} as const;

/** Provides a stream as RTP, as services do that take streams by a protocol of their own. */
export async function feedByRtp(bus: Bus, streamName: string, tracks: readonly KnownTrack[]): Promise<Connection> {
  const sessionId = `failure-${randomUUID()}`;
  const packets = tracks.map((track, index) => new KnownPackets(track, 101 + index));
  const { nodeId, rtpAddresses } = await bus.call(MediaRtp.method.ingest, {
    ...{ tenant: DEMO_TENANT, streamName, sessionId, ownerId: bus.instanceId },
    source: {
      case: 'rtpFeed',
      value: {
        tracks: tracks.map(({ codec }, index) => ({
          ...{ payloadType: 101 + index, ssrc: packets[index]?.ssrc ?? 0 },
          track: codec === 'VP8' ? TRACKS.VP8 : TRACKS.opus,
        })),
      },
    },
  });
  let isLost = false;
  const sockets = await Promise.all(
    rtpAddresses.map(async ({ ip, port }) => {
      const socket = createSocket('udp4');
      socket.connect(port, ip);
      await once(socket, 'connect');
      // Nobody listens there any more.
      socket.on('error', () => {
        isLost = true;
      });
      return socket;
    }),
  );
  return {
    get isLost() {
      return isLost;
    },
    send: (track, frame, rtpTimestamp) => {
      for (const packet of packets[track]?.of(frame, rtpTimestamp) ?? []) if (!isLost) sockets[track]?.send(packet);
    },
    close: () => {
      for (const socket of sockets) socket.close();
      const ended = bus.call(Media.method.closeSession, { nodeId, sessionId, reason: EndReason.CLIENT });
      ended.catch(() => undefined); // its node is gone
    },
  };
}
