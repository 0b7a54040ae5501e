import { join } from 'node:path';
import type { ProcessDefinition } from './supervised-process.js';
import { LOOPBACK, type SingleMachineSettings } from './settings.js';
import { announcedAddresses, turnUrls } from './turn.js';

/** In the order in which they stop: first those that clients connect to, last those that the others need. */
export const SERVICES_IN_STOP_ORDER = [
  'gateway',
  'wcs-signalling',
  'robot-channel',
  'relay-push',
  'call-broker',
  'recording',
  'hls-packager',
  'media',
  'auth',
] as const;
export type ServiceName = (typeof SERVICES_IN_STOP_ORDER)[number];

/** How long a service's work in progress may take when everything stops. */
const DRAIN_TIMEOUT_MS = 5_000;
/** A service ends by itself five seconds after its drain time-out. */
const STOP_TIMEOUT_MS = DRAIN_TIMEOUT_MS + 7_000;
const ROBOT_STOP_TIMEOUT_MS = 5_000;
const PROMETHEUS_PORT = 9_464;

export interface ServicesOptions {
  checkout: string;
  dataDir: string;
  settings: SingleMachineSettings;
  /** The environment that all services get; it contains the settings of the deployment. */
  env: NodeJS.ProcessEnv;
  urls: { nats: string; redis: string; database: string };
  /** The TURN server's secret, if the supervisor starts one. */
  turnSecret?: string | undefined;
  /** Each service's own port on loopback. */
  ports: Readonly<Record<ServiceName, number>>;
}

export interface CredentialFiles {
  credentials: string;
  signingKey: string;
}

export const credentialFiles = (dataDir: string): CredentialFiles => ({
  credentials: join(dataDir, 'credentials.json'),
  signingKey: join(dataDir, 'auth-signing-key.pem'),
});

export function serviceProcess(name: ServiceName, options: ServicesOptions): ProcessDefinition {
  const { checkout } = options;
  return {
    name,
    command: [
      process.execPath,
      '--import',
      '@weir/platform/register',
      join(checkout, 'services', name, 'dist/main.js'),
    ],
    cwd: checkout,
    env: { ...commonEnvironment(name, options), ...ownEnvironment(name, options) },
    stopSignal: 'SIGTERM',
    stopTimeoutMs: STOP_TIMEOUT_MS,
  };
}

function commonEnvironment(
  name: ServiceName,
  { env, urls, ports, dataDir, settings, turnSecret }: ServicesOptions,
): NodeJS.ProcessEnv {
  // Each service needs its own port for metrics, so each gets the next one.
  const firstMetricsPort = Number(env['OTEL_EXPORTER_PROMETHEUS_PORT'] || PROMETHEUS_PORT);
  return {
    WEIR_DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS),
    ...env,
    ...turnEnvironment(settings, turnSecret, env),
    NATS_URL: urls.nats,
    REDIS_URL: urls.redis,
    DATABASE_URL: urls.database,
    OTEL_SERVICE_NAME: `weir-${name}`,
    OTEL_EXPORTER_PROMETHEUS_PORT: String(firstMetricsPort + SERVICES_IN_STOP_ORDER.indexOf(name)),
    WEIR_SINGLE_MACHINE: '1',
    WEIR_DATA_DIR: dataDir,
    WEIR_LISTEN_HOST: '127.0.0.1',
    WEIR_LISTEN_PORT: String(ports[name]),
  };
}

/** The settings by which services name the TURN server to clients. */
function turnEnvironment(
  settings: SingleMachineSettings,
  turnSecret: string | undefined,
  env: NodeJS.ProcessEnv,
): NodeJS.ProcessEnv {
  if (turnSecret === undefined) return {};
  const { stun, turn } = turnUrls(settings);
  return {
    WEIR_STUN_URLS: env['WEIR_STUN_URLS'] || stun.join(','),
    WEIR_TURN_URLS: turn.join(','),
    WEIR_TURN_SECRET: turnSecret,
  };
}

