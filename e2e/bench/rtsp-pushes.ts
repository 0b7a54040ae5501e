import { randomUUID } from 'node:crypto';
// eslint-disable-next-line @nx/enforce-module-boundaries -- a service must announce pushes, and this stands in for one
import { EndReason, Media, MediaRtp } from '@weir/contracts';
import { DEMO_TENANT } from './demo-user.js';
import type { BenchPlatform } from './platform.js';
import { StandInService } from './stand-in-service.js';

const EXPIRES_IN_MS = 60_000;

/** Makes media expect RTSP pushes, as robot-channel does for robots. */
export class RtspPushes {
  readonly #sessions: { nodeId: string; sessionId: string }[] = [];

  private constructor(private readonly service: StandInService) {}

  static async connect(platform: BenchPlatform): Promise<RtspPushes> {
    return new RtspPushes(await StandInService.connect(platform));
  }

  /** @returns the URL to which to push a stream of the demo tenant */
  async expect(streamName: string): Promise<string> {
    const { bus } = this.service;
    const sessionId = `bench-${randomUUID()}`;
    const { nodeId, pushUrl } = await bus.call(MediaRtp.method.ingest, {
      tenant: DEMO_TENANT,
      streamName,
      sessionId,
      ownerId: bus.instanceId,
      source: { case: 'rtspPush', value: { expiresInMs: EXPIRES_IN_MS } },
    });
    this.#sessions.push({ nodeId, sessionId });
    return pushUrl;
  }

  /** Ends the streams and disconnects from the bus. */
  async close(): Promise<void> {
    await Promise.allSettled(
      this.#sessions.map((session) =>
        this.service.bus.call(Media.method.closeSession, { ...session, reason: EndReason.CLIENT }),
      ),
    );
    await this.service.close();
  }
}
