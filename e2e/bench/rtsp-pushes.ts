import { randomUUID } from 'node:crypto';
// eslint-disable-next-line @nx/enforce-module-boundaries -- a service must announce pushes, and this stands in for one
import { Bus } from '@weir/bus';
// eslint-disable-next-line @nx/enforce-module-boundaries -- as above
import { EndReason, InstanceEvents, Media, MediaRtp } from '@weir/contracts';
import { DEMO_TENANT } from './demo-user.js';
import type { BenchPlatform } from './platform.js';

const ALIVE_INTERVAL_MS = 1_000;
const EXPIRES_IN_MS = 60_000;

/** Makes media expect RTSP pushes, as robot-channel does for robots. */
export class RtspPushes {
  private readonly sessions: { nodeId: string; sessionId: string }[] = [];
  private readonly timer: NodeJS.Timeout;

  private constructor(private readonly bus: Bus) {
    this.sayAlive();
    this.timer = setInterval(() => this.sayAlive(), ALIVE_INTERVAL_MS);
  }

  static async connect({ natsUrl }: BenchPlatform): Promise<RtspPushes> {
    const url = new URL(natsUrl);
    const bus = await Bus.connect({
      url: natsUrl,
      service: 'bench',
      instanceId: `bench-${randomUUID()}`,
      ...(url.username !== '' && {
        user: decodeURIComponent(url.username),
        password: decodeURIComponent(url.password),
      }),
    });
    return new RtspPushes(bus);
  }

  /** @returns the URL to which to push a stream of the demo tenant */
  async expect(streamName: string): Promise<string> {
    const sessionId = `bench-${randomUUID()}`;
    const { nodeId, pushUrl } = await this.bus.call(MediaRtp.method.ingest, {
      tenant: DEMO_TENANT,
      streamName,
      sessionId,
      ownerId: this.bus.instanceId,
      source: { case: 'rtspPush', value: { expiresInMs: EXPIRES_IN_MS } },
    });
    this.sessions.push({ nodeId, sessionId });
    return pushUrl;
  }

  /** Ends the streams and disconnects from the bus. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    await Promise.allSettled(
      this.sessions.map((session) =>
        this.bus.call(Media.method.closeSession, { ...session, reason: EndReason.CLIENT }),
      ),
    );
    await this.bus.drain();
  }

  /** Media ends the streams of an owner that falls silent. */
  private sayAlive(): void {
    this.bus.publish(InstanceEvents.method.alive, {
      service: this.bus.service,
      instanceId: this.bus.instanceId,
      startedAtMs: BigInt(Math.floor(performance.timeOrigin)),
    });
  }
}