function ownEnvironment(name: ServiceName, { settings, env, ports, dataDir }: ServicesOptions): NodeJS.ProcessEnv {
  const upstream = (service: ServiceName) => `http://127.0.0.1:${ports[service]}`;
  switch (name) {
    case 'gateway':
      return {
        WEIR_HTTP_HOST: settings.WEIR_HTTP_HOST,
        WEIR_CORS_ORIGINS: env['WEIR_CORS_ORIGINS'] || 'local',
        WEIR_ALLOWED_HOSTS: env['WEIR_ALLOWED_HOSTS'] || ['local', ...ownNames(settings, env)].join(','),
        WEIR_HTTP_PORT: String(settings.WEIR_HTTP_PORT),
        WEIR_HTTPS_PORT: String(settings.WEIR_HTTPS_PORT),
        WEIR_UPSTREAM_AUTH: upstream('auth'),
        WEIR_UPSTREAM_WCS_SIGNALLING: upstream('wcs-signalling'),
        WEIR_UPSTREAM_MEDIA: upstream('media'),
        WEIR_UPSTREAM_ROBOT_CHANNEL: upstream('robot-channel'),
        WEIR_UPSTREAM_RELAY_PUSH: upstream('relay-push'),
        WEIR_UPSTREAM_HLS_PACKAGER: upstream('hls-packager'),
        WEIR_UPSTREAM_CALL_BROKER: upstream('call-broker'),
        WEIR_UPSTREAM_RECORDING: upstream('recording'),
      };
    case 'auth': {
      const { credentials, signingKey } = credentialFiles(dataDir);
      return { WEIR_CREDENTIALS_FILE: credentials, WEIR_AUTH_SIGNING_KEYS_FILE: signingKey };
    }
    case 'media':
      return {
        WEIR_MEDIA_PORT: String(settings.WEIR_MEDIA_PORT),
        WEIR_RTSP_HOST: env['WEIR_RTSP_HOST'] || settings.WEIR_HTTP_HOST,
        WEIR_RTSP_PORT: String(settings.WEIR_RTSP_PORT),
        // If media is announced on loopback only, it is received on loopback only. With a second loopback address for
        // TURN, media receives on exactly the announced addresses anyway.
        ...(announcedAddresses(settings) === LOOPBACK && {
          WEIR_MEDIA_HOST: env['WEIR_MEDIA_HOST'] || LOOPBACK,
        }),
        WEIR_ANNOUNCED_ADDRESS: announcedAddresses(settings),
      };
    case 'robot-channel':
      return { WEIR_HTTP_PORT: String(settings.WEIR_HTTP_PORT) };
    case 'call-broker':
      return { WEIR_CREDENTIALS_FILE: credentialFiles(dataDir).credentials };
    case 'recording':
      return { WEIR_RECORDING_DIR: env['WEIR_RECORDING_DIR'] || join(dataDir, 'recordings') };
    case 'wcs-signalling':
    case 'relay-push':
    case 'hls-packager':
      return {};
    default:
      return name satisfies never;
  }
}

/** The names of this machine that the settings announce to clients. */
const ownNames = ({ WEIR_ANNOUNCED_ADDRESS: announced }: SingleMachineSettings, env: NodeJS.ProcessEnv): string[] => [
  ...announced.split(',').map((address) => address.trim()),
  ...(URL.canParse(env['WEIR_PUBLIC_URL'] ?? '') ? [new URL(env['WEIR_PUBLIC_URL'] ?? '').hostname] : []),
];

/** The host at which this machine itself reaches the HTTP port. */
export const localHost = ({ WEIR_HTTP_HOST: host }: SingleMachineSettings): string => {
  if (host === '0.0.0.0' || host === '::') return LOOPBACK;
  return host.includes(':') ? `[${host}]` : host;
};

/** A simulated robot of the demo tenant: a client like any other, with ffmpeg instead of cameras. */
export const robotProcess = (
  robotId: string,
  { checkout, dataDir, settings, env }: Omit<ServicesOptions, 'urls' | 'ports'>,
): ProcessDefinition => ({
  name: robotId,
  command: [
    process.execPath,
    join(checkout, 'deploy/robot-simulator/dist/main.js'),
    ...['--id', robotId, '--credentials', credentialFiles(dataDir).credentials],
    ...['--url', `ws://${localHost(settings)}:${settings.WEIR_HTTP_PORT}/channel/robot`],
  ],
  cwd: checkout,
  env,
  stopSignal: 'SIGTERM',
  stopTimeoutMs: ROBOT_STOP_TIMEOUT_MS,
});
