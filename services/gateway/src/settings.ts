import {
  countSetting,
  flagSetting,
  listSetting,
  millisecondsSetting,
  portSetting,
  SettingsError,
  type Settings,
  type SettingsShape,
} from '@weir/platform';
import { z } from 'zod';
import { AllowedSites } from './allowed-sites.js';
import { TrustedProxies } from './client-address.js';
import type { CompatPorts, PublicPorts } from './listening-ports.js';
import type { RateClass, ServiceName } from './routes.js';

const upstream = (service: ServiceName, what: string) =>
  z
    .url({ protocol: /^https?$/ })
    .transform((url) => new URL(url))
    .optional()
    .describe(`Where ${service} is (\`http://host:port\`): ${what}. If not set, its paths answer 404.`);

const MIB = 1024 * 1024;

const perMinute = (defaultCount: number, what: string) =>
  countSetting(defaultCount).describe(`${what} that one address may make per minute; 0 is no limit.`);

export const gatewaySettings = {
  WEIR_HTTP_HOST: z.string().min(1).default('0.0.0.0').describe('Address on which the public ports listen.'),
  WEIR_HTTP_PORT: portSetting(8080).describe('HTTP and WebSocket of all interfaces.'),
  WEIR_HTTPS_PORT: portSetting(8443).describe('The same over TLS, if WEIR_TLS_CERT and WEIR_TLS_KEY are set.'),
  WEIR_TLS_CERT: z.string().optional().describe('PEM file with the certificate chain; read again when it changes.'),
  WEIR_TLS_KEY: z.string().optional().describe("PEM file with the certificate's private key."),
  WEIR_COMPAT_PORTS: flagSetting().describe('Also listen on the ports that the WCS documents name.'),
  WEIR_CORS_ORIGINS: listSetting(['*']).describe(
    "Web origins whose pages may call the REST interfaces and open WebSockets, in addition to the gateway's own. `*`: all, without credentials; `local`: this machine's; others by name, such as `https://app.example.com`. `npm start` sets `local`.",
  ),
  WEIR_ALLOWED_HOSTS: listSetting(['*']).describe(
    "Names that the gateway may be addressed by. `*`: all; `local`: IP addresses and this machine's own names, so that no web site can point one of its own names at it. `npm start` sets `local`.",
  ),
  WEIR_TRUSTED_PROXIES: listSetting().describe(
    'Addresses or CIDR ranges of proxies in front of the gateway, whose X-Forwarded-* headers are trusted.',
  ),
  WEIR_HEADERS_TIMEOUT_MS: millisecondsSetting(15_000, 1).describe('How long a client may take to send the headers.'),
  WEIR_REQUEST_TIMEOUT_MS: millisecondsSetting(60_000, 1).describe('How long a client may take to send a request.'),
  WEIR_ANSWER_TIMEOUT_MS: millisecondsSetting(60_000, 1).describe('How long a client may read nothing of its answer.'),
  WEIR_UPSTREAM_TIMEOUT_MS: millisecondsSetting(30_000, 1).describe(
    'How long a service may pause before or during an answer.',
  ),
  WEIR_UPSTREAM_CONNECT_TIMEOUT_MS: millisecondsSetting(2_000, 1).describe(
    'How long a connection to a service may take to open.',
  ),
  WEIR_UPSTREAM_MAX_IN_FLIGHT: countSetting(8_192, 1).describe(
    'Requests to one service at the same time; more get 503.',
  ),
  WEIR_CONNECTIONS_PER_ADDRESS: countSetting(2_000).describe(
    'Open connections per address, in addition to its WebSockets; 0 is no limit. Trusted proxies have no limit.',
  ),
  WEIR_REQUESTS_PER_ADDRESS: countSetting(1_000).describe(
    'Requests of one address at the same time, from their headers to the end of the answer; 0 is no limit.',
  ),
  WEIR_BODY_BYTES_PER_ADDRESS: countSetting(16 * MIB, MIB).describe(
    "Bytes of one address's request bodies that are held until they are answered; more get 429.",
  ),
  WEIR_BODY_BYTES: countSetting(128 * MIB, MIB).describe('The same for all addresses together; more get 503.'),
  WEIR_HANDSHAKE_TIMEOUT_MS: millisecondsSetting(10_000, 1).describe('How long a WebSocket handshake may take.'),
  WEIR_SOCKETS_PER_ADDRESS: countSetting(1_000).describe('Open WebSockets per address; 0 is no limit.'),
  WEIR_UPGRADES_PER_MINUTE: perMinute(1_200, 'WebSocket handshakes'),
  WEIR_AUTH_REQUESTS_PER_MINUTE: perMinute(120, 'Requests to `/auth*`'),
  WEIR_REST_REQUESTS_PER_MINUTE: perMinute(1_200, 'Requests to the REST interfaces'),
  WEIR_PAGE_REQUESTS_PER_MINUTE: perMinute(60_000, 'Requests for pages and video segments'),
  WEIR_UPSTREAM_AUTH: upstream('auth', 'users, keys and tokens'),
  WEIR_UPSTREAM_WCS_SIGNALLING: upstream('wcs-signalling', 'WCS sessions and every unclaimed WebSocket'),
  WEIR_UPSTREAM_MEDIA: upstream('media', 'the media core, asked only for its health'),
  WEIR_UPSTREAM_ROBOT_CHANNEL: upstream('robot-channel', 'robots and their apps'),
  WEIR_UPSTREAM_RELAY_PUSH: upstream('relay-push', 'relays to and from other servers'),
  WEIR_UPSTREAM_HLS_PACKAGER: upstream('hls-packager', 'HLS'),
  WEIR_UPSTREAM_CALL_BROKER: upstream('call-broker', 'devices and calls'),
  WEIR_UPSTREAM_RECORDING: upstream('recording', 'recording sessions'),
} as const satisfies SettingsShape;

