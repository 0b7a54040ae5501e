import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Access, credentialRefOf, CredentialWatch, RefusalLog, type Principal } from '@weir/access';
import type { Registration } from '@weir/bus';
import { ErrorCode, RobotEvents, WeirError } from '@weir/contracts';
import { MediaClient } from '@weir/media-client';
import { OutboundGuard } from '@weir/outbound';
import { Leases } from '@weir/leases';
import { Instances, UnfinishedFrames } from '@weir/platform';
import { Acts } from './acts.js';
import { AppSockets } from './app-sockets.js';
import { serveBus } from './bus.js';
import { CameraStreams, LEASE_TTL_MS } from './camera-streams.js';
import { ChannelServer, type Channel } from './channel-server.js';
import { Commands } from './commands.js';
import {
  appSettings,
  MAX_PAYLOAD_BYTES,
  robotSettings,
  UNFINISHED_FRAMES,
  type RobotChannelContext,
} from './config.js';
import { openDatabase, type Database } from './database.js';
import { makeDemoRobots, removeDemoRobots } from './demo-robots.js';
import { Fleet } from './fleet.js';
import { RobotMetrics } from './metrics.js';
import { Presence } from './presence.js';
import { PublicUrls } from './public-urls.js';
import { boundRobot } from './rights.js';
import { RobotNames } from './robot-names.js';
import { PRESENCE_TTL_MS, RobotSockets } from './robot-sockets.js';

const INSTANCE_SILENT_AFTER_MS = 4_000;
const COMPARE_INTERVAL_MS = 5_000;
const COMPARISONS_PER_CATCH_UP = 6;

/**
 * The service's parts, wired. They close in the reverse order: streams, sockets, what these need, what watches others.
 */
export class RobotChannel {
  readonly access: Access;
  readonly fleet: Fleet;
  readonly presence: Presence;
  readonly guard: OutboundGuard;
  readonly robots: RobotSockets;
  readonly apps: AppSockets;
  readonly streams: CameraStreams;
  readonly #server: ChannelServer;
  readonly #unfinishedFrames: UnfinishedFrames;
  readonly #credentials: CredentialWatch;
  readonly #names: RobotNames;
  readonly #media: MediaClient;
  readonly #peers: Instances;
  readonly #registrations: readonly Registration[];
  readonly #stopWatchingConnection: () => void;
  readonly #comparing: NodeJS.Timeout;
  #draining = false;

  /** Migrates the database and starts to serve requests. */
  static async open(context: RobotChannelContext): Promise<RobotChannel> {
    const { config, log } = context;
    const database = await openDatabase(config.DATABASE_URL, log);
    if (config.WEIR_SINGLE_MACHINE) {
      if (config.WEIR_DEMO_ROBOTS) await makeDemoRobots(database);
    } else {
      const count = await removeDemoRobots(database);
      if (count > 0) log.warn({ count }, 'what the single-machine mode had made was removed');
    }
    return new RobotChannel(context, database);
  }

