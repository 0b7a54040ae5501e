import { EndReason, Media, MediaRtp } from '@weir/contracts';
import type { Bus } from '@weir/bus';
import type { MediaCore } from './core.js';
import type { Sources } from './sources.js';
import type { WebRtc } from './webrtc.js';

/** Answers the contract's `Media` service with the core. */
export function serveMedia(bus: Bus, nodeId: string, core: MediaCore, webRtc: WebRtc): void {
  const { method } = Media;
  bus.serve(method.publish, async (request) => ({ nodeId, ...(await webRtc.publish(request)) }));
  bus.serve(method.publishOnNode, async (request) => ({ nodeId, ...(await webRtc.publish(request)) }));
  bus.serve(method.adoptSession, ({ sessionId, ownerId }) =>
    Promise.resolve({ connected: core.adoptSession(sessionId, ownerId) }),
  );
  bus.serve(method.renegotiate, ({ sessionId, offerSdp }) => webRtc.renegotiate(sessionId, offerSdp));
  bus.serve(method.play, (request) => webRtc.play(request));
  bus.serve(method.answerOffer, async ({ sessionId, answerSdp }) => {
    await webRtc.answer(sessionId, answerSdp);
    return {};
  });
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
  bus.serve(method.yieldName, async ({ tenant, streamName, claim }) => ({
    yielded: claim !== undefined && (await core.yieldName(tenant, streamName, claim)),
  }));
  bus.serve(method.getSessionStats, async ({ sessionIds }) => ({ stats: await core.sessionStats(sessionIds) }));
}

/** Answers the contract's `MediaRtp` service. */
export function serveMediaRtp(bus: Bus, sources: Sources): void {
  const { method } = MediaRtp;
  bus.serve(method.ingest, (request) => sources.ingest(request));
  bus.serve(method.tap, (request) => sources.tap(request));
  bus.serve(method.requestKeyFrame, async ({ tenant, streamName }) => {
    sources.requestKeyFrame(tenant, streamName);
    return {};
  });
  bus.serve(method.signRtspUrl, async (request) => ({ url: sources.signPlayUrl(request) }));
}
