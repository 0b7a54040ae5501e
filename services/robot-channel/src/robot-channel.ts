import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Access, credentialRefOf, CredentialWatch, RefusalLog, type Principal } from '@weir/access';
import type { Registration } from '@weir/bus';
import { ErrorCode, RobotEvents, WeirError } from '@weir/contracts';
import { MediaClient } from '@weir/media-client';
import { OutboundGuard } from '@weir/outbound';
import { Leases } from '@weir/leases';
import { Instances, openInOrder, type Opened } from '@weir/platform';
import { Acts } from './acts.js';
import { AppSockets } from './app-sockets.js';
import { serveBus } from './bus.js';
import { CameraStreams, LEASE_TTL_MS } from './camera-streams.js';
import { channelServer, type Channel } from './channel-server.js';
import { Commands } from './commands.js';
import {
  appSettings,
  MAX_PAYLOAD_BYTES,
  robotSettings,
  UNFINISHED_FRAMES,
  type RobotChannelContext,
} from './settings.js';
import { openDatabase, type Database } from './database.js';
import { makeDemoRobots, removeDemoRobots } from './demo-robots.js';
import { Fleet } from './fleet.js';
import { RobotMetrics } from './metrics.js';
import { Presence } from './presence.js';
import { PublicUrls } from './public-urls.js';
import { boundRobot } from './rights.js';
import { RobotNames } from './robot-names.js';
import { PRESENCE_TTL_MS, RobotSockets } from './robot-sockets.js';

const COMPARE_INTERVAL_MS = 5_000;
const COMPARISONS_PER_CATCH_UP = 6;

/** The whole service except its HTTP edge. */
export interface RobotChannel {
  readonly database: Database;
  readonly access: Access;
  readonly guard: OutboundGuard;
  readonly fleet: Fleet;
  readonly presence: Presence;
  readonly robots: RobotSockets;
  readonly apps: AppSockets;
  readonly streams: CameraStreams;
  /** Must be called before the HTTP port opens. */
  listen(app: NestFastifyApplication): void;
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** Migrates the database and starts to serve requests. */
export const openRobotChannel = (context: RobotChannelContext): Promise<RobotChannel> =>
  openInOrder(context.log, async (opened) => {
    const { bus, redis, log, config } = context;
    const database = await openRobotDatabase(context, opened);
    const refusals = new RefusalLog(log);
    const metrics = new RobotMetrics();
    const access = new Access({ bus, redis, log });
    const media = opened.add('media', new MediaClient({ bus, log }));
    const names = opened.add('robot names', new RobotNames({ database, redis, log }));
    names.start();
    const fleet = new Fleet({ database, bus, names });
    const credentials = opened.add(
      'credentials',
      new CredentialWatch({ bus, redis, log, intervalMs: config.WEIR_ROBOT_CREDENTIAL_CHECK_MS }),
    );
    const socket = { metrics, log, refusals, maxBufferedBytes: config.WEIR_ROBOT_MAX_BUFFERED_BYTES };
    const robots: RobotSockets = new RobotSockets({
      presence: () => presence,
      ...{ credentials, log },
      arrived: (robot) => streams.robotReturned(robot),
      socket: { ...socket, settings: robotSettings(config) },
    });
    const presence: Presence = new Presence({
      ...{ bus, log },
      leases: new Leases(redis, { prefix: 'robot-channel:robot', owner: bus.instanceId, ttlMs: PRESENCE_TTL_MS }),
      changed: (robot, online) => apps.robotChanged(robot, online),
      arrived: (robot) => {
        robots.replacedBy(robot);
        streams.robotReturned(robot);
      },
    });
    opened.add('presence', presence);
    const streams: CameraStreams = new CameraStreams({
      ...{ bus, fleet, media, credentials, metrics, log },
      leases: new Leases(redis, { prefix: 'robot-channel:stream', owner: bus.instanceId, ttlMs: LEASE_TTL_MS }),
      commands: new Commands({ bus, sockets: robots, presence, log }),
      commandTimeoutMs: config.WEIR_ROBOT_COMMAND_TIMEOUT_MS,
      lingerMs: config.WEIR_ROBOT_LINGER_MS,
    });
    opened.add('streams', streams);
    const urls = new PublicUrls(config.WEIR_PUBLIC_URL ?? `http://127.0.0.1:${config.WEIR_HTTP_PORT}`);
    const playUrlTtlMs = config.WEIR_ROBOT_PLAY_URL_TTL_MS;
    const apps: AppSockets = new AppSockets({
      credentials,
      socket: {
        ...socket,
        acts: new Acts({ fleet, presence, streams, media, bus, urls, log, playUrlTtlMs }),
        settings: appSettings(config),
      },
    });
    for (const registration of serveBus(bus, { fleet, presence, sockets: robots, streams }))
      opened.add('bus', registration);
    opened.add('removed robots', endRemovedRobots(context, { fleet, robots }));
    opened.add('robots', robots);
    opened.add('apps', apps);
    opened.add('presence upkeep', keepPresence(context, presence));
    metrics.observe(() => ({ robots: robots.count, apps: apps.count, ...streams.load }));
    const parts = { access, fleet, presence, robots, apps, streams };
    return {
      ...parts,
      database,
      guard: new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW }),
      ...serving(context, { ...parts, metrics, refusals }),
    };
  });

