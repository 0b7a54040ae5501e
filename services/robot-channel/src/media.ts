import { setTimeout as sleep } from 'node:timers/promises';
import { credentialRefMessage, type CredentialRef, type NameOwner } from '@weir/access';
import type { Bus } from '@weir/bus';
import { EndReason, ErrorCode, isWeirError, Media, MediaRtp, type StreamInfo } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { errOf, type Err } from '@weir/protocol-turing';

export interface StreamName {
  readonly tenant: string;
  readonly streamName: string;
}

export type Source =
  { readonly tag: 'push'; readonly expiresInMs: number } | { readonly tag: 'pull'; readonly url: string };

export interface Ingested {
  readonly nodeId: string;
  /** Empty for a source that is pulled. */
  readonly pushUrl: string;
}

/** By this label of a stream every instance knows that a robot-channel made it. */
const MADE_BY = 'service';
/** By this word robots' names are reserved. */
const NAME_OWNER: NameOwner = 'robots';
const CLOSE_RETRY_DELAYS_MS = [250, 1_000, 4_000];

/** The media core as robots' streams need it. */
export class MediaClient {
  constructor(
    private readonly ports: { readonly bus: Pick<Bus, 'call' | 'instanceId' | 'service'>; readonly log: Logger },
  ) {}

  /** Throws WeirError. */
  async ingest(
    { tenant, streamName }: StreamName,
    sessionId: string,
    source: Source,
    labels: Readonly<Record<string, string>>,
    deadlineMs: number,
  ): Promise<Ingested> {
    const { bus } = this.ports;
    const request = {
      tenant,
      streamName,
      sessionId,
      ownerId: bus.instanceId,
      labels: { ...labels, [MADE_BY]: bus.service },
      claim: { owner: NAME_OWNER },
      source:
        source.tag === 'push'
          ? { case: 'rtspPush' as const, value: { expiresInMs: source.expiresInMs } }
          : { case: 'rtspPull' as const, value: { url: source.url } },
    };
    const { nodeId, pushUrl } = await bus.call(MediaRtp.method.ingest, request, { deadlineMs });
    return { nodeId, pushUrl };
  }

  /** Undefined when there is none. Throws WeirError. */
  async find({ tenant, streamName }: StreamName): Promise<StreamInfo | undefined> {
    const { streams } = await this.ports.bus.call(Media.method.findStreams, { tenant, streamName });
    return streams.find((stream) => stream.streamName === streamName);
  }

  /**
   * Ends the stream if a robot-channel made it: its owner is gone, or it would not be in the way. Returns whether there
   * was one. Throws WeirError.
   */
  async evictOwn(name: StreamName): Promise<boolean> {
    const stream = await this.find(name);
    if (stream === undefined || stream.labels[MADE_BY] !== this.ports.bus.service) return false;
    await this.ports.bus.call(Media.method.closeSession, {
      nodeId: stream.nodeId,
      sessionId: stream.publisherSessionId,
      reason: EndReason.OWNER_LOST,
    });
    return true;
  }

  /** Tries again when the node doesn't answer; a node that is gone has nothing left to close. */
  async close(nodeId: string, sessionId: string): Promise<void> {
    for (const delayMs of [...CLOSE_RETRY_DELAYS_MS, undefined]) {
      try {
        await this.ports.bus.call(Media.method.closeSession, { nodeId, sessionId, reason: EndReason.CLIENT });
        return;
      } catch (error) {
        const mayPass = isWeirError(error, ErrorCode.UNAVAILABLE) || isWeirError(error, ErrorCode.DEADLINE);
        if (!mayPass || delayMs === undefined) {
          this.ports.log.warn({ err: error, nodeId, sessionId }, 'a stream could not be closed on its node');
          return;
        }
        await sleep(delayMs);
      }
    }
  }

  /** It ends with the credential of whom it is given to. Throws WeirError. */
  async playUrl(
    nodeId: string,
    { tenant, streamName }: StreamName,
    credential: CredentialRef,
    expiresInMs: number,
  ): Promise<string> {
    const request = { nodeId, tenant, streamName, expiresInMs, credential: credentialRefMessage(credential) };
    return (await this.ports.bus.call(MediaRtp.method.signRtspUrl, request)).url;
  }
}

/** What an app is told when a remote call failed that its request needed. */
export const errOfFailure = (error: unknown): Err => {
  if (!isWeirError(error)) return errOf('internal');
  switch (error.code) {
    case ErrorCode.ALREADY_EXISTS:
      return errOf('name-taken');
    case ErrorCode.FORBIDDEN:
    case ErrorCode.INVALID:
      return errOf('source-failed', error.message);
    case ErrorCode.UNAVAILABLE:
    case ErrorCode.EXHAUSTED:
    case ErrorCode.DEADLINE:
      return errOf('unavailable');
    case ErrorCode.UNAUTHENTICATED:
      return errOf('not-logged-in');
    case ErrorCode.NOT_FOUND:
      return errOf('stream-failed');
    case ErrorCode.UNSPECIFIED:
    case ErrorCode.NO_COMMON_CODECS:
    case ErrorCode.INTERNAL:
      return errOf('internal');
    default:
      error.code satisfies never;
      return errOf('internal');
  }
};

/** What an app is told when the stream ended before it was up. */
export const errOfEnd = (reason: EndReason, detail: string): Err => {
  const said = detail === '' ? undefined : detail;
  switch (reason) {
    case EndReason.SOURCE_FAILED:
      return errOf('source-failed', said);
    case EndReason.SOURCE_TIMEOUT:
    case EndReason.NO_MEDIA:
      return errOf('no-media');
    case EndReason.UNSPECIFIED:
    case EndReason.CLIENT:
    case EndReason.DISCONNECTED:
    case EndReason.OWNER_LOST:
    case EndReason.TERMINATED:
    case EndReason.ICE_TIMEOUT:
    case EndReason.ICE_LOST:
    case EndReason.DTLS_FAILED:
    case EndReason.STREAM_ENDED:
    case EndReason.NODE_LOST:
    case EndReason.NODE_SHUTDOWN:
    case EndReason.REPLACED:
      return errOf('stream-failed', said);
    default:
      // A newer node may know reasons that this instance doesn't.
      reason satisfies never;
      return errOf('stream-failed');
  }
};
