import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';

/** An SDP answer to each section of the offer, with the given address as the candidate. */
const answerAt = (address: string, offer: string): string => {
  const mids = [...offer.matchAll(/^a=mid:(.+)\r?$/gm)].map(([, mid]) => mid?.trim() ?? '');
  const kinds = [...offer.matchAll(/^m=(audio|video) \d+ \S+ (\d+)/gm)];
  const lines = [
    ...['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', 'a=ice-lite'],
    ...kinds.flatMap(([, kind = '', payloadType = ''], index) => {
      const rtpmap = new RegExp(`^a=rtpmap:${payloadType} .*$`, 'm').exec(offer)?.[0].trim() ?? '';
      return [
        ...[`m=${kind} 9 UDP/TLS/RTP/SAVPF ${payloadType}`, 'c=IN IP4 0.0.0.0', `a=mid:${mids[index] ?? ''}`],
        ...[
          'a=recvonly',
          'a=rtcp-mux',
          rtpmap,
          'a=setup:passive',
          'a=ice-ufrag:abcd',
          'a=ice-pwd:abcdefghijklmnopqrstuvwx',
        ],
        `a=fingerprint:sha-256 ${Array.from({ length: 32 }, () => 'AB').join(':')}`,
        ...[`a=candidate:1 1 udp 2130706431 ${address} 40000 typ host`, 'a=end-of-candidates'],
      ];
    }),
  ];
  return `${lines.join('\r\n')}\r\n`;
};

interface Strange {
  url: string;
  close(): Promise<void>;
}

async function listening(server: Server, address: string): Promise<Strange> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  return {
    url: `ws://${address}:${(server.address() as AddressInfo).port}`,
    close: async () => {
      const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function webSocketServer(address: string, connected: (socket: WebSocket) => void): Promise<Strange> {
  const server = createHttpServer();
  new WebSocketServer({ server }).on('connection', (socket) => {
    socket.on('error', () => socket.terminate());
    connected(socket);
  });
  return listening(server, address);
}

/** Speaks WCS up to the answer to the offer. */
const negotiating = (answer: (offer: string) => string) => (socket: WebSocket) => {
  const send = (message: string, data: object) => socket.send(JSON.stringify({ message, data: [data] }));
  socket.on('message', (frame: Buffer) => {
    const { message, data } = JSON.parse(frame.toString()) as {
      message: string;
      data: { sdp?: string; mediaSessionId?: string }[];
    };
    if (message === 'connection') send('getUserData', { sipRegisterRequired: false, status: 'ESTABLISHED' });
    if (message === 'publishStream')
      socket.send(
        JSON.stringify({
          message: 'setRemoteSDP',
          data: [data[0]?.mediaSessionId ?? '', answer(data[0]?.sdp ?? ''), false],
        }),
      );
  });
};

/** Servers that may be found at an address where a WCS server was expected. */
export async function strangeServers(address: string) {
  const servers = {
    /** Accepts connections and never says anything. */
    silent: await listening(createServer(), address),
    /** Opens the WebSocket and never says anything. */
    mute: await webSocketServer(address, () => undefined),
    /** A web server without WebSockets. */
    web: await listening(
      createHttpServer((_request, response) => response.end('hello')).on('upgrade', (_request, socket) =>
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'),
      ),
      address,
    ),
    chatter: await webSocketServer(address, (socket) => socket.send('hello, who is there?')),
    binary: await webSocketServer(address, (socket) => socket.send(Buffer.alloc(1_000, 7))),
    badAnswer: await webSocketServer(
      address,
      negotiating(() => 'v=0\r\nthis is no SDP'),
    ),
    /** Wants the media at an address to which weir may not send. */
    elsewhere: await webSocketServer(
      address,
      negotiating((offer) => answerAt('10.0.9.9', offer)),
    ),
    hangsUp: await webSocketServer(address, (socket) => socket.close(1011)),
  };
  const urls = Object.fromEntries(Object.entries(servers).map(([name, { url }]) => [name, url])) as Record<
    keyof typeof servers,
    string
  >;
  return {
    ...urls,
    close: async () => {
      await Promise.all(Object.values(servers).map((server) => server.close()));
    },
  };
}
