import type { Registration } from '@weir/bus';
import { Access, CredentialWatch } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import { MediaClient } from '@weir/media-client';
import type { ServiceContext } from '@weir/platform';
import { Admission } from './admission.js';
import type { hlsSettings } from './config.js';
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
  throw new WeirError(ErrorCode.UNAVAILABLE, 'Redis can not be asked just now', {}, { cause });
};

/** Makes the parts of the service, and closes them in the reverse order. */
export class HlsPackager {
  readonly metrics = new HlsMetrics();
  readonly packagings: Packagings;
  readonly videos: Videos;
  readonly #media: MediaClient;
  readonly #streamChanges: Registration;
  readonly #credentials: CredentialWatch;
  #transcodes = 0;

  constructor(readonly context: HlsContext) {
    const { bus, redis, log, config } = context;
    this.#credentials = new CredentialWatch({ bus, redis, log });
    this.#media = new MediaClient({ bus, log });
    const sourcePorts = this.#sourcePorts();
    const settings = this.#packagingSettings();
    const discontinuities = new Discontinuities(redis);
    this.packagings = new Packagings({
      make: async (tenant, streamName, queryOf) =>
        new Packaging({
          tenant,
          streamName,
          media: this.#media,
          openSource: (stream, listener) => Source.open(sourcePorts, stream, listener),
          queryOf,
          discontinuitiesBefore: (await discontinuities.current(tenant, streamName).catch(toUnavailable)) - 1,
          countDiscontinuity: () => {
            discontinuities.count(tenant, streamName).catch((error: unknown) => {
              log.warn({ err: error, streamName }, 'a discontinuity could not be counted');
            });
          },
          settings,
          metrics: this.metrics,
          log,
        }),
      log,
      maxStreams: config.WEIR_HLS_MAX_STREAMS,
      maxBytes: config.WEIR_HLS_TOTAL_MAX_BYTES,
      lingerMs: config.WEIR_HLS_LINGER_MS,
    });
    this.metrics.observe(() => this.load);
    this.videos = new Videos({
      admission: new Admission(new Access({ bus, redis, log }), this.#credentials),
      targets: new Targets(bus),
      packagings: this.packagings,
      ticketKey: new TicketKey(redis, config.WEIR_HLS_TICKET_KEY),
      places: new WaitingPlaces(config.WEIR_HLS_MAX_WAITING_PER_ADDRESS),
      metrics: this.metrics,
      startTimeoutMs: config.WEIR_HLS_START_TIMEOUT_MS,
      blockTimeoutMs: config.WEIR_HLS_BLOCK_TIMEOUT_MS,
      maxWaitingPerStream: config.WEIR_HLS_MAX_WAITING_PER_STREAM,
    });
    this.#streamChanges = this.#media.onStreams({
      started: (stream) => this.packagings.streamStarted(stream),
      ended: (stream) => this.packagings.streamEnded(stream),
    });
  }

  get load(): Load {
    return { ...this.packagings.load, transcodes: this.#transcodes };
  }

  async drain(): Promise<void> {
    this.packagings.drain();
  }

  async close(): Promise<void> {
    this.packagings.close();
    await this.#streamChanges.close();
    await Promise.all([this.#media.close(), this.#credentials.close()]);
  }

  #sourcePorts(): SourcePorts {
    const { config, log } = this.context;
    return {
      media: this.#media,
      log,
      rtpAddress: config.WEIR_HLS_RTP_ADDRESS,
      opus: config.WEIR_HLS_OPUS,
      segmentMs: config.WEIR_HLS_SEGMENT_MS,
      ffmpegBin: config.FFMPEG_BIN,
      reserveTranscode: () => {
        if (this.#transcodes >= config.WEIR_HLS_MAX_TRANSCODES) return undefined;
        this.#transcodes += 1;
        return () => {
          this.#transcodes -= 1;
        };
      },
    };
  }

  #packagingSettings(): PackagingSettings {
    const { config } = this.context;
    return {
      partMs: config.WEIR_HLS_PART_MS,
      segmentMs: config.WEIR_HLS_SEGMENT_MS,
      maxSegmentMs: config.WEIR_HLS_MAX_SEGMENT_MS,
      windowMs: config.WEIR_HLS_WINDOW_MS,
      maxBytes: config.WEIR_HLS_STREAM_MAX_BYTES,
      keyFrameIntervalMs: config.WEIR_HLS_KEY_FRAME_INTERVAL_MS,
      idleMs: config.WEIR_HLS_IDLE_MS,
      sourceGraceMs: config.WEIR_HLS_SOURCE_GRACE_MS,
    };
  }
}
