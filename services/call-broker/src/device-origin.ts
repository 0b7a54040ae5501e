import type { IncomingMessage } from 'node:http';

/** From where a device connects. */
export interface DeviceOrigin {
  readonly address: string;
  /** 0 if it isn't known. */
  readonly port: number;
}

/** The gateway tells from where a client comes, and its port if no proxy hides it. */
export const originOf = ({
  headers,
  socket,
}: Pick<IncomingMessage, 'headers'> & {
  readonly socket: Pick<IncomingMessage['socket'], 'remoteAddress' | 'remotePort'>;
}): DeviceOrigin => {
  const forwarded = headers['x-forwarded-for'];
  if (typeof forwarded !== 'string') return { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
  const port = /^for=".+:(\d{1,5})"$/.exec(headers.forwarded ?? '')?.[1];
  return { address: forwarded.split(',', 1)[0]?.trim() ?? '', port: Number(port ?? 0) };
};
