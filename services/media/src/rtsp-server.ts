import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { credentialNameOf, RefusalLog, type CredentialRef, type CredentialWatch } from '@weir/access';
import { ErrorCode, isWeirError } from '@weir/contracts';
import type { HostAnswer } from '@weir/protocol-rtsp';
import type { SdpTrack } from '@weir/sdp';
import { AddressAllowances, AddressCounts, rateKey, type Logger } from '@weir/platform';
import type { MediaCore } from './core.js';
import { usableTracks, type MediaCarrier } from './ingest.js';
import { streamNameOf, type Permit, type RtspAccess } from './rtsp-access.js';
import { RtspConnection, type Recording, type RtspHost } from './rtsp-connection.js';
import { describeForRtsp, playRtsp } from './rtsp-playback.js';
import type { Sources } from './sources.js';
import type { Stream, StreamListener } from './stream.js';

const MAX_CONNECTIONS = 4_096;
/** The requests that an address may send for each connection that it may have. */
const REQUESTS_PER_CONNECTION = { atOnce: 8, perSecond: 1 };
const MIN_REQUEST_BURST = 500;
const REFUSAL_LOG_INTERVAL_MS = 1_000;

export interface RtspServerOptions {
  host: string;
  port: number;
  core: MediaCore;
  sources: Sources;
  access: RtspAccess;
  credentials: Pick<CredentialWatch, 'watch'>;
  log: Logger;
  /** 0 is no limit, for connections and for the requests of all of them. */
  connectionsPerAddress: number;
}

/** RTSP in and out of the media core: robots push to signed URLs, and players play the streams that they may see. */
export class RtspServer {
  readonly #connections = new Set<RtspConnection>();
  /** The functions that stop watching credentials, by connection and by the name of the credential. */
  readonly #standing = new Map<RtspConnection, Map<string, () => void>>();
  readonly #connectionsOf = new AddressCounts();
  readonly #requestsOf: AddressAllowances | undefined;
  readonly #server: Server;
  #refusalLoggedMs = -REFUSAL_LOG_INTERVAL_MS;
  #unloggedRefusals = 0;

  readonly #refusals: RefusalLog;

  private constructor(private readonly options: RtspServerOptions) {
    this.#refusals = new RefusalLog(options.log);
    const { connectionsPerAddress: count } = options;
    if (count > 0)
      this.#requestsOf = new AddressAllowances({
        frameBurst: Math.max(MIN_REQUEST_BURST, count * REQUESTS_PER_CONNECTION.atOnce),
        framesPerSecond: count * REQUESTS_PER_CONNECTION.perSecond,
      });
    this.#server = createServer((socket) => this.#connected(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('drop', (dropped) => this.#refused(dropped?.remoteAddress, 'the server is full'));
  }

  static async listen(options: RtspServerOptions): Promise<RtspServer> {
    const rtsp = new RtspServer(options);
    // As many as there may be can come at once after a restart; the operating system holds them until they are accepted.
    rtsp.#server.listen({ port: options.port, host: options.host, backlog: MAX_CONNECTIONS });
    try {
      await once(rtsp.#server, 'listening');
    } catch (error) {
      throw new Error(`RTSP can't listen on port ${options.port} of ${options.host}; see WEIR_RTSP_PORT`, {
        cause: error,
      });
    }
    return rtsp;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.stop('shutdown');
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }

  #connected(socket: Socket): void {
    const address = rateKey(socket.remoteAddress ?? '');
    if (!this.#connectionsOf.take(address, this.options.connectionsPerAddress)) {
      socket.destroy();
      this.#refused(address, 'the address has too many; see WEIR_RTSP_CONNECTIONS_PER_ADDRESS');
      return;
    }
    const connection: RtspConnection = new RtspConnection(socket, address, this.#host, this.options.log, () => {
      this.#connections.delete(connection);
      this.#connectionsOf.release(address);
      this.#letGo(connection);
    });
    this.#connections.add(connection);
  }

  /** Logs at most one line a second for any number of refused connections. */
  #refused(address: string | undefined, reason: string): void {
    this.#unloggedRefusals += 1;
    const nowMs = performance.now();
    if (nowMs - this.#refusalLoggedMs < REFUSAL_LOG_INTERVAL_MS) return;
    this.options.log.warn({ address, reason, refused: this.#unloggedRefusals }, 'rtsp connections are refused');
    this.#refusalLoggedMs = nowMs;
    this.#unloggedRefusals = 0;
  }

  get #host(): RtspHost {
    const { sources, access } = this.options;
    return {
      sayRefusal: (message, fields, sent) => this.#refusals.say(message, fields, sent),
      allowsRequest: (address) => this.#requestsOf?.take(address, performance.now()) ?? true,
      authorise: async (request, connection) => {
        const decision = await access.decide(request, sources.pushUrlOf(request.path));
        if (decision.tag === 'permitted' && decision.permit.credential !== undefined)
          this.#standOn(connection, decision.permit.credential);
        return decision;
      },
      describe: async (path) => {
        const stream = this.#find(path);
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
      record: (path, announced, permit, connection) => this.#record(path, announced, permit, connection),
      play: async (path, connection) => {
        const stream = this.#find(path);
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

  /** The connection ends when the credential ends. */
  #standOn(connection: RtspConnection, credential: CredentialRef): void {
    const stops = this.#standing.get(connection) ?? new Map<string, () => void>();
    const name = credentialNameOf(credential);
    if (stops.has(name) || !this.#connections.has(connection)) return;
    stops.set(
      name,
      this.options.credentials.watch([credential], () => connection.stop('revoked')),
    );
    this.#standing.set(connection, stops);
  }

  #letGo(connection: RtspConnection): void {
    for (const stop of this.#standing.get(connection)?.values() ?? []) stop();
    this.#standing.delete(connection);
  }

  async #record(
    path: string,
    announced: readonly SdpTrack[],
    permit: Permit,
    connection: RtspConnection,
  ): Promise<Recording | HostAnswer> {
    const usable = usableTracks(announced);
    if (usable.length === 0) return refused('unsupported-media');
    const session = await this.options.sources.beginPush(path, announced, permit);
    if (typeof session === 'string') return refused(session);
    let isOver = false;
    const carrier: MediaCarrier = {
      stop: (cause) => {
        if (!isOver) connection.stop(cause);
      },
    };
    session.takeFrom(carrier);
    const places = new Map(usable.map(({ announcedIndex }, place) => [announcedIndex, place]));
    return {
      rtp: (track, packet) => session.rtp(places.get(track) ?? -1, packet),
      rtcp: (track, packet) => session.rtcp(places.get(track) ?? -1, packet),
      ended: (how) => {
        isOver = true;
        this.options.sources.pushEnded(path, session, carrier, how);
      },
    };
  }

  #find(path: string): Stream | undefined {
    const name = streamNameOf(path);
    return name === undefined ? undefined : this.options.core.findLocal(name.tenant, name.streamName);
  }
}

const refused = (refusal: Extract<HostAnswer, { tag: 'refused' }>['refusal']): HostAnswer => ({
  tag: 'refused',
  refusal,
});
