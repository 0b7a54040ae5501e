import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { credentialNameOf, RefusalLog, type CredentialRef, type CredentialWatch } from '@weir/access';
import { ErrorCode, isWeirError } from '@weir/contracts';
import type { HostAnswer } from '@weir/protocol-rtsp';
import type { Logger } from '@weir/platform';
import type { MediaCore } from './core.js';
import { usableTracks } from './ingest.js';
import { streamNameOf, type RtspAccess } from './rtsp-access.js';
import { RtspConnection, type RtspHost } from './rtsp-connection.js';
import { describeForRtsp, playRtsp } from './rtsp-playback.js';
import type { Sources } from './sources.js';
import type { Stream, StreamListener } from './stream.js';

const MAX_CONNECTIONS = 4_096;

export interface RtspServerOptions {
  host: string;
  port: number;
  core: MediaCore;
  sources: Sources;
  access: RtspAccess;
  credentials: Pick<CredentialWatch, 'watch'>;
  log: Logger;
}

/** RTSP in and out of the media core: robots push to signed URLs, players play every stream they may see. */
export class RtspServer {
  private readonly connections = new Set<RtspConnection>();
  /** How to stop watching what each connection stands on, by the credential's name. */
  private readonly standing = new Map<RtspConnection, Map<string, () => void>>();
  private readonly server: Server;

  private readonly refusals: RefusalLog;

  private constructor(private readonly options: RtspServerOptions) {
    this.refusals = new RefusalLog(options.log);
    this.server = createServer((socket) => {
      const connection: RtspConnection = new RtspConnection(socket, this.host, options.log, () => {
        this.connections.delete(connection);
        this.letGo(connection);
      });
      this.connections.add(connection);
    });
    this.server.maxConnections = MAX_CONNECTIONS;
  }

  static async listen(options: RtspServerOptions): Promise<RtspServer> {
    const rtsp = new RtspServer(options);
    rtsp.server.listen(options.port, options.host);
    try {
      await once(rtsp.server, 'listening');
    } catch (error) {
      throw new Error(`RTSP can't listen on port ${options.port} of ${options.host}; see WEIR_RTSP_PORT`, {
        cause: error,
      });
    }
    return rtsp;
  }

  get port(): number {
    const address = this.server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.stop('shutdown');
    const closed = once(this.server, 'close');
    this.server.close();
    await closed;
  }

  private get host(): RtspHost {
    const { sources, access } = this.options;
    return {
      sayRefusal: (message, fields, sent) => this.refusals.say(message, fields, sent),
      authorise: async (request, connection) => {
        const decision = await access.decide(request, sources.pushUrlOf(request.path));
        if (decision.credential !== undefined) this.standOn(connection, decision.credential);
        return decision;
      },
      describe: async (path) => {
        const stream = this.find(path);
        if (stream === undefined) return refused('not-found');
        try {
          return {
            tag: 'described',
            sessionName: stream.info.streamName,
            tracks: await stream.use((ending) => describeForRtsp(stream, ending)),
          };
        } catch (error) {
          if (isWeirError(error)) return refused(error.code === ErrorCode.NOT_FOUND ? 'not-found' : 'unavailable');
          throw error;
        }
      },
      mayRecord: (path) => (sources.mayPush(path) ? { tag: 'accepted' } : refused('not-found')),
      record: async (path, announced, connection) => {
        const session = sources.takePush(path);
        if (session === undefined) return refused('busy');
        const begun = session.begin(announced);
        if (begun !== 'begun') return refused(begun === 'unsupported' ? 'unsupported-media' : 'unavailable');
        session.onClose = () => connection.stop('stream-ended');
        const places = new Map(usableTracks(announced).map(({ announcedIndex }, place) => [announcedIndex, place]));
        return {
          rtp: (track, packet) => session.rtp(places.get(track) ?? -1, packet),
          rtcp: (track, packet) => session.rtcp(places.get(track) ?? -1, packet),
          lost: () => {
            session.onClose = undefined;
            session.lost('the pusher has closed its connection');
          },
        };
      },
      play: async (path, connection) => {
        const stream = this.find(path);
        if (stream === undefined) return refused('not-found');
        const playback = playRtsp(stream);
        const viewer: StreamListener = {
          onStreamEnded: () => connection.stop('stream-ended'),
          onVideoSize: () => undefined,
          onSignal: () => undefined,
        };
        return {
          start: (deliver) => {
            stream.join(viewer);
            playback.start(deliver);
          },
          stop: () => {
            stream.leave(viewer);
            playback.stop();
          },
        };
      },
    };
  }

  /** What a connection was opened for ends with the credential that it was opened with. */
  private standOn(connection: RtspConnection, credential: CredentialRef): void {
    const stops = this.standing.get(connection) ?? new Map<string, () => void>();
    const name = credentialNameOf(credential);
    if (stops.has(name) || !this.connections.has(connection)) return;
    stops.set(
      name,
      this.options.credentials.watch([credential], () => connection.stop('revoked')),
    );
    this.standing.set(connection, stops);
  }

  private letGo(connection: RtspConnection): void {
    for (const stop of this.standing.get(connection)?.values() ?? []) stop();
    this.standing.delete(connection);
  }

  private find(path: string): Stream | undefined {
    const name = streamNameOf(path);
    return name === undefined ? undefined : this.options.core.findLocal(name.tenant, name.streamName);
  }
}

const refused = (refusal: Extract<HostAnswer, { tag: 'refused' }>['refusal']): HostAnswer => ({
  tag: 'refused',
  refusal,
});
