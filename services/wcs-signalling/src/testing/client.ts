import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';

export interface Heard {
  readonly message: string;
  // The tests read the server's messages without checking their types.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly data: any[];
}

export const publication = (mediaSessionId: string, name: string) => ({
  mediaSessionId,
  name,
  published: true,
  hasVideo: true,
  hasAudio: true,
  status: 'PENDING',
  record: false,
  mediaProvider: 'WebRTC',
  sdp: 'v=0 offer',
  bitrate: 0,
  minBitrate: 0,
  maxBitrate: 0,
});

/** A WCS client over a real socket. */
export class Client {
  readonly heard: Heard[] = [];
  closeCode: number | undefined;
  refusedStatus: number | undefined;

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data, isBinary) => {
      if (isBinary) throw new Error('the server sent a binary frame');
      this.heard.push(JSON.parse(String(data)) as Heard);
    });
    socket.on('close', (code) => {
      this.closeCode = code;
    });
    socket.on('unexpected-response', (_request, response) => {
      this.refusedStatus = response.statusCode;
      socket.terminate();
    });
    socket.on('error', () => {
      this.closeCode ??= 0;
    });
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<Client> {
    const client = new Client(new WebSocket(url, { headers, perMessageDeflate: false }));
    await waitFor(() => client.socket.readyState === WebSocket.OPEN || client.refusedStatus, { what: 'the socket' });
    return client;
  }

  /** Opens a client and waits until its session is established. */
  static async connect(url: string, connection: Record<string, unknown> = {}): Promise<Client> {
    const client = await Client.open(url);
    client.says('connection', { appKey: 'defaultApp', clientVersion: '2.0', ...connection });
    await client.hears('getVersion');
    return client;
  }

  says(message: string, data?: unknown): void {
    this.raw(JSON.stringify({ message, data: [data ?? null] }));
  }

  raw(frame: string | Buffer): void {
    this.socket.send(frame);
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async hears(message: string, fits: (first: any) => boolean = () => true): Promise<any> {
    const found = await waitFor(() => this.heard.find((one) => one.message === message && fits(one.data[0])), {
      what: `a ${message} (heard: ${this.heard.map((one) => one.message).join(', ')})`,
    });
    return found.data[0];
  }

  status(mediaSessionId: string, status: string) {
    return this.hears(
      'notifyStreamStatusEvent',
      (event) => event.mediaSessionId === mediaSessionId && event.status === status,
    );
  }

  async publishes(mediaSessionId: string, name: string): Promise<void> {
    this.says('publishStream', publication(mediaSessionId, name));
    await this.status(mediaSessionId, 'PUBLISHING');
  }

  async plays(mediaSessionId: string, name: string): Promise<void> {
    this.says('playStream', { ...publication(mediaSessionId, name), published: false });
    await this.status(mediaSessionId, 'PLAYING');
  }

  async closes(): Promise<number> {
    await waitFor(() => this.closeCode !== undefined, { what: 'the close of the socket' });
    return this.closeCode ?? 0;
  }

  end(): void {
    this.socket.terminate();
  }
}
