import 'reflect-metadata';
import { readFile } from 'node:fs/promises';
import { hostname, networkInterfaces } from 'node:os';
import { Media, MediaEvents } from '@weir/contracts';
import { Access, CredentialWatch, ReservedNames } from '@weir/access';
import { OutboundGuard } from '@weir/outbound';
import { Instances, runService } from '@weir/platform';
import { MediaCore } from './core.js';
import { mediaAddresses, urlHost } from './media-addresses.js';
import { observeLoad } from './metrics.js';
import { BusNotifier } from './notifier.js';
import { StreamRegistry } from './registry.js';
import { RtspAccess } from './rtsp-access.js';
import { RtspServer } from './rtsp-server.js';
import { serveMedia, serveMediaRtp } from './serve.js';
import { mediaSettings } from './settings.js';
import { Sources } from './sources.js';
import { WebRtc } from './webrtc.js';
import { WorkerPool } from './worker-pool.js';

const readAuthorities = async (file: string | undefined): Promise<string | undefined> =>
  file === undefined ? undefined : readFile(file, 'utf8');

await runService({
  service: 'media',
  settings: mediaSettings,
  start: async ({ config, bus, redis, log, health, instanceId }) => {
    const workers = await WorkerPool.start({
      workerCount: config.WEIR_MEDIA_WORKERS,
      firstPort: config.WEIR_MEDIA_PORT,
      addresses: mediaAddresses(
        config.WEIR_MEDIA_HOST,
        config.WEIR_ANNOUNCED_ADDRESS,
        Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []),
      ),
      log,
    });
    health.check('workers', () => {
      if (!workers.complete) throw new Error('a media worker has died and is being replaced');
    });

    // Only one node at a time can listen on a host's media port, so the node that held it before is gone.
    const registry = new StreamRegistry(redis, `${hostname()}:${config.WEIR_MEDIA_PORT}`);
    const nodes = new Instances({ bus, service: 'media' });
    const owners = new Instances({
      bus,
      silentAfterMs: config.WEIR_MEDIA_OWNER_TIMEOUT_MS,
      onLost: (ownerId) => {
        if (ownerId !== instanceId) core.closeSessionsOf(ownerId);
      },
    });
    const rtpActivity = {
      audio: config.WEIR_MEDIA_RTP_ACTIVITY_AUDIO,
      video: config.WEIR_MEDIA_RTP_ACTIVITY_VIDEO,
      audioExclude: config.WEIR_MEDIA_RTP_ACTIVITY_AUDIO_EXCLUDE,
      videoExclude: config.WEIR_MEDIA_RTP_ACTIVITY_VIDEO_EXCLUDE,
      timeoutMs: config.WEIR_MEDIA_RTP_ACTIVITY_TIMEOUT_MS,
    };
    const notifier = new BusNotifier(bus);
    const core = new MediaCore({
      nodeId: instanceId,
      workers,
      registry,
      reservedNames: new ReservedNames({ redis, log }),
      notifier,
      surroundings: {
        streamStarted: (stream) =>
          bus.publish(MediaEvents.method.streamChanged, { stream, change: { case: 'started', value: {} } }),
        streamEnded: (stream, reason) =>
          bus.publish(MediaEvents.method.streamChanged, { stream, change: { case: 'ended', value: { reason } } }),
        viewersChanged: (stream) =>
          bus.publish(MediaEvents.method.streamChanged, { stream, change: { case: 'viewers', value: {} } }),
        isNodeGone: (nodeId) => nodeId !== instanceId && nodes.isGone(nodeId),
        watchOwner: (ownerId) => owners.expect(ownerId),
        yieldName: async ({ nodeId, tenant, streamName }, claim) => {
          await bus.call(Media.method.yieldName, { nodeId, tenant, streamName, claim }).catch((error: unknown) => {
            log.warn({ err: error, nodeId, streamName }, 'a node could not be asked to give a name to its successor');
          });
        },
      },
      log,
      maxSessions: config.WEIR_MEDIA_MAX_SESSIONS,
      ffmpegBin: config.FFMPEG_BIN,
      maxTranscodes: config.WEIR_MEDIA_MAX_TRANSCODES,
    });
    const webRtc = new WebRtc({
      nodeId: instanceId,
      core,
      notifier,
      connectTimeoutMs: config.WEIR_MEDIA_ICE_TIMEOUT_MS,
      consentTimeoutMs: config.WEIR_MEDIA_CONSENT_TIMEOUT_MS,
      noMediaTimeoutMs: config.WEIR_MEDIA_NO_MEDIA_TIMEOUT_MS,
      rtpActivity,
      maxBitrateBps: config.WEIR_MEDIA_MAX_BITRATE_BPS,
    });
    observeLoad(workers, () => core.load);

    const leftovers = await registry.removeLeftovers(instanceId).catch((error: unknown) => {
      log.warn({ err: error }, 'streams of an earlier process not removed, their records will expire');
      return [];
    });
    if (leftovers.length > 0) log.info({ streams: leftovers.length }, 'streams of an earlier process removed');
    const credentials = new CredentialWatch({ bus, redis, log });
    const access = new RtspAccess(
      new Access({ bus, redis, log }),
      credentials,
      `rtsp://${urlHost(config.WEIR_ANNOUNCED_ADDRESS[0])}:${config.WEIR_RTSP_PORT}`,
    );
    const sources = new Sources({
      nodeId: instanceId,
      core,
      notifier,
      access,
      credentials,
      guard: new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW }),
      cameraTls: { verify: config.WEIR_RTSPS_VERIFY, ca: await readAuthorities(config.WEIR_RTSPS_CA_FILE) },
      log,
      sourceGraceMs: config.WEIR_MEDIA_SOURCE_GRACE_MS,
      noMediaTimeoutMs: config.WEIR_MEDIA_NO_MEDIA_TIMEOUT_MS,
      rtpActivity,
      maxOwnFeeds: config.WEIR_MEDIA_MAX_OWN_FEEDS,
      internalAddress: config.WEIR_MEDIA_INTERNAL_ADDRESS,
    });
    const rtsp = await RtspServer.listen({
      host: config.WEIR_RTSP_HOST,
      port: config.WEIR_RTSP_PORT,
      core,
      sources,
      access,
      credentials,
      log,
      connectionsPerAddress: config.WEIR_RTSP_CONNECTIONS_PER_ADDRESS,
    });
    serveMedia(bus, instanceId, core, webRtc);
    serveMediaRtp(bus, sources);

    return {
      drain: () => core.drain(),
      close: async () => {
        await Promise.all([owners.close(), nodes.close(), rtsp.close(), credentials.close()]);
        core.close();
      },
    };
  },
});
