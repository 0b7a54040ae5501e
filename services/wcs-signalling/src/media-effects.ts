import { ErrorCode, isWeirError } from '@weir/contracts';
import type { Answered, MediaClient, MediaSession, SessionEvent } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import type { Effect, Input, MediaEvent, MediaOffer, StreamId } from '@weir/protocol-wcs';
import type { PublisherClaim } from './admission.js';
import { contractReason, contractSignal, endReasonOf, mediaEventOf, refusalCodeOf } from './contract.js';

type EffectOf<Tag extends Effect['tag']> = Extract<Effect, { tag: Tag }>;
type Answer = Extract<Input, { tag: 'answered' }>;

export interface MediaEffectsPorts {
  readonly media: Pick<MediaClient, 'find' | 'publish' | 'play' | 'signal' | 'snapshot'>;
  readonly log: Logger;
  readonly statsIntervalMs: number;
}

/** The WCS session for which the media core is asked. */
export interface SessionOwner {
  readonly tenant: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Gets the media core's events of a stream. */
  readonly take: (input: Input) => void;
}

/** The reason that the media core gives when a stream ended during a request. */
const STREAM_ENDED = 'stream_ended';

/** Performs those effects of all WCS sessions that need the media core. Each result is an input for its session. */
export class MediaEffects {
  /** Each session leaves the map when it ends. */
  readonly #sessions = new Map<StreamId, MediaSession<Answered>>();

  constructor(private readonly ports: MediaEffectsPorts) {}

  async find({ ref, streamName }: EffectOf<'find'>, { tenant }: SessionOwner): Promise<Input> {
    try {
      const stream = await this.ports.media.find({ tenant, streamName });
      return { tag: 'found', ref, stream: stream && { nodeId: stream.nodeId, ready: stream.ready } };
    } catch (error) {
      return this.#refused(ref, error, 'looking for a stream failed');
    }
  }

  async publish(effect: EffectOf<'publish'>, owner: SessionOwner, claim: PublisherClaim | undefined): Promise<Input> {
    const { streamId, streamName } = effect;
    try {
      const session = this.ports.media.publish(
        { tenant: owner.tenant, streamName },
        {
          ...this.#request(effect, owner),
          protocol: 'wcs',
          claim: claim && { ...claim, publishPatterns: [...claim.publishPatterns] },
        },
      );
      this.#follow(streamId, session, owner);
      return answerOf(streamId, await session.opened);
    } catch (error) {
      return this.#refused(streamId, error, 'publishing a stream failed');
    }
  }

  async play(effect: EffectOf<'play'>, owner: SessionOwner): Promise<Input> {
    const { streamId, streamName, nodeId } = effect;
    try {
      const session = this.ports.media.play({ tenant: owner.tenant, streamName, nodeId }, this.#request(effect, owner));
      this.#follow(streamId, session, owner);
      const played = await session.opened;
      const { audioMuted = false, videoMuted = false, width = 0, height = 0 } = played.stream ?? {};
      return { ...answerOf(streamId, played), stream: { audioMuted, videoMuted, width, height } };
    } catch (error) {
      if (isWeirError(error, ErrorCode.NOT_FOUND) && error.fields['reason'] === STREAM_ENDED)
        return { tag: 'media', streamId, event: { tag: 'ended', reason: 'stream-ended' } };
      return this.#refused(streamId, error, 'playing a stream failed');
    }
  }

  /** Closes a session. One that has ended or was refused needs no closing. Never rejects. */
  async closeSession({ streamId, reason }: EffectOf<'close-session'>): Promise<void> {
    await this.#sessions.get(streamId)?.close(contractReason(reason));
  }

  signal({ streamId, nodeId, streamName, signal }: EffectOf<'signal'>, { tenant }: SessionOwner): Promise<void> {
    return this.ports.media.signal({ tenant, streamName, nodeId }, streamId, contractSignal(signal));
  }

  async snapshot({ queryId, nodeId, streamName }: EffectOf<'snapshot'>, { tenant }: SessionOwner): Promise<Input> {
    try {
      const png = await this.ports.media.snapshot({ tenant, streamName, nodeId });
      return { tag: 'snapshot-taken', queryId, pngBase64: png.toString('base64') };
    } catch (error) {
      return this.#refused(queryId, error, 'taking a snapshot failed');
    }
  }

  #request(
    { streamId, offerSdp, ...offer }: MediaOffer & { readonly streamId: StreamId },
    { labels, take }: SessionOwner,
  ) {
    return {
      ...{ sessionId: streamId, labels, statsIntervalMs: this.ports.statsIntervalMs },
      offer: { ...offer, sdp: offerSdp },
      onEvent: (told: SessionEvent) => {
        const event = mediaEventOf(told);
        if (event !== undefined) take({ tag: 'media', streamId, event });
      },
    };
  }

  #follow(streamId: StreamId, session: MediaSession<Answered>, { take }: SessionOwner): void {
    this.#sessions.set(streamId, session);
    void session.ended.then((ending) => {
      this.#sessions.delete(streamId);
      if (ending.tag !== 'ended') return;
      const event: MediaEvent = { tag: 'ended', reason: endReasonOf(ending.reason) };
      take({ tag: 'media', streamId, event });
    });
  }

  #refused(ref: Extract<Input, { tag: 'refused' }>['ref'], error: unknown, message: string): Input {
    const code = refusalCodeOf(error);
    // The client's errors are logged with its refusal. This line is for failures of the platform.
    if (code === 'internal' || code === 'unavailable' || code === 'deadline')
      this.ports.log.warn({ err: error, ref }, message);
    return { tag: 'refused', ref, code, ...(error instanceof Error && { detail: error.message }) };
  }
}

const answerOf = (streamId: StreamId, { nodeId, answerSdp, codecs, notCarried }: Answered): Answer => ({
  ...{ tag: 'answered', streamId, nodeId, codecs, notCarried },
  sdp: answerSdp,
});