  private constructor(
    readonly context: RobotChannelContext,
    readonly database: Database,
  ) {
    const { bus, redis, log, config } = context;
    const metrics = new RobotMetrics();
    const refusals = new RefusalLog(log);
    this.access = new Access({ bus, redis, log });
    this.guard = new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW });
    this.#names = new RobotNames({ database, redis, log });
    this.#names.start();
    this.fleet = new Fleet({ database, bus, names: this.#names });
    this.#credentials = new CredentialWatch({
      bus,
      redis,
      log,
      intervalMs: config.WEIR_ROBOT_CREDENTIAL_CHECK_MS,
    });
    this.robots = new RobotSockets({
      presence: () => this.presence,
      credentials: this.#credentials,
      log,
      arrived: (robot) => this.streams.robotReturned(robot),
      socket: {
        settings: robotSettings(config),
        metrics,
        log,
        refusals,
        maxBufferedBytes: config.WEIR_ROBOT_MAX_BUFFERED_BYTES,
      },
    });
    this.presence = new Presence({
      bus,
      log,
      leases: new Leases(redis, { prefix: 'robot-channel:robot', owner: bus.instanceId, ttlMs: PRESENCE_TTL_MS }),
      changed: (robot, online) => this.apps.robotChanged(robot, online),
      arrived: (robot) => {
        this.robots.replacedBy(robot);
        this.streams.robotReturned(robot);
      },
    });
    this.#media = new MediaClient({ bus, log });
    this.streams = new CameraStreams({
      bus,
      fleet: this.fleet,
      leases: new Leases(redis, { prefix: 'robot-channel:stream', owner: bus.instanceId, ttlMs: LEASE_TTL_MS }),
      commands: new Commands({ bus, sockets: this.robots, presence: this.presence, log }),
      media: this.#media,
      credentials: this.#credentials,
      metrics,
      log,
      commandTimeoutMs: config.WEIR_ROBOT_COMMAND_TIMEOUT_MS,
      lingerMs: config.WEIR_ROBOT_LINGER_MS,
    });
    this.apps = new AppSockets({
      credentials: this.#credentials,
      socket: {
        acts: new Acts({
          fleet: this.fleet,
          presence: this.presence,
          streams: this.streams,
          media: this.#media,
          urls: new PublicUrls(config.WEIR_PUBLIC_URL ?? `http://127.0.0.1:${config.WEIR_HTTP_PORT}`),
          log,
          playUrlTtlMs: config.WEIR_ROBOT_PLAY_URL_TTL_MS,
        }),
        settings: appSettings(config),
        metrics,
        log,
        refusals,
        maxBufferedBytes: config.WEIR_ROBOT_MAX_BUFFERED_BYTES,
      },
    });
    this.#peers = new Instances({
      bus,
      service: 'robot-channel',
      silentAfterMs: INSTANCE_SILENT_AFTER_MS,
      onLost: (instanceId) => this.#keep(this.presence.instanceLost(instanceId)),
    });
    this.#unfinishedFrames = new UnfinishedFrames({
      ...UNFINISHED_FRAMES,
      timeoutMs: config.WEIR_ROBOT_FRAME_TIMEOUT_MS,
    });
    this.#server = new ChannelServer({
      channels: new Map<string, Channel>([
        ['/channel/app', { admit: async (principal) => (socket) => this.apps.open(socket, principal) }],
        ['/channel/robot', { admit: (principal) => this.#admitRobot(principal) }],
      ]),
      access: this.access,
      metrics,
      log,
      refusals,
      maxPayloadBytes: MAX_PAYLOAD_BYTES,
      unfinishedFrames: this.#unfinishedFrames,
      hasRoom: () => !this.#draining && this.robots.openCount + this.apps.count < config.WEIR_ROBOT_MAX_SOCKETS,
    });
    this.#registrations = [
      ...serveBus(bus, this.#served),
      bus.subscribe(RobotEvents.method.robotChanged, (robot) => this.#robotChanged(robot.tenant, robot.robotId)),
    ];
    this.#stopWatchingConnection = bus.onConnectionChange((connected) => {
      if (connected) this.#keep(this.presence.catchUp());
    });
    let rounds = 0;
    this.#comparing = setInterval(() => {
      rounds += 1;
      const isTime = rounds % COMPARISONS_PER_CATCH_UP === 0;
      this.#keep(isTime ? this.presence.catchUp() : this.presence.compare());
    }, COMPARE_INTERVAL_MS);
    metrics.observe(() => ({ robots: this.robots.count, apps: this.apps.count, ...this.streams.load }));
  }

  /** Must be called before the HTTP port opens. */
  listen(app: NestFastifyApplication): void {
    this.#server.listen(app.getHttpServer());
  }

  async isDatabaseThere(): Promise<void> {
    await this.database.$queryRaw`SELECT 1`;
  }

  /** Streams end first, so that robots are told to stop while their sockets are still open. */
  async drain(): Promise<void> {
    this.#draining = true;
    await this.streams.drain();
    this.apps.drain();
    await this.robots.drain();
    await this.#server.close();
    this.#unfinishedFrames.close();
  }

  async close(): Promise<void> {
    clearInterval(this.#comparing);
    this.#stopWatchingConnection();
    this.apps.close();
    this.robots.close();
    await Promise.all(this.#registrations.map((registration) => registration.close()));
    await Promise.all([this.streams.close(), this.presence.close(), this.#credentials.close(), this.#names.close()]);
    await Promise.all([this.#media.close(), this.#peers.close()]);
    await this.database.$disconnect();
  }

  get #served() {
    const { fleet, presence, robots: sockets, streams } = this;
    return { fleet, presence, sockets, streams };
  }

  async #admitRobot(principal: Principal): ReturnType<Channel['admit']> {
    const { tenant } = principal;
    const robotId = boundRobot(principal);
    if (robotId === undefined) throw new WeirError(ErrorCode.FORBIDDEN, 'The credential is not bound to one robot');
    await this.fleet.get(tenant, robotId);
    return (socket) => this.robots.open({ tenant, robotId }, socket, credentialRefOf(principal));
  }

  async #robotChanged(tenant: string, robotId: string): Promise<void> {
    if (this.robots.find({ tenant, robotId }) === undefined) return;
    if ((await this.fleet.find(tenant, robotId)) === undefined) this.robots.removed({ tenant, robotId });
  }

  #keep(work: Promise<void>): void {
    work.catch((error: unknown) => this.context.log.warn({ err: error }, 'presence could not be compared'));
  }
}
