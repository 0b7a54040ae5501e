import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

const MAX_ATTEMPTS = 50;

export interface PortPair {
  rtp: Socket;
  rtcp: Socket;
}

/** An even port and the next one, both bound (RFC 3550 §11). */
export async function bindPortPair(ip: string): Promise<PortPair> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const first = await bind(ip, 0);
    const { port } = first.address();
    const other = await bind(ip, port % 2 === 0 ? port + 1 : port - 1).catch(() => undefined);
    if (other !== undefined) return port % 2 === 0 ? { rtp: first, rtcp: other } : { rtp: other, rtcp: first };
    first.close();
  }
  throw new Error(`no two free UDP ports in a row on ${ip}`);
}

/** Even loopback ports that are free now, each together with the next port, for programs that bind them themselves. */
export async function freeUdpPorts(count: number): Promise<number[]> {
  const pairs = await Promise.all(Array.from({ length: count }, () => bindPortPair('127.0.0.1')));
  const ports = pairs.map(({ rtp }) => rtp.address().port);
  for (const { rtp, rtcp } of pairs) {
    rtp.close();
    rtcp.close();
  }
  return ports;
}

async function bind(ip: string, port: number): Promise<Socket> {
  const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
  socket.bind(port, ip);
  try {
    await once(socket, 'listening');
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}
