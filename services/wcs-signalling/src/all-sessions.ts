import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Bus } from '@weir/bus';
import { WcsSessions, type WcsSession, type WcsSessionSchema, type WcsStreamSchema } from '@weir/contracts';
import type { Instances, Logger } from '@weir/platform';
import { CLOSE, ended, infoOf, type Stream } from '@weir/protocol-wcs';
import type { Session } from './session.js';
import type { Sessions } from './sessions.js';

/** With these limits, a page stays far below the bus's limit for one message. */
const PAGE_SESSIONS = 200;
const PAGE_STREAMS = 400;

const statusNow = (stream: Stream): string => {
  if (stream.phase.tag !== 'live') return 'PENDING';
  return stream.direction === 'publish' ? 'PUBLISHING' : 'PLAYING';
};

const described = (stream: Stream): MessageInitShape<typeof WcsStreamSchema> => {
  const { phase } = stream;
  const answered = 'codecs' in phase;
  return {
    peerId: stream.streamId,
    mediaSessionId: stream.mediaSessionId,
    name: stream.name,
    streamName: stream.streamName,
    published: stream.direction === 'publish',
    status: statusNow(stream),
    nodeId: answered ? phase.nodeId : '',
    ...(answered ? { codecs: phase.codecs } : {}),
    width: stream.width,
    height: stream.height,
    createdAtMs: BigInt(stream.createdMs),
    audioMuted: stream.audioMuted,
    videoMuted: stream.videoMuted,
    notCarried: [...stream.notCarried],
    recorded: stream.recording?.active ?? false,
  };
};

const describedSession = (session: Session): MessageInitShape<typeof WcsSessionSchema> => ({
  key: session.key,
  sessionId: session.wireId,
  appKey: session.appKey,
  clientVersion: session.clientVersion,
  createdAtMs: BigInt(session.createdMs),
  streams: session.streams.map(described),
});

/** Lets other instances see and end the sessions of this one. */
export function serveSessions(bus: Pick<Bus, 'serve'>, sessions: Sessions): { close(): Promise<void> } {
  const { method } = WcsSessions;
  const served = [
    bus.serve(method.list, async ({ tenant, afterNumber, withStreamsOnly }) => {
      const page: MessageInitShape<typeof WcsSessionSchema>[] = [];
      let streamCount = 0;
      for (const session of sessions.list()) {
        if (BigInt(session.number) <= afterNumber || session.tenant !== tenant) continue;
        const streams = session.streams.length;
        if (withStreamsOnly && streams === 0) continue;
        page.push(describedSession(session));
        streamCount += streams;
        if (page.length >= PAGE_SESSIONS || streamCount >= PAGE_STREAMS)
          return { sessions: page, nextAfterNumber: BigInt(session.number) };
      }
      return { sessions: page, nextAfterNumber: 0n };
    }),
    bus.serve(method.terminateStreams, async ({ tenant, peerIds }) => {
      let terminatedCount = 0;
      for (const wanted of peerIds) {
        const session = sessions.ownerOf(wanted);
        const stream = session?.streams.find(({ streamId }) => streamId === wanted);
        if (session?.tenant !== tenant || stream === undefined) continue;
        session.take({ tag: 'terminate-stream', streamId: stream.streamId, cause: ended('terminated') });
        terminatedCount += 1;
      }
      return { terminatedCount };
    }),
    bus.serve(method.terminateSessions, async ({ tenant, keys }) => {
      let terminatedCount = 0;
      for (const key of keys) {
        const session = sessions.find(key);
        if (session?.tenant !== tenant) continue;
        session.take({ tag: 'terminate', code: CLOSE.terminated, info: infoOf(ended('terminated'), 'publish') });
        terminatedCount += 1;
      }
      return { terminatedCount };
    }),
  ];
  return { close: async () => void (await Promise.all(served.map((registration) => registration.close()))) };
}

export interface AllSessionsPorts {
  readonly bus: Pick<Bus, 'call' | 'instanceId'>;
  /** The instances of this service. */
  readonly instances: Pick<Instances, 'list'>;
  readonly log: Logger;
}

/** A session and the instance that has it. */
export interface LocatedSession {
  readonly instanceId: string;
  readonly session: WcsSession;
}

/**
 * The sessions of all instances. It leaves out an instance that doesn't answer, because its clients are probably gone.
 */
export class AllSessions {
  constructor(private readonly ports: AllSessionsPorts) {}

  async list(tenant: string, options: { withStreamsOnly: boolean }): Promise<LocatedSession[]> {
    const lists = await this.#everywhere((instanceId) => this.#listOf(instanceId, tenant, options));
    return lists.flat();
  }

  async terminateStreams(tenant: string, streamIdsOf: ReadonlyMap<string, readonly string[]>): Promise<number> {
    return this.#sum(streamIdsOf, async (instanceId, streamIds) => {
      const request = { instanceId, tenant, peerIds: [...streamIds] };
      return (await this.ports.bus.call(WcsSessions.method.terminateStreams, request)).terminatedCount;
    });
  }

  async terminateSessions(tenant: string, keysOf: ReadonlyMap<string, readonly string[]>): Promise<number> {
    return this.#sum(keysOf, async (instanceId, keys) => {
      const request = { instanceId, tenant, keys: [...keys] };
      return (await this.ports.bus.call(WcsSessions.method.terminateSessions, request)).terminatedCount;
    });
  }

  async #sum(
    idsOf: ReadonlyMap<string, readonly string[]>,
    terminate: (instanceId: string, ids: readonly string[]) => Promise<number>,
  ): Promise<number> {
    const counts = await Promise.all([...idsOf].map(([instanceId, ids]) => terminate(instanceId, ids)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async #listOf(
    instanceId: string,
    tenant: string,
    { withStreamsOnly }: { withStreamsOnly: boolean },
  ): Promise<LocatedSession[]> {
    const located: LocatedSession[] = [];
    let afterNumber = 0n;
    do {
      const request = { instanceId, tenant, afterNumber, withStreamsOnly };
      const { sessions, nextAfterNumber } = await this.ports.bus.call(WcsSessions.method.list, request);
      located.push(...sessions.map((session) => ({ instanceId, session })));
      afterNumber = nextAfterNumber;
    } while (afterNumber !== 0n);
    return located;
  }

  async #everywhere<Reply>(ask: (instanceId: string) => Promise<Reply>): Promise<Reply[]> {
    const own = this.ports.bus.instanceId;
    const others = this.ports.instances.list().map(({ instanceId }) => instanceId);
    const replies = await Promise.all(
      [...new Set([own, ...others])].map(async (instanceId) => {
        try {
          return [await ask(instanceId)];
        } catch (error) {
          if (instanceId === own) throw error;
          this.ports.log.warn({ err: error, instanceId }, 'an instance could not be asked for its sessions');
          return [];
        }
      }),
    );
    return replies.flat();
  }
}
