import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
const MAX_ATTEMPTS = 50;

export async function bindUdp(ip: string, port = 0): Promise<Socket> {
  const type = ip.includes(':') ? 'udp6' : 'udp4';
  const socket = createSocket({ type, recvBufferSize: RECEIVE_BUFFER_BYTES });
  socket.bind(port, ip);
  try {
    await once(socket, 'listening');
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

/** How much may wait in the kernel while this process is busy: Linux grants no more than net.core.rmem_max. */
export async function receiveBuffer(ip: string): Promise<{ wantedBytes: number; grantedBytes: number }> {
  const socket = await bindUdp(ip);
  // Linux tells twice what it was asked for (socket(7)).
  const grantedBytes = socket.getRecvBufferSize() / (process.platform === 'linux' ? 2 : 1);
  socket.close();
  return { wantedBytes: RECEIVE_BUFFER_BYTES, grantedBytes };
}

/** Sockets on so many ports of loopback in a row, the first one even (RFC 3550 §11). */
export async function bindUdpRow(count: number): Promise<Socket[]> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const probe = await bindUdp('127.0.0.1');
    const first = probe.address().port + (probe.address().port % 2);
    probe.close();
    const ports = Array.from({ length: count }, (_, index) => first + index);
    const bound = await Promise.allSettled(ports.map((port) => bindUdp('127.0.0.1', port)));
    const sockets = bound.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    if (sockets.length === count) return sockets;
    for (const socket of sockets) socket.close();
  }
  throw new Error(`no ${count} free UDP ports in a row on loopback`);
}

/** An even port of loopback and the next one, free at this moment, for a program that binds them itself. */
export async function freeUdpPorts(): Promise<number> {
  const sockets = await bindUdpRow(2);
  const port = sockets[0]?.address().port ?? 0;
  for (const socket of sockets) socket.close();
  return port;
}