export type GatewaySettings = Settings<typeof gatewaySettings>;

export interface TlsFiles {
  certFile: string;
  keyFile: string;
}

/** The settings, checked against each other. */
export interface EdgeConfig {
  host: string;
  ports: PublicPorts;
  compatPorts: CompatPorts;
  tls: TlsFiles | undefined;
  sites: AllowedSites;
  trustedProxies: TrustedProxies;
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  answerTimeoutMs: number;
  upstreamTimeoutMs: number;
  upstreamConnectTimeoutMs: number;
  upstreamMaxInFlight: number;
  bodyBytesPerAddress: number;
  bodyBytes: number;
  handshakeTimeoutMs: number;
  /** 0 is no limit, here and in the limits below. */
  connectionsPerAddress: number;
  requestsPerAddress: number;
  socketsPerAddress: number;
  perMinute: Readonly<Record<RateClass, number>>;
  upstreams: ReadonlyMap<ServiceName, URL>;
}

/** @throws SettingsError if settings contradict each other */
export function edgeConfig(settings: GatewaySettings): EdgeConfig {
  const upstreams: Record<ServiceName, URL | undefined> = {
    auth: settings.WEIR_UPSTREAM_AUTH,
    'wcs-signalling': settings.WEIR_UPSTREAM_WCS_SIGNALLING,
    media: settings.WEIR_UPSTREAM_MEDIA,
    'robot-channel': settings.WEIR_UPSTREAM_ROBOT_CHANNEL,
    'relay-push': settings.WEIR_UPSTREAM_RELAY_PUSH,
    'hls-packager': settings.WEIR_UPSTREAM_HLS_PACKAGER,
    'call-broker': settings.WEIR_UPSTREAM_CALL_BROKER,
    recording: settings.WEIR_UPSTREAM_RECORDING,
  };
  return {
    host: settings.WEIR_HTTP_HOST,
    ports: { http: settings.WEIR_HTTP_PORT, https: settings.WEIR_HTTPS_PORT },
    compatPorts: settings.WEIR_COMPAT_PORTS ? 'on' : 'off',
    tls: tlsFiles(settings),
    sites: new AllowedSites({ origins: settings.WEIR_CORS_ORIGINS, hosts: settings.WEIR_ALLOWED_HOSTS }),
    trustedProxies: trustedProxies(settings.WEIR_TRUSTED_PROXIES),
    headersTimeoutMs: Math.min(settings.WEIR_HEADERS_TIMEOUT_MS, settings.WEIR_REQUEST_TIMEOUT_MS),
    requestTimeoutMs: settings.WEIR_REQUEST_TIMEOUT_MS,
    answerTimeoutMs: settings.WEIR_ANSWER_TIMEOUT_MS,
    upstreamTimeoutMs: settings.WEIR_UPSTREAM_TIMEOUT_MS,
    upstreamConnectTimeoutMs: settings.WEIR_UPSTREAM_CONNECT_TIMEOUT_MS,
    upstreamMaxInFlight: settings.WEIR_UPSTREAM_MAX_IN_FLIGHT,
    bodyBytesPerAddress: settings.WEIR_BODY_BYTES_PER_ADDRESS,
    bodyBytes: settings.WEIR_BODY_BYTES,
    handshakeTimeoutMs: settings.WEIR_HANDSHAKE_TIMEOUT_MS,
    connectionsPerAddress: settings.WEIR_CONNECTIONS_PER_ADDRESS,
    requestsPerAddress: settings.WEIR_REQUESTS_PER_ADDRESS,
    socketsPerAddress: settings.WEIR_SOCKETS_PER_ADDRESS,
    perMinute: {
      upgrade: settings.WEIR_UPGRADES_PER_MINUTE,
      auth: settings.WEIR_AUTH_REQUESTS_PER_MINUTE,
      rest: settings.WEIR_REST_REQUESTS_PER_MINUTE,
      page: settings.WEIR_PAGE_REQUESTS_PER_MINUTE,
    },
    upstreams: new Map(
      (Object.entries(upstreams) as [ServiceName, URL | undefined][]).flatMap(([service, url]) =>
        url === undefined ? [] : [[service, url] as const],
      ),
    ),
  };
}

function tlsFiles({ WEIR_TLS_CERT: certFile, WEIR_TLS_KEY: keyFile }: GatewaySettings): TlsFiles | undefined {
  if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile };
  if (certFile === undefined && keyFile === undefined) return undefined;
  const missing = certFile === undefined ? 'WEIR_TLS_CERT' : 'WEIR_TLS_KEY';
  throw new SettingsError(`${missing}: is not set; TLS needs both WEIR_TLS_CERT and WEIR_TLS_KEY`);
}

function trustedProxies(ranges: readonly string[]): TrustedProxies {
  try {
    return new TrustedProxies(ranges);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SettingsError(`WEIR_TRUSTED_PROXIES: ${reason}`);
  }
}
