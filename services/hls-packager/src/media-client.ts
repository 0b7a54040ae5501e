import { setTimeout as sleep } from 'node:timers/promises';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { nobodyServes, type Bus } from '@weir/bus';
import { EndReason, Media, MediaRtp, type RtpAddressSchema, type StreamInfo, type TapReply } from '@weir/contracts';
import type { Logger } from '@weir/platform';

export interface MediaClientPorts {
  readonly bus: Pick<Bus, 'call' | 'instanceId'>;
  readonly log: Logger;
  /** A node of which a session was just opened. */
  readonly watchNode: (nodeId: string) => void;
}

type RtpAddressInit = MessageInitShape<typeof RtpAddressSchema>;

const CLOSE_RETRY_DELAYS_MS = [250, 1_000, 4_000];

/** The media core, as far as packaging needs it. */
export class MediaClient {
  constructor(private readonly ports: MediaClientPorts) {}

  async find(tenant: string, streamName: string): Promise<StreamInfo | undefined> {
    const { streams } = await this.ports.bus.call(Media.method.findStreams, { tenant, streamName });
    return streams.find((stream) => stream.streamName === streamName);
  }

  tap(
    { nodeId, tenant, streamName }: StreamInfo,
    sessionId: string,
    addresses: { audio: RtpAddressInit; video: RtpAddressInit },
  ): Promise<TapReply> {
    this.ports.watchNode(nodeId);
    return this.ports.bus.call(MediaRtp.method.tap, {
      nodeId,
      tenant,
      streamName,
      sessionId,
      ownerId: this.ports.bus.instanceId,
      fromKeyFrame: true,
      ...addresses,
    });
  }

  requestKeyFrame({ nodeId, tenant, streamName }: StreamInfo): void {
    this.ports.bus.call(MediaRtp.method.requestKeyFrame, { nodeId, tenant, streamName }).catch((error: unknown) => {
      this.ports.log.debug({ err: error, streamName }, 'no key frame could be asked for');
    });
  }

  /** Tries again when the node doesn't answer; a node that is gone has nothing left to close. */
  closeSession(nodeId: string, sessionId: string): void {
    this.#close(nodeId, sessionId).catch((error: unknown) => {
      this.ports.log.warn({ err: error, nodeId, sessionId }, 'a media session could not be closed');
    });
  }

  async #close(nodeId: string, sessionId: string): Promise<void> {
    for (const delayMs of [...CLOSE_RETRY_DELAYS_MS, undefined]) {
      try {
        await this.ports.bus.call(Media.method.closeSession, { nodeId, sessionId, reason: EndReason.CLIENT });
        return;
      } catch (error) {
        if (nobodyServes(error)) return;
        if (delayMs === undefined) throw error;
        await sleep(delayMs, undefined, { ref: false });
      }
    }
  }
}
