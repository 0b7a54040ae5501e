import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus, Registration } from '@weir/bus';
import {
  EndReason,
  ErrorCode,
  isWeirError,
  Media,
  MediaEvents,
  MediaRtp,
  type IngestReply,
  type StreamInfo,
  type TapReply,
  type TrackInfo,
} from '@weir/contracts';
import { Instances, type Logger } from '@weir/platform';
import type { RtpSocket } from './rtp-socket.js';

type TrackInit = Pick<TrackInfo, 'kind' | 'codec' | 'clockRate' | 'channels' | 'parameters'>;

export interface FedTrack {
  readonly payloadType: number;
  readonly ssrc: number;
  readonly track: TrackInit;
}

export interface LocalStream {
  readonly tenant: string;
  readonly streamName: string;
}

/** A session of ours in the media core. */
export interface MediaSession {
  readonly sessionId: string;
  readonly nodeId: string;
  close(reason: EndReason): Promise<void>;
}

type EndListener = (reason: EndReason) => void;

const CLOSE_RETRY_DELAYS_MS = [250, 1_000, 4_000];

/** The media core as relays need it. */
export class MediaCore {
  readonly #nodes: Instances;
  readonly #changes: Registration;
  readonly #listeners = new Map<string, { readonly nodeId: string | undefined; readonly ended: EndListener }>();

  constructor(private readonly ports: { readonly bus: Bus; readonly log: Logger }) {
    this.#changes = ports.bus.subscribe(MediaEvents.method.sessionChanged, ({ sessionId, change }) => {
      if (change.case === 'ended') this.#ended(sessionId, change.value.reason);
    });
    this.#nodes = new Instances({
      bus: ports.bus,
      service: 'media',
      onLost: (nodeId) => {
        for (const [sessionId, listener] of this.#listeners)
          if (listener.nodeId === nodeId) this.#ended(sessionId, EndReason.NODE_LOST);
      },
    });
  }

  async find({ tenant, streamName }: LocalStream): Promise<StreamInfo | undefined> {
    const { streams } = await this.ports.bus.call(Media.method.findStreams, { tenant, streamName });
    return streams.find((stream) => stream.streamName === streamName);
  }

  /** Has the stream's RTP sent to the sockets, as WebRTC can carry it. Throws WeirError. */
  async tap(
    { nodeId, tenant, streamName }: LocalStream & { readonly nodeId: string },
    sessionId: string,
    sockets: { readonly audio: RtpSocket; readonly video: RtpSocket },
    onEnded: EndListener,
  ): Promise<{ readonly session: MediaSession; readonly reply: TapReply }> {
    this.#nodes.expect(nodeId);
    this.#listeners.set(sessionId, { nodeId, ended: onEnded });
    try {
      const { audio, video } = sockets;
      const reply = await this.ports.bus.call(MediaRtp.method.tap, {
        ...{ nodeId, tenant, streamName, sessionId },
        ownerId: this.ports.bus.instanceId,
        audio: { ip: audio.ip, port: audio.port },
        video: { ip: video.ip, port: video.port },
        forWebrtc: true,
        labels: { protocol: 'relay' },
      });
      return { session: this.#session(sessionId, nodeId), reply };
    } catch (error) {
      this.#listeners.delete(sessionId);
      throw error;
    }
  }

  /** Makes a stream of RTP that will be sent to the addresses of the reply. Throws WeirError. */
  async feed(
    { tenant, streamName }: LocalStream,
    sessionId: string,
    tracks: readonly FedTrack[],
    labels: Readonly<Record<string, string>>,
    onEnded: EndListener,
  ): Promise<{ readonly session: MediaSession; readonly reply: IngestReply }> {
    this.#listeners.set(sessionId, { nodeId: undefined, ended: onEnded });
    try {
      const reply = await this.ports.bus.call(MediaRtp.method.ingest, {
        ...{ tenant, streamName, sessionId, labels: { ...labels } },
        claim: { claimer: `relay:${labels['relayId'] ?? sessionId}` },
        ownerId: this.ports.bus.instanceId,
        source: { case: 'rtpFeed', value: { tracks: tracks.map((track) => ({ ...track })) } },
      });
      if (this.#listeners.has(sessionId)) this.#listeners.set(sessionId, { nodeId: reply.nodeId, ended: onEnded });
      this.#nodes.expect(reply.nodeId);
      return { session: this.#session(sessionId, reply.nodeId), reply };
    } catch (error) {
      this.#listeners.delete(sessionId);
      throw error;
    }
  }

  requestKeyFrame(stream: LocalStream & { readonly nodeId: string }): void {
    const { nodeId, tenant, streamName } = stream;
    this.ports.bus.call(MediaRtp.method.requestKeyFrame, { nodeId, tenant, streamName }).catch((error: unknown) => {
      this.ports.log.debug({ err: error, nodeId, streamName }, 'a key frame could not be asked for');
    });
  }

  /** Tells the stream's players that its source has muted a medium. */
  signalMuted(
    { nodeId, tenant, streamName }: LocalStream & { readonly nodeId: string },
    sessionId: string,
    media: 'audio' | 'video',
    muted: boolean,
  ): void {
    const kind =
      media === 'audio' ? { case: 'audioMuted' as const, value: muted } : { case: 'videoMuted' as const, value: muted };
    this.ports.bus
      .call(Media.method.signal, { nodeId, tenant, streamName, sessionId, signal: { kind } })
      .catch((error: unknown) => {
        this.ports.log.debug({ err: error, nodeId, streamName }, 'a mute could not be told');
      });
  }

  async close(): Promise<void> {
    await Promise.all([this.#changes.close(), this.#nodes.close()]);
    this.#listeners.clear();
  }

  #session(sessionId: string, nodeId: string): MediaSession {
    return { sessionId, nodeId, close: (reason) => this.#close(sessionId, nodeId, reason) };
  }

  #ended(sessionId: string, reason: EndReason): void {
    const listener = this.#listeners.get(sessionId);
    this.#listeners.delete(sessionId);
    listener?.ended(reason);
  }

  /** Tries again when the node doesn't answer; a node that is gone has nothing left to close. */
  async #close(sessionId: string, nodeId: string, reason: EndReason): Promise<void> {
    this.#listeners.delete(sessionId);
    for (const delayMs of [...CLOSE_RETRY_DELAYS_MS, undefined]) {
      try {
        await this.ports.bus.call(Media.method.closeSession, { nodeId, sessionId, reason });
        return;
      } catch (error) {
        const mayPass = isWeirError(error, ErrorCode.UNAVAILABLE) || isWeirError(error, ErrorCode.DEADLINE);
        if (!mayPass || delayMs === undefined || !this.#nodes.has(nodeId)) {
          this.ports.log.debug({ err: error, sessionId, nodeId }, 'a session could not be closed on its node');
          return;
        }
        await sleep(delayMs);
      }
    }
  }
}
