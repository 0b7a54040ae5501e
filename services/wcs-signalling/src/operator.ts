import { demandPermit, permits, type Principal } from '@weir/access';
import {
  EndReason,
  ErrorCode,
  WeirError,
  type SessionStats,
  type StreamInfo,
  type WcsSession,
  type WcsStream,
} from '@weir/contracts';
import type { MediaClient } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import type { AllSessions } from './all-sessions.js';
import { filledTemplate } from './file-template.js';
import type { ConnectionView, RecorderView, StreamView } from './rest-body.js';
import type { RecordingWishes, StreamRecordings } from './stream-recordings.js';

export interface StreamFilter {
  readonly mediaSessionIds?: readonly string[] | undefined;
  readonly name?: string | undefined;
  readonly published?: boolean | undefined;
  readonly status?: string | undefined;
}

interface Located {
  readonly view: StreamView;
  readonly streamName: string;
  /** The id of its session in the media core. */
  readonly streamId: string;
  readonly nodeId: string;
  /** The signalling instance that has the stream; undefined for a stream of another protocol. */
  readonly instanceId: string | undefined;
}

export interface OperatorPorts {
  readonly allSessions: AllSessions;
  readonly media: Pick<MediaClient, 'find' | 'list' | 'endStream' | 'snapshot' | 'statsOf'>;
  readonly recordings: Pick<StreamRecordings, 'start' | 'stop' | 'going'>;
  readonly log: Logger;
}

const viewOf = (session: WcsSession, stream: WcsStream): StreamView => ({
  appKey: session.appKey,
  sessionId: session.sessionId,
  mediaSessionId: stream.mediaSessionId,
  name: stream.name,
  published: stream.published,
  hasVideo: stream.codecs === undefined || stream.codecs.video !== '',
  hasAudio: stream.codecs === undefined || stream.codecs.audio !== '',
  status: stream.status,
  audioCodec: stream.codecs?.audio || null,
  videoCodec: stream.codecs?.video || null,
  record: stream.recorded,
  width: stream.width,
  height: stream.height,
  bitrate: 0,
  minBitrate: 0,
  maxBitrate: 0,
  quality: 0,
  createDate: Number(stream.createdAtMs),
  mediaProvider: 'WebRTC',
  mediaType: stream.published ? 'publish' : 'play',
  nodeId: stream.nodeId || null,
  audioState: { muted: stream.audioMuted },
  videoState: { muted: stream.videoMuted },
  ...(stream.notCarried.length > 0 && { notCarried: stream.notCarried }),
});

/** The view of a stream from another protocol. The name of the protocol replaces the original's media provider. */
const foreignViewOf = (stream: StreamInfo): StreamView => ({
  appKey: null,
  sessionId: null,
  mediaSessionId: stream.publisherSessionId,
  name: stream.streamName,
  published: true,
  hasVideo: Boolean(stream.codecs?.video),
  hasAudio: Boolean(stream.codecs?.audio),
  status: stream.ready ? 'PUBLISHING' : 'PENDING',
  audioCodec: stream.codecs?.audio || null,
  videoCodec: stream.codecs?.video || null,
  record: false,
  width: stream.width,
  height: stream.height,
  bitrate: 0,
  minBitrate: 0,
  maxBitrate: 0,
  quality: 0,
  createDate: Number(stream.startedAtMs),
  mediaProvider: stream.protocol,
  mediaType: 'publish',
  nodeId: stream.nodeId,
  audioState: { muted: stream.audioMuted },
  videoState: { muted: stream.videoMuted },
  ...(stream.notCarried.length > 0 && { notCarried: stream.notCarried }),
});

const metricsOf = (stats: SessionStats): Readonly<Record<string, number>> => ({
  VIDEO_RATE: Number(stats.videoBps),
  VIDEO_FPS: Math.round(stats.videoFps),
  VIDEO_NACK: Number(stats.nackCount),
  VIDEO_PLI: Number(stats.pliCount),
  VIDEO_LOST: Number(stats.lostPackets),
  VIDEO_WIDTH: stats.width,
  VIDEO_HEIGHT: stats.height,
  VIDEO_K_FRAMES: Number(stats.videoKeyFrames),
  AUDIO_RATE: Number(stats.audioBps),
  AUDIO_LOST: Number(stats.audioLostPackets),
});

