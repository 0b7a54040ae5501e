import { mkdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { answers, type BackingServer } from './backing-server.js';
import { requiredProgram } from './required-program.js';
import { writePrivateFile } from './secrets.js';
import { LOOPBACK, type SingleMachineSettings } from './settings.js';

/**
 * The address of the media ports for TURN when media is announced on loopback only. Nothing else listens there: the
 * platform's own servers and services use 127.0.0.1, which TURN never reaches. A permission of TURN has no port.
 */
const MEDIA_FOR_TURN = '127.0.0.2';

/** A user's allocations at a time: a client has one or two for each of its connections. */
const ALLOCATIONS_PER_USER = 16;
/** Enough for three videos of 4 Mbit/s each. */
const MAX_BYTES_PER_SECOND = 2_000_000;

/** Binding request of RFC 8489, without attributes. */
const STUN_REQUEST = Buffer.from('000100002112a442776569722d7475726e2d7570', 'hex');
/** Type of the successful response. */
const STUN_RESPONSE = '\u0001\u0001';

const listOf = (addresses: string): string[] => addresses.split(',').map((address) => address.trim());
const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1';
const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';
const urlHost = (address: string): string => (isIP(address) === 6 ? `[${address}]` : address);

const isOwn = (address: string): boolean =>
  isLoopback(address) ||
  Object.values(networkInterfaces()).some((each) => each?.some((own) => own.address === address) ?? false);

/** The addresses at which clients reach the media ports; with TURN, one of them is an address that TURN may reach. */
export function announcedAddresses({ WEIR_ANNOUNCED_ADDRESS: announced, WEIR_TURN }: SingleMachineSettings): string {
  return WEIR_TURN && mediaPeers(listOf(announced)).length === 0 ? `${announced},${MEDIA_FOR_TURN}` : announced;
}

/** Those that TURN may reach: never 127.0.0.1, where the inner servers are. A permission needs an address. */
const mediaPeers = (announced: readonly string[]): string[] =>
  announced.filter((address) => isIP(address) !== 0 && address !== LOOPBACK && address !== '::1');

/** What the services tell clients of this server. */
export function turnUrls(settings: SingleMachineSettings): { stun: string[]; turn: string[] } {
  const host = urlHost(listOf(settings.WEIR_ANNOUNCED_ADDRESS)[0] ?? LOOPBACK);
  const plain = `${host}:${settings.WEIR_TURN_PORT}`;
  return {
    stun: [`stun:${plain}`],
    turn: [
      `turn:${plain}?transport=udp`,
      `turn:${plain}?transport=tcp`,
      ...(settings.WEIR_TLS_CERT === undefined ? [] : [`turns:${host}:${settings.WEIR_TURN_TLS_PORT}?transport=tcp`]),
    ],
  };
}

export interface TurnServerOptions {
  /** The server's own folder; it is created. */
  folder: string;
  settings: SingleMachineSettings;
  /** Credentials are made from it. */
  secret: string;
  env: NodeJS.ProcessEnv;
}

/** Defines coturn, which relays between clients and the media ports of this machine, and to nowhere else. */
export function turnServer({ folder, settings, secret, env }: TurnServerOptions): BackingServer {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const config = join(folder, 'turnserver.conf');
  const [firstPort, lastPort] = settings.WEIR_TURN_RELAY_PORTS;
  const announced = listOf(announcedAddresses(settings));
  const first = announced[0] ?? LOOPBACK;
  const isOpened = isWildcard(settings.WEIR_HTTP_HOST);
  const listening = isOpened ? [] : [...new Set([LOOPBACK, settings.WEIR_HTTP_HOST])];
  const relays = isOpened ? announced.filter((address) => isOwn(address) && !isLoopback(address)) : listening.slice(-1);
  writePrivateFile(
    config,
    [
      `listening-port=${settings.WEIR_TURN_PORT}`,
      ...listening.map((address) => `listening-ip=${address}`),
      ...relays.map((address) => `relay-ip=${address}`),
      ...(isOwn(first) || isIP(first) === 0 ? [] : [`external-ip=${first}`]),
      `min-port=${firstPort}`,
      `max-port=${lastPort}`,
      ...tlsLines(settings),
      'no-dtls',
      'realm=weir',
      'use-auth-secret',
      `static-auth-secret=${secret}`,
      'fingerprint',
      // An allowed address comes before a denied one. Without the next line, loopback would be denied even if allowed.
      'allow-loopback-peers',
      'denied-peer-ip=0.0.0.0-255.255.255.255',
      'denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
      ...mediaPeers(announced).map((address) => `allowed-peer-ip=${address}`),
      'no-multicast-peers',
      'no-tcp-relay',
      'no-cli',
      `user-quota=${ALLOCATIONS_PER_USER}`,
      `total-quota=${lastPort - firstPort + 1}`,
      `max-bps=${MAX_BYTES_PER_SECOND}`,
      'stale-nonce=3600',
      'no-software-attribute',
      'log-file=stdout',
      'simple-log',
      `pidfile=${join(folder, 'turnserver.pid')}`,
      `userdb=${join(folder, 'turndb')}`,
      '',
    ].join('\n'),
  );
  return {
    process: {
      name: 'turn',
      command: [requiredProgram('turnserver'), '-c', config],
      cwd: folder,
      env,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 5_000,
    },
    url: `turn:${urlHost(first)}:${settings.WEIR_TURN_PORT}`,
    isReady: () => answers(settings.WEIR_TURN_PORT, STUN_REQUEST, STUN_RESPONSE),
  };
}

const tlsLines = ({ WEIR_TLS_CERT, WEIR_TLS_KEY, WEIR_TURN_TLS_PORT }: SingleMachineSettings): string[] =>
  WEIR_TLS_CERT === undefined || WEIR_TLS_KEY === undefined
    ? ['no-tls']
    : [
        `tls-listening-port=${WEIR_TURN_TLS_PORT}`,
        `cert=${WEIR_TLS_CERT}`,
        `pkey=${WEIR_TLS_KEY}`,
        'no-tlsv1',
        'no-tlsv1_1',
      ];
