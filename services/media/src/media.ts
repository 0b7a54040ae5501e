import { readFile } from 'node:fs/promises';
import { hostname, networkInterfaces } from 'node:os';
import { Media, MediaEvents } from '@weir/contracts';
import { Access, CredentialWatch, ReservedNames } from '@weir/access';
import { OutboundGuard } from '@weir/outbound';
import { Instances, openInOrder, type Opened, type OpenService, type ServiceContext } from '@weir/platform';
import { MediaCore, type Surroundings } from './core.js';
import { mediaAddresses, urlHost } from './media-addresses.js';
import { observeLoad } from './metrics.js';
import { BusNotifier } from './notifier.js';
import { StreamRegistry } from './registry.js';
import { RtspAccess } from './rtsp-access.js';
import { RtspServer } from './rtsp-server.js';
import { serveMedia, serveMediaRtp } from './serve.js';
import type { mediaSettings } from './settings.js';
import { Sources } from './sources.js';
import { WebRtc } from './webrtc.js';
import { WorkerPool } from './worker-pool.js';

export type MediaContext = ServiceContext<typeof mediaSettings>;

/** A media node: workers, the core on them, and what it is reached by. */
export const openMedia = (context: MediaContext): Promise<OpenService> =>
  openInOrder(context.log, async (opened) => {
    const { config, bus, redis, log, instanceId } = context;
    const workers = await startWorkers(context);
    // Only one node at a time can listen on a host's media port, so the node that held it before is gone.
    const registry = new StreamRegistry(redis, `${hostname()}:${config.WEIR_MEDIA_PORT}`);
    const notifier = new BusNotifier(bus);
    const core: MediaCore = new MediaCore({
      nodeId: instanceId,
      workers,
      registry,
      reservedNames: new ReservedNames({ redis, log }),
      notifier,
      surroundings: surroundingsOf(context, opened, (ownerId) => core.closeSessionsOf(ownerId)),
      log,
      maxSessions: config.WEIR_MEDIA_MAX_SESSIONS,
      ffmpegBin: config.FFMPEG_BIN,
      maxTranscodes: config.WEIR_MEDIA_MAX_TRANSCODES,
    });
    opened.add('core', core);
    observeLoad(workers, () => core.load);
    await removeLeftovers(registry, context);

    const rtpActivity = {
      audio: config.WEIR_MEDIA_RTP_ACTIVITY_AUDIO,
      video: config.WEIR_MEDIA_RTP_ACTIVITY_VIDEO,
      audioExclude: config.WEIR_MEDIA_RTP_ACTIVITY_AUDIO_EXCLUDE,
      videoExclude: config.WEIR_MEDIA_RTP_ACTIVITY_VIDEO_EXCLUDE,
      timeoutMs: config.WEIR_MEDIA_RTP_ACTIVITY_TIMEOUT_MS,
    };
    const webRtc = new WebRtc({
      nodeId: instanceId,
      core,
      notifier,
      connectTimeoutMs: config.WEIR_MEDIA_ICE_TIMEOUT_MS,
      consentTimeoutMs: config.WEIR_MEDIA_CONSENT_TIMEOUT_MS,
      noMediaTimeoutMs: config.WEIR_MEDIA_NO_MEDIA_TIMEOUT_MS,
      rtpActivity,
      maxBitrateBps: config.WEIR_MEDIA_MAX_BITRATE_BPS,
      log,
    });
    const credentials = opened.add('credentials', new CredentialWatch({ bus, redis, log }));
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
    opened.add('RTSP', rtsp);
    serveMedia(bus, instanceId, core, webRtc);
    serveMediaRtp(bus, sources);
    return { drain: () => core.drain() };
  });

const startWorkers = async ({ config, log, health }: MediaContext): Promise<WorkerPool> => {
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
  return workers;
};

/** What the core learns of other instances and tells them. */
const surroundingsOf = (
  { bus, log, config, instanceId }: MediaContext,
  opened: Opened,
  onOwnerLost: (ownerId: string) => void,
): Surroundings => {
  const nodes = opened.add('nodes', new Instances({ bus, service: 'media' }));
  const owners = opened.add(
    'owners',
    new Instances({
      bus,
      silentAfterMs: config.WEIR_MEDIA_OWNER_TIMEOUT_MS,
      onLost: (ownerId) => {
        if (ownerId !== instanceId) onOwnerLost(ownerId);
      },
    }),
  );
  const { method } = MediaEvents;
  return {
    streamStarted: (stream) => bus.publish(method.streamChanged, { stream, change: { case: 'started', value: {} } }),
    streamEnded: (stream, reason) =>
      bus.publish(method.streamChanged, { stream, change: { case: 'ended', value: { reason } } }),
    viewersChanged: (stream) => bus.publish(method.streamChanged, { stream, change: { case: 'viewers', value: {} } }),
    isNodeGone: (nodeId) => nodeId !== instanceId && nodes.isGone(nodeId),
    watchOwner: (ownerId) => owners.expect(ownerId),
    yieldName: async ({ nodeId, tenant, streamName }, claim) => {
      await bus.call(Media.method.yieldName, { nodeId, tenant, streamName, claim }).catch((error: unknown) => {
        log.warn({ err: error, nodeId, streamName }, 'a node could not be asked to give a name to its successor');
      });
    },
  };
};

const removeLeftovers = async (registry: StreamRegistry, { log, instanceId }: MediaContext): Promise<void> => {
  try {
    const leftovers = await registry.removeLeftovers(instanceId);
    if (leftovers.length > 0) log.info({ streams: leftovers.length }, 'streams of an earlier process removed');
  } catch (error) {
    log.warn({ err: error }, 'streams of an earlier process not removed, their records will expire');
  }
};

const readAuthorities = async (file: string | undefined): Promise<string | undefined> =>
  file === undefined ? undefined : readFile(file, 'utf8');
