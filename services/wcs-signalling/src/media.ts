import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus } from '@weir/bus';
import { ErrorCode, IceTransport, isWeirError, Media } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import type { Effect, Input, MediaOffer, PeerId } from '@weir/protocol-wcs';
import type { PublisherClaim } from './admission.js';
import { contractReason, refusalCodeOf } from './contract.js';

type EffectOf<Type extends Effect['type']> = Extract<Effect, { type: Type }>;

export interface MediaPorts {
  readonly bus: Pick<Bus, 'call' | 'instanceId'>;
  readonly log: Logger;
  /** A node of which a session was just opened. */
  readonly watchNode: (nodeId: string) => void;
  readonly statsIntervalMs: number;
}

/** Whose session it is. */
export interface SessionOwner {
  readonly tenant: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The media core's word for whoever came while the stream ended. */
const STREAM_ENDED = 'stream_ended';
const CLOSE_RETRY_DELAYS_MS = [250, 1_000, 4_000];

/** The media core as a session's effects need it: each takes an effect and gives the input that is its result. */
export class MediaClient {
  constructor(private readonly ports: MediaPorts) {}

  async find({ ref, streamName }: EffectOf<'find'>, { tenant }: SessionOwner): Promise<Input> {
    try {
      const { streams } = await this.ports.bus.call(Media.method.findStreams, { tenant, streamName });
      const stream = streams.find((candidate) => candidate.streamName === streamName);
      return {
        type: 'found',
        ref,
        stream: stream === undefined ? undefined : { nodeId: stream.nodeId, ready: stream.ready },
      };
    } catch (error) {
      return this.#refused(ref, error, 'looking for a stream failed');
    }
  }

  async publish(
    effect: EffectOf<'publish'>,
    { tenant, labels }: SessionOwner,
    claim: PublisherClaim | undefined,
  ): Promise<Input> {
    const { peerId, streamName } = effect;
    try {
      const { nodeId, answerSdp, codecs, notCarried } = await this.ports.bus.call(Media.method.publish, {
        tenant,
        streamName,
        sessionId: peerId,
        protocol: 'wcs',
        labels: { ...labels },
        ...(claim !== undefined && { claim: { ...claim, publishPatterns: [...claim.publishPatterns] } }),
        ...this.#request(effect),
      });
      this.ports.watchNode(nodeId);
      const { audio, video } = codecs ?? { audio: '', video: '' };
      return { type: 'answered', peerId, nodeId, sdp: answerSdp, codecs: { audio, video }, notCarried };
    } catch (error) {
      return this.#refused(peerId, error, 'publishing a stream failed');
    }
  }

  async play(effect: EffectOf<'play'>, { tenant, labels }: SessionOwner): Promise<Input> {
    const { peerId, nodeId, streamName } = effect;
    this.ports.watchNode(nodeId);
    try {
      const { answerSdp, codecs, notCarried, stream } = await this.ports.bus.call(Media.method.play, {
        nodeId,
        tenant,
        streamName,
        sessionId: peerId,
        labels: { ...labels },
        ...this.#request(effect),
      });
      const { audio, video } = codecs ?? { audio: '', video: '' };
      const { audioMuted = false, videoMuted = false, width = 0, height = 0 } = stream ?? {};
      return {
        type: 'answered',
        peerId,
        nodeId,
        sdp: answerSdp,
        codecs: { audio, video },
        notCarried,
        stream: { audioMuted, videoMuted, width, height },
      };
    } catch (error) {
      if (isWeirError(error, ErrorCode.NOT_FOUND) && error.fields['reason'] === STREAM_ENDED)
        return { type: 'media', peerId, event: { kind: 'ended', reason: 'stream-ended' } };
      return this.#refused(peerId, error, 'playing a stream failed');
    }
  }

  /** Tries again when the node doesn't answer; a node that is gone has nothing left to close. */
  async closeSession({ peerId, nodeId, reason }: EffectOf<'close-session'>): Promise<void> {
    for (const delayMs of [...CLOSE_RETRY_DELAYS_MS, undefined]) {
      try {
        await this.ports.bus.call(Media.method.closeSession, {
          nodeId,
          sessionId: peerId,
          reason: contractReason(reason),
        });
        return;
      } catch (error) {
        const mayPass = isWeirError(error, ErrorCode.UNAVAILABLE) || isWeirError(error, ErrorCode.DEADLINE);
        if (!mayPass || delayMs === undefined) {
          this.ports.log.warn({ err: error, peerId, nodeId }, 'a session could not be closed on its node');
          return;
        }
        await sleep(delayMs);
      }
    }
  }

  async signal({ peerId, nodeId, streamName, signal }: EffectOf<'signal'>, { tenant }: SessionOwner): Promise<void> {
    try {
      await this.ports.bus.call(Media.method.signal, {
        nodeId,
        tenant,
        streamName,
        sessionId: peerId,
        signal: {
          kind:
            signal.kind === 'data'
              ? { case: 'dataJson', value: signal.json }
              : { case: signal.kind === 'audio-muted' ? 'audioMuted' : 'videoMuted', value: signal.muted },
        },
      });
    } catch (error) {
      this.ports.log.warn({ err: error, peerId, nodeId, kind: signal.kind }, 'a signal did not reach the stream');
    }
  }

  async snapshot({ queryId, nodeId, streamName }: EffectOf<'snapshot'>, { tenant }: SessionOwner): Promise<Input> {
    try {
      const png = await this.snapshotOf(nodeId, tenant, streamName);
      return { type: 'snapshot-taken', queryId, pngBase64: png.toString('base64') };
    } catch (error) {
      return this.#refused(queryId, error, 'taking a snapshot failed');
    }
  }

  /** Throws WeirError. */
  async snapshotOf(nodeId: string, tenant: string, streamName: string): Promise<Buffer> {
    const { png } = await this.ports.bus.call(Media.method.snapshot, { nodeId, tenant, streamName });
    return Buffer.from(png);
  }

  /** Those of the sessions that the node doesn't have. Throws WeirError when it can't be asked. */
  async missing(nodeId: string, peerIds: readonly PeerId[]): Promise<PeerId[]> {
    const { stats } = await this.ports.bus.call(Media.method.getSessionStats, { nodeId, sessionIds: [...peerIds] });
    const there = new Set(stats.map(({ sessionId }) => sessionId));
    return peerIds.filter((peerId) => !there.has(peerId));
  }

  #request({ offerSdp, tcpOnly, minBps, maxBps }: MediaOffer) {
    return {
      ownerId: this.ports.bus.instanceId,
      offerSdp,
      bitrate: { minBps: BigInt(Math.round(minBps)), maxBps: BigInt(Math.round(maxBps)) },
      iceTransport: tcpOnly ? IceTransport.TCP : IceTransport.ANY,
      statsIntervalMs: this.ports.statsIntervalMs,
    };
  }

  #refused(ref: Extract<Input, { type: 'refused' }>['ref'], error: unknown, message: string): Input {
    const code = refusalCodeOf(error);
    // What the client did is told with its refusal; what we couldn't do is ours.
    if (code === 'internal' || code === 'unavailable' || code === 'deadline')
      this.ports.log.warn({ err: error, ref }, message);
    return { type: 'refused', ref, code, ...(error instanceof Error && { detail: error.message }) };
  }
}
