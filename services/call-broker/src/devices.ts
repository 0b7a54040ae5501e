import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { RefusalLog } from '@weir/access';
import { Leases } from '@weir/leases';
import { Instances, type Opened } from '@weir/platform';
import { CALL_BROKERS } from './call-brokers.js';
import { deviceChannelServer } from './device-channel-server.js';
import { DeviceChannels, type DeviceListener, type StateChange } from './device-channels.js';
import { DevicePresences, PRESENCE_TTL_MS } from './device-presence.js';
import type { DeviceTokens } from './device-tokens.js';
import type { MessageStore } from './message-store.js';
import { Messages } from './messages.js';
import type { CallBrokerContext } from './settings.js';
import type { WakeUps } from './wake-ups.js';

export interface DevicesPorts {
  readonly tokens: DeviceTokens;
  readonly store: MessageStore;
  readonly wakeUps: WakeUps;
  readonly listener: DeviceListener;
  /** Told on one instance for each change of a device's state. */
  readonly changed: (change: StateChange) => void;
}

/** The devices that are connected, and the messages for all devices. */
export interface Devices {
  readonly channels: DeviceChannels;
  readonly messages: Messages;
  /** Must be called before the HTTP port opens. */
  listen(app: NestFastifyApplication): void;
  drain(): Promise<void>;
}

/** How late the end of a token is noticed. */
const TOKEN_CHECK_MS = 3_000;
/** How often to look for instances that have ended while nobody listened. */
const LOOK_FOR_INSTANCES_MS = 30_000;
/** A device may acknowledge all messages that were stored for it at once. */
const FRAME_LIMITS = { frameBurst: 2_000, framesPerSecond: 200, maxMalformed: 20 } as const;

export const openDevices = (context: CallBrokerContext, ports: DevicesPorts, opened: Opened): Devices => {
  const { config, log, bus, redis, instanceId } = context;
  const refusals = new RefusalLog(log);
  const messages: Messages = new Messages({
    channels: () => channels,
    ...{ store: ports.store, wakeUps: ports.wakeUps, bus, log },
  });
  opened.add('messages', messages);
  const channels: DeviceChannels = new DeviceChannels({
    presences: new DevicePresences(
      new Leases(redis, { prefix: 'call-broker:device', owner: instanceId, ttlMs: PRESENCE_TTL_MS }),
    ),
    socket: {
      settings: {
        ...FRAME_LIMITS,
        pingIntervalMs: config.WEIR_CALLS_PING_INTERVAL_MS,
        silentAfterMs: config.WEIR_CALLS_SILENT_AFTER_MS,
        maxBufferedBytes: config.WEIR_CALLS_MAX_BUFFERED_BYTES,
      },
      refusals,
      acknowledged: (socket, messageId) => messages.acknowledged(socket, messageId),
    },
    listener: ports.listener,
    changed: ports.changed,
    entered: (socket) => messages.opened(socket),
    left: (socket) => messages.closed(socket),
    ...{ bus, log },
  });
  opened.add('device channels', channels);
  opened.add('presence upkeep', keepPresence(context, channels));
  opened.onClose('token checks', endChannels(context, channels, ports.tokens));
  let isDraining = false;
  const server = deviceChannelServer({
    channels,
    tokens: ports.tokens,
    hasRoom: () => !isDraining && channels.openCount < config.WEIR_CALLS_MAX_SOCKETS,
    ...{ refusals, log },
  });
  return {
    ...{ channels, messages },
    listen: (app) => server.listen(app.getHttpServer()),
    drain: async () => {
      isDraining = true;
      await channels.drain();
      await server.close();
    },
  };
};

/** @returns what stops it */
const endChannels = (
  { log }: Pick<CallBrokerContext, 'log'>,
  channels: DeviceChannels,
  tokens: DeviceTokens,
): (() => void) => {
  const checking = setInterval(() => {
    channels
      .closeEnded((devices) => tokens.ended(devices))
      .catch((error: unknown) => log.warn({ err: error }, 'the tokens of devices could not be checked'));
  }, TOKEN_CHECK_MS);
  return () => clearInterval(checking);
};

/** Notices instances that end without closing their sockets, and a Redis that comes back, perhaps without its data. */
const keepPresence = ({ bus, redis, log }: CallBrokerContext, channels: DeviceChannels): { close(): Promise<void> } => {
  const instances = new Instances({
    ...{ bus, ...CALL_BROKERS },
    onLost: (instanceId) => {
      channels
        .instanceLost(instanceId)
        .catch((error: unknown) => log.warn({ err: error, instanceId }, "an instance's devices are still in Redis"));
    },
  });
  const lookForInstances = (): void => {
    channels
      .instances()
      .then((owners) => {
        for (const owner of owners) if (owner !== bus.instanceId) instances.expect(owner);
      })
      .catch((error: unknown) => log.warn({ err: error }, 'the instances with devices could not be looked for'));
  };
  lookForInstances();
  const looking = setInterval(lookForInstances, LOOK_FOR_INSTANCES_MS);
  const renew = (): void => channels.renewSoon();
  redis.on('ready', renew);
  return {
    close: async () => {
      clearInterval(looking);
      redis.off('ready', renew);
      await instances.close();
    },
  };
};
