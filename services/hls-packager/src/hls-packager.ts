import { Access, CredentialWatch } from '@weir/access';
import { ErrorCode, HlsAddresses, WeirError } from '@weir/contracts';
import { MediaClient, receiveBuffer } from '@weir/media-client';
import { openInOrder, type ServiceContext } from '@weir/platform';
import { Admission } from './admission.js';
import type { hlsSettings } from './settings.js';
import { Discontinuities } from './discontinuities.js';
import { HlsMetrics, type Load } from './metrics.js';
import { Packaging, type PackagingSettings } from './packaging.js';
import { Packagings } from './packagings.js';
import { Source, type SourcePorts } from './source.js';
import { Targets } from './targets.js';
import { TicketKey } from './ticket-key.js';
import { Videos } from './videos.js';
import { WaitingPlaces } from './waiting-places.js';

export type HlsContext = Pick<ServiceContext<typeof hlsSettings>, 'bus' | 'redis' | 'log' | 'config' | 'instanceId'>;

const toUnavailable = (cause: unknown): never => {
  throw new WeirError(ErrorCode.UNAVAILABLE, "Redis can't be reached now; try again later", {}, { cause });
};

/** The whole service except its HTTP edge. */
export interface HlsPackager {
  readonly metrics: HlsMetrics;
  readonly packagings: Packagings;
  readonly videos: Videos;
  readonly load: Load;
  drain(): Promise<void>;
  close(): Promise<void>;
}

export const openHlsPackager = (context: HlsContext): Promise<HlsPackager> =>
  openInOrder(context.log, async (opened) => {
    const { bus, redis, log, config } = context;
    await tellReceiveBuffer(context);
    const metrics = new HlsMetrics();
    const credentials = opened.add('credentials', new CredentialWatch({ bus, redis, log }));
    const media = opened.add('media', new MediaClient({ bus, log }));
    const places = new TranscodePlaces(config.WEIR_HLS_MAX_TRANSCODES);
    const packagings = opened.add('packagings', openPackagings(context, { media, metrics, places }));
    opened.add(
      'stream changes',
      media.onStreams({
        started: (stream) => packagings.streamStarted(stream),
        ended: (stream) => packagings.streamEnded(stream),
      }),
    );
    const loadNow = (): Load => ({ ...packagings.load, transcodes: places.taken });
    metrics.observe(loadNow);
    const videos = new Videos({
      admission: new Admission(new Access({ bus, redis, log }), credentials),
      targets: new Targets(bus),
      packagings,
      ticketKey: new TicketKey(redis, config.WEIR_HLS_TICKET_KEY),
      places: new WaitingPlaces(config.WEIR_HLS_MAX_WAITING_PER_ADDRESS),
      metrics,
      startTimeoutMs: config.WEIR_HLS_START_TIMEOUT_MS,
      blockTimeoutMs: config.WEIR_HLS_BLOCK_TIMEOUT_MS,
      maxWaitingPerStream: config.WEIR_HLS_MAX_WAITING_PER_STREAM,
    });
    opened.add(
      'bus',
      bus.serve(HlsAddresses.method.sign, async ({ tenant, streamNames, expiresAtMs }) => ({
        addresses: await Promise.all(
          streamNames.map((streamName) => videos.signedAddress(tenant, streamName, Number(expiresAtMs))),
        ),
      })),
    );
    return {
      ...{ metrics, packagings, videos },
      get load() {
        return loadNow();
      },
      drain: async () => packagings.drain(),
    };
  });

/** Warns that packets may be lost in a busy moment because the kernel can't keep enough of them. */
const tellReceiveBuffer = async ({ config, log }: HlsContext): Promise<void> => {
  const buffer = await receiveBuffer(config.WEIR_HLS_RTP_ADDRESS);
  if (buffer.grantedBytes < buffer.wantedBytes)
    log.info(buffer, 'a busy moment may lose packets: the kernel limits buffers by net.core.rmem_max');
};

/** Places for streams that are transcoded at the same time. */
class TranscodePlaces {
  taken = 0;

  constructor(private readonly max: number) {}

  /** Returns what gives the place back; undefined when there is none left. */
  reserve(): (() => void) | undefined {
    if (this.taken >= this.max) return undefined;
    this.taken += 1;
    return () => {
      this.taken -= 1;
    };
  }
}

interface PackagingsNeeds {
  readonly media: MediaClient;
  readonly metrics: HlsMetrics;
  readonly places: TranscodePlaces;
}

const openPackagings = (
  { redis, log, config }: HlsContext,
  { media, metrics, places }: PackagingsNeeds,
): Packagings => {
  const sourcePorts: SourcePorts = {
    ...{ media, log },
    rtpAddress: config.WEIR_HLS_RTP_ADDRESS,
    opus: config.WEIR_HLS_OPUS,
    segmentMs: config.WEIR_HLS_SEGMENT_MS,
    ffmpegBin: config.FFMPEG_BIN,
    reserveTranscode: () => places.reserve(),
  };
  const settings = packagingSettings(config);
  const discontinuities = new Discontinuities(redis);
  return new Packagings({
    make: async (tenant, streamName, queryOf) =>
      new Packaging({
        ...{ tenant, streamName, media, queryOf, settings, metrics, log },
        openSource: (stream, listener) => Source.open(sourcePorts, stream, listener),
        discontinuitiesBefore: (await discontinuities.current(tenant, streamName).catch(toUnavailable)) - 1,
        countDiscontinuity: () => {
          discontinuities.count(tenant, streamName).catch((error: unknown) => {
            log.warn({ err: error, streamName }, 'a discontinuity could not be counted');
          });
        },
      }),
    log,
    maxStreams: config.WEIR_HLS_MAX_STREAMS,
    maxBytes: config.WEIR_HLS_TOTAL_MAX_BYTES,
    lingerMs: config.WEIR_HLS_LINGER_MS,
  });
};

const packagingSettings = (config: HlsContext['config']): PackagingSettings => ({
  partMs: config.WEIR_HLS_PART_MS,
  segmentMs: config.WEIR_HLS_SEGMENT_MS,
  maxSegmentMs: config.WEIR_HLS_MAX_SEGMENT_MS,
  windowMs: config.WEIR_HLS_WINDOW_MS,
  maxBytes: config.WEIR_HLS_STREAM_MAX_BYTES,
  keyFrameIntervalMs: config.WEIR_HLS_KEY_FRAME_INTERVAL_MS,
  idleMs: config.WEIR_HLS_IDLE_MS,
  sourceGraceMs: config.WEIR_HLS_SOURCE_GRACE_MS,
});
