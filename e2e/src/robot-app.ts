import { once } from 'node:events';
import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';

export interface Reply {
  id: unknown;
  act: string;
  err: { ec: number; em: string; dm: string };
  ret?: {
    uri?: string;
    hls_uri?: string;
    stream?: string;
    recording_id?: string;
    started_at?: number | null;
    stopped?: boolean;
  };
  /** In the event `robot.state`. */
  arg?: { robot_id: string; status: string };
}

/** A client that knows nothing of weir: the original document's calls over a plain WebSocket. */
export class RobotApp {
  readonly received: Reply[] = [];

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer) => this.received.push(JSON.parse(data.toString()) as Reply));
    socket.on('error', () => undefined); // `close` follows
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<RobotApp> {
    const socket = new WebSocket(url, { headers });
    const app = new RobotApp(socket);
    await once(socket, 'open');
    return app;
  }

  async ask(message: Record<string, unknown>, timeoutMs = 20_000): Promise<Reply> {
    this.socket.send(JSON.stringify(message));
    return waitFor(
      () => this.received.find(({ id, act }) => id === message['id'] && act === `${message['act'] as string}!`),
      { timeoutMs, what: `the reply to ${JSON.stringify(message)}` },
    );
  }

  startStream(robotId: string, camera: string, id = `start-${camera}`): Promise<Reply> {
    return this.ask({ id, act: 'robot.start_stream', arg: { robot_id: robotId, camera } });
  }
}