const fits = ({ view }: Located, filter: StreamFilter): boolean =>
  (filter.mediaSessionIds === undefined || filter.mediaSessionIds.includes(view.mediaSessionId)) &&
  (filter.name === undefined || filter.name === view.name) &&
  (filter.published === undefined || filter.published === view.published) &&
  (filter.status === undefined || filter.status === view.status);

const grouped = <Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  valueOf: (item: Item) => string,
): Map<string, string[]> => {
  const groups = new Map<string, string[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), valueOf(item)]);
  return groups;
};

/**
 * Lists and ends streams and connections of all instances. Operators see only what they may administer in their tenant.
 */
export class Operator {
  constructor(private readonly ports: OperatorPorts) {}

  async streams(principal: Principal, filter: StreamFilter, withMetrics: boolean): Promise<StreamView[]> {
    const found = await this.#find(principal, filter);
    if (!withMetrics) return found.map(({ view }) => view);
    const stats = await this.#statsOf(found);
    return found.map(({ view, streamId }) => ({ ...view, metrics: stats.get(streamId) ?? {} }));
  }

  /** Returns how many streams it has ended. */
  async terminateStreams(principal: Principal, filter: StreamFilter): Promise<number> {
    const found = await this.#find(principal, filter);
    const own = found.filter((stream) => stream.instanceId !== undefined);
    const foreign = found.filter((stream) => stream.instanceId === undefined);
    const streamIdsOf = grouped(
      own,
      ({ instanceId }) => instanceId ?? '',
      ({ streamId }) => streamId,
    );
    const [terminated] = await Promise.all([
      this.ports.allSessions.terminateStreams(principal.tenant, streamIdsOf),
      ...foreign.map(({ nodeId, streamId }) =>
        this.ports.media.endStream({ nodeId, publisherSessionId: streamId }, EndReason.TERMINATED),
      ),
    ]);
    return terminated + foreign.length;
  }

  /** The PNG of a stream's current frame. Throws WeirError NOT_FOUND and the errors of the media core. */
  async snapshot(principal: Principal, streamName: string): Promise<Buffer> {
    const { tenant } = principal;
    const stream = await this.ports.media.find({ tenant, streamName });
    if (stream === undefined || !this.#mayAdminister(principal, streamName))
      throw new WeirError(ErrorCode.NOT_FOUND, 'Stream not found', { streamName });
    return this.ports.media.snapshot(stream);
  }

  /**
   * Begins a recording of each publisher with this id. It replaces a running one.
   * @param wishes its name is a template
   * @returns how many it has begun
   */
  async startRecordings(principal: Principal, mediaSessionId: string, wishes: RecordingWishes): Promise<number> {
    const found = await this.#findRecordable(principal, mediaSessionId);
    for (const { recorded, view } of found) {
      await this.ports.recordings.stop(recorded);
      const name = filledTemplate(wishes.name, { ...view, streamName: recorded.streamName, startMs: Date.now() });
      await this.ports.recordings.start(recorded, { ...wishes, name });
    }
    return found.length;
  }

  /** The publishers that are being recorded, as far as the principal may administer and record them. */
  async recorders(principal: Principal): Promise<RecorderView[]> {
    const { tenant } = principal;
    const [found, going] = await Promise.all([
      this.#find(principal, { published: true }),
      this.ports.recordings.going(tenant),
    ]);
    return found
      .filter(({ streamId, streamName }) => going.has(streamId) && permits(principal, 'record', tenant, streamName))
      .map(({ streamId, view }) => ({ fileName: going.get(streamId) ?? '', mediaSessionId: view.mediaSessionId }));
  }

  /** @returns how many recordings it has ended */
  async stopRecordings(principal: Principal, mediaSessionId: string): Promise<number> {
    const found = await this.#findRecordable(principal, mediaSessionId);
    let stoppedCount = 0;
    for (const { recorded } of found) stoppedCount += await this.ports.recordings.stop(recorded);
    return stoppedCount;
  }

  async #findRecordable(principal: Principal, mediaSessionId: string) {
    const { tenant, subject } = principal;
    const found = await this.#find(principal, { mediaSessionIds: [mediaSessionId], published: true });
    for (const { streamName } of found) demandPermit(principal, 'record', tenant, streamName);
    const labels = { protocol: 'wcs', mediaSessionId, subject };
    return found.map(({ streamName, streamId, view }) => ({
      recorded: { tenant, streamName, key: streamId, labels },
      view,
    }));
  }

