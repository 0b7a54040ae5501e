import type { Socket } from 'node:dgram';
import { bindUdp } from '@weir/media-client';

const MAX_ATTEMPTS = 50;

/** Binds sockets to `count` consecutive loopback ports, of which the first is even (RFC 3550 §11). */
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

/** Finds an even loopback port that is free now, and so is the next one, for a program that binds them itself. */
export async function freeUdpPorts(): Promise<number> {
  const sockets = await bindUdpRow(2);
  const port = sockets[0]?.address().port ?? 0;
  for (const socket of sockets) socket.close();
  return port;
}
