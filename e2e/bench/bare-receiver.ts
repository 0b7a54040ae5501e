/**
 * The minimum for receiving RTP: UDP sockets whose packets nobody reads. It runs as a separate program; see
 * ChildProgram.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { announce } from './child-program.js';

export interface BareReceiverReady {
  readonly ports: readonly number[];
}

const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

const ports: number[] = [];
for (let count = Number(process.argv[2]); count > 0; count--) {
  const socket = createSocket({ type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES });
  socket.on('message', () => undefined);
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  ports.push(socket.address().port);
}
announce({ ports } satisfies BareReceiverReady);
