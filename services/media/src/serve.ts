import { EndReason, Media } from '@weir/contracts';
import type { Bus } from '@weir/bus';
import type { MediaCore } from './core.js';

/** Answers the contract's `Media` service with the core. */
export function serveMedia(bus: Bus, nodeId: string, core: MediaCore): void {
  const { method } = Media;
  bus.serve(method.publish, async (request) => ({ nodeId, ...(await core.publish(request)) }));
  bus.serve(method.play, (request) => core.play(request));
  bus.serve(method.closeSession, async ({ sessionId, reason }) => {
    core.closeSession(sessionId, reason === EndReason.UNSPECIFIED ? EndReason.CLIENT : reason);
    return {};
  });
  bus.serve(method.findStreams, async ({ tenant, streamName }) => ({
    streams: await core.findStreams(tenant, streamName),
  }));
  bus.serve(method.signal, async ({ tenant, streamName, sessionId, signal }) => {
    if (signal !== undefined) core.signal(tenant, streamName, sessionId, signal);
    return {};
  });
  bus.serve(method.snapshot, async ({ tenant, streamName }) => ({ png: await core.snapshot(tenant, streamName) }));
  bus.serve(method.getSessionStats, async ({ sessionIds }) => ({ stats: await core.sessionStats(sessionIds) }));
}