  async connections(principal: Principal): Promise<ConnectionView[]> {
    const located = await this.#sessions(principal);
    return located.map(({ session }) => ({
      sessionId: session.sessionId,
      appKey: session.appKey,
      status: 'ESTABLISHED',
      clientVersion: session.clientVersion,
      createDate: Number(session.createdAtMs),
      streams: session.streams.length,
    }));
  }

  /** Returns how many it has ended. Clients with equal addresses have equal ids. */
  async terminateConnections(principal: Principal, sessionIds: readonly string[]): Promise<number> {
    const located = await this.#sessions(principal);
    const wanted = located.filter(({ session }) => sessionIds.includes(session.sessionId));
    const keysOf = grouped(
      wanted,
      ({ instanceId }) => instanceId,
      ({ session }) => session.key,
    );
    return this.ports.allSessions.terminateSessions(principal.tenant, keysOf);
  }

  async #sessions(principal: Principal) {
    const located = await this.ports.allSessions.list(principal.tenant, { withStreamsOnly: false });
    return located.filter(({ session }) => this.#mayAdminister(principal, `connection/${session.sessionId}`));
  }

  async #find(principal: Principal, filter: StreamFilter): Promise<Located[]> {
    const { tenant } = principal;
    const [sessions, streams] = await Promise.all([
      this.ports.allSessions.list(tenant, { withStreamsOnly: true }),
      this.ports.media.list(tenant),
    ]);
    const own = sessions.flatMap(({ instanceId, session }) =>
      session.streams.map((stream) => ({
        view: viewOf(session, stream),
        streamName: stream.streamName,
        streamId: stream.peerId,
        nodeId: stream.nodeId,
        instanceId,
      })),
    );
    const known = new Set(own.map(({ streamId }) => streamId));
    const foreign = streams
      .filter(({ publisherSessionId, protocol }) => protocol !== 'wcs' && !known.has(publisherSessionId))
      .map((stream) => ({
        view: foreignViewOf(stream),
        streamName: stream.streamName,
        streamId: stream.publisherSessionId,
        nodeId: stream.nodeId,
        instanceId: undefined,
      }));
    return [...own, ...foreign].filter(
      (located) => this.#mayAdminister(principal, located.streamName) && fits(located, filter),
    );
  }

  async #statsOf(found: readonly Located[]): Promise<Map<string, Readonly<Record<string, number>>>> {
    const asked = grouped(
      found.filter(({ nodeId }) => nodeId !== ''),
      ({ nodeId }) => nodeId,
      ({ streamId }) => streamId,
    );
    const metrics = new Map<string, Readonly<Record<string, number>>>();
    await Promise.all(
      [...asked].map(async ([nodeId, streamIds]) => {
        try {
          const stats = await this.ports.media.statsOf(nodeId, streamIds);
          for (const session of stats) metrics.set(session.sessionId, metricsOf(session));
        } catch (error) {
          this.ports.log.warn({ err: error, nodeId }, 'a media node gave no statistics');
        }
      }),
    );
    return metrics;
  }

  #mayAdminister(principal: Principal, object: string): boolean {
    return permits(principal, 'administer', principal.tenant, object);
  }
}
