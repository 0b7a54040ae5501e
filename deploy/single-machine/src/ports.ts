import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

/**
 * Ports are chosen below the range that the system uses for outgoing connections. Within that range, a server that is
 * being restarted could find its port taken by one of its own clients: a client that keeps connecting to a port of that
 * range on loopback may end up connected to itself.
 */
const LOWEST_PORT = 20_000;
const ATTEMPTS = 200;

/** @returns different ports that are free on this machine for both UDP and TCP */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  const endPort = Math.max(LOWEST_PORT + 1_000, firstEphemeralPort());
  for (let attempt = 0; found.size < count; attempt++) {
    if (attempt === ATTEMPTS + count) throw new Error(`no free ports between ${LOWEST_PORT} and ${endPort}`);
    const port = LOWEST_PORT + Math.floor(Math.random() * (endPort - LOWEST_PORT));
    if ((await isFreeTcpPort(port)) && (await isFreeUdpPort(port))) found.add(port);
  }
  return [...found];
}

/** @returns the first of `count` successive ports that are free on this machine for both UDP and TCP */
export async function freePortRange(count: number): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const [first = 0] = await freePorts(1);
    const others = Array.from({ length: count - 1 }, (_, index) => first + 1 + index);
    const free = await Promise.all(
      others.map(async (port) => (await isFreeTcpPort(port)) && (await isFreeUdpPort(port))),
    );
    if (free.every(Boolean)) return first;
  }
  throw new Error(`no ${count} successive free ports`);
}

/** Whether a server could listen on the port, on all addresses. */
export const isFreeTcpPort = (port: number): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () => server.close(() => resolve(true)));
  });

export const isFreeUdpPort = (port: number): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    socket.bind({ port, address: '0.0.0.0', exclusive: true }, () => socket.close(() => resolve(true)));
  });

function firstEphemeralPort(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s+/)[0]);
  } catch {
    return 32_768; // Linux's default; elsewhere the range begins higher
  }
}