const openRobotDatabase = async ({ config, log, health }: RobotChannelContext, opened: Opened): Promise<Database> => {
  const database = await openDatabase(config.DATABASE_URL, log);
  opened.onClose('database', () => database.$disconnect());
  health.check('database', async () => {
    await database.$queryRaw`SELECT 1`;
  });
  if (config.WEIR_SINGLE_MACHINE) {
    if (config.WEIR_DEMO_ROBOTS) await makeDemoRobots(database);
    return database;
  }
  const count = await removeDemoRobots(database);
  if (count > 0) log.warn({ count }, 'what the single-machine mode had made was removed');
  return database;
};

interface ServedParts extends Pick<RobotChannel, 'access' | 'fleet' | 'robots' | 'apps' | 'streams'> {
  readonly metrics: RobotMetrics;
  readonly refusals: RefusalLog;
}

/** The WebSocket edge, and what is drained in which order. */
const serving = (
  { config, log }: RobotChannelContext,
  { access, fleet, robots, apps, streams, metrics, refusals }: ServedParts,
): Pick<RobotChannel, 'listen' | 'drain'> => {
  let isDraining = false;
  const server = channelServer({
    channels: new Map<string, Channel>([
      ['/channel/app', { admit: async (principal) => (socket) => apps.open(socket, principal) }],
      ['/channel/robot', { admit: (principal) => admitRobot(principal, fleet, robots) }],
    ]),
    ...{ access, metrics, log, refusals },
    maxPayloadBytes: MAX_PAYLOAD_BYTES,
    unfinishedFrames: { ...UNFINISHED_FRAMES, timeoutMs: config.WEIR_ROBOT_FRAME_TIMEOUT_MS },
    hasRoom: () => !isDraining && robots.openCount + apps.count < config.WEIR_ROBOT_MAX_SOCKETS,
  });
  return {
    listen: (app) => server.listen(app.getHttpServer()),
    // Streams end first, so that robots are told to stop while their sockets are still open.
    drain: async () => {
      isDraining = true;
      await streams.drain();
      apps.drain();
      await robots.drain();
      await server.close();
    },
  };
};

const admitRobot = async (principal: Principal, fleet: Fleet, robots: RobotSockets): ReturnType<Channel['admit']> => {
  const { tenant } = principal;
  const robotId = boundRobot(principal);
  if (robotId === undefined) throw new WeirError(ErrorCode.FORBIDDEN, 'The credential is not bound to one robot');
  await fleet.get(tenant, robotId);
  return (socket) => robots.open({ tenant, robotId }, socket, credentialRefOf(principal));
};

const endRemovedRobots = (
  { bus }: RobotChannelContext,
  { fleet, robots }: Pick<RobotChannel, 'fleet' | 'robots'>,
): Registration =>
  bus.subscribe(RobotEvents.method.robotChanged, async ({ tenant, robotId }) => {
    if (robots.find({ tenant, robotId }) === undefined) return;
    if ((await fleet.find(tenant, robotId)) === undefined) robots.removed({ tenant, robotId });
  });

/** Compares presence with Redis and the other instances at intervals, because events may be lost. */
const keepPresence = ({ bus, log }: RobotChannelContext, presence: Presence): { close(): Promise<void> } => {
  const keep = (work: Promise<void>): void => {
    work.catch((error: unknown) => log.warn({ err: error }, 'presence could not be compared'));
  };
  const instances = new Instances({
    bus,
    service: 'robot-channel',
    onLost: (instanceId) => keep(presence.instanceLost(instanceId)),
  });
  const stopWatchingConnection = bus.onConnectionChange((connected) => {
    if (connected) keep(presence.catchUp());
  });
  let rounds = 0;
  const comparing = setInterval(() => {
    rounds += 1;
    const isTime = rounds % COMPARISONS_PER_CATCH_UP === 0;
    keep(isTime ? presence.catchUp() : presence.compare());
  }, COMPARE_INTERVAL_MS);
  return {
    close: async () => {
      clearInterval(comparing);
      stopWatchingConnection();
      await instances.close();
    },
  };
};
