import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

/** Large enough for a key frame of a large picture, which arrives all at once. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

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

/** Returns a socket that sends to this address and receives from it only. */
export async function connectUdp(ip: string, to: { readonly ip: string; readonly port: number }): Promise<Socket> {
  const socket = await bindUdp(ip);
  socket.connect(to.port, to.ip);
  try {
    await once(socket, 'connect');
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

/** How much data may wait in the kernel while this process is busy. Linux grants no more than net.core.rmem_max. */
export async function receiveBuffer(ip: string): Promise<{ wantedBytes: number; grantedBytes: number }> {
  const socket = await bindUdp(ip);
  // Linux reports twice the size that was requested (socket(7)).
  const grantedBytes = socket.getRecvBufferSize() / (process.platform === 'linux' ? 2 : 1);
  socket.close();
  return { wantedBytes: RECEIVE_BUFFER_BYTES, grantedBytes };
}
