import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';
import type { FakeMedia } from './fake-media.js';

export interface Frame {
  id?: unknown;
  act: string;
  err?: { ec: number; em: string; dm: string };
  // The tests assume that the service's frames have the right form.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  ret?: any;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  arg?: any;
  ebd?: unknown;
}

/** Any WebSocket client of the service. */
export class Client {
  readonly heard: Frame[] = [];
  readonly texts: string[] = [];
  closeCode: number | undefined;
  #wasOpen = false;
  refused: { status: number | undefined; body: string } | undefined;

  protected constructor(readonly socket: WebSocket) {
    socket.on('message', (data, isBinary) => {
      if (isBinary) throw new Error('the service sent a binary frame');
      this.texts.push(String(data));
      const frame = JSON.parse(String(data)) as Frame;
      this.heard.push(frame);
      this.onFrame(frame);
    });
    socket.on('open', () => {
      this.#wasOpen = true;
    });
    socket.on('close', (code) => {
      this.closeCode = code;
    });
    socket.on('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (part) => (body += String(part)));
      response.on('end', () => {
        this.refused = { status: response.statusCode, body };
        socket.terminate();
      });
    });
    socket.on('error', () => {
      this.closeCode ??= 0;
    });
  }

  protected onFrame(_frame: Frame): void {
    // Subclasses that answer override this.
  }

  async opened(): Promise<this> {
    await waitFor(() => this.#wasOpen || this.refused !== undefined, { what: 'the socket' });
    return this;
  }

  raw(frame: string | Buffer): void {
    this.socket.send(frame);
  }

  async hears(fits: (frame: Frame) => boolean, what = 'a frame'): Promise<Frame> {
    return waitFor(() => this.heard.find(fits), { what, timeoutMs: 20_000 });
  }

  async closes(): Promise<number> {
    await waitFor(() => this.closeCode !== undefined, { what: 'the close of the socket' });
    return this.closeCode ?? 0;
  }

  end(): void {
    this.socket.terminate();
  }
}

export class App extends Client {
  #asked = 0;

  /** @param path with a query if the query carries the token */
  static open(wsUrl: string, token: string | undefined, path = '/channel/app'): Promise<App> {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return App.openWith(`${wsUrl}${path}`, headers);
  }

  static openWith(url: string, headers: Record<string, string>): Promise<App> {
    return new App(new WebSocket(url, { headers, perMessageDeflate: false })).opened();
  }

  async asks(act: string, arg?: unknown): Promise<Frame> {
    this.#asked += 1;
    const id = `q${this.#asked}`;
    this.raw(JSON.stringify({ id, act, arg }));
    return this.hears((frame) => frame.id === id, `the reply to ${act}`);
  }

  start(robotId = 'r1', camera = 'front'): Promise<Frame> {
    return this.asks('robot.start_stream', { robot_id: robotId, camera });
  }

  stop(robotId = 'r1', camera = 'front'): Promise<Frame> {
    return this.asks('robot.stop_stream', { robot_id: robotId, camera });
  }

  states(): string[] {
    return this.heard.flatMap(({ act, arg }) => (act === 'robot.state' ? [`${arg.robot_id} ${arg.status}`] : []));
  }
}

export type Behaviour = 'honest' | 'silent' | 'acknowledges-only' | 'pushes-only' | 'ffmpeg-failed' | 'odd-error';

/** A robot that acts according to `behaviour`. */
export class Robot extends Client {
  behaviour: Behaviour = 'honest';
  /** The acts in the order in which they came. */
  readonly commands: string[] = [];
  media: FakeMedia | undefined;

  static open(wsUrl: string, token: string, media?: FakeMedia, behaviour: Behaviour = 'honest'): Promise<Robot> {
    const headers = { authorization: `Bearer ${token}` };
    const robot = new Robot(new WebSocket(`${wsUrl}/channel/robot`, { headers, perMessageDeflate: false }));
    robot.media = media;
    robot.behaviour = behaviour;
    return robot.opened();
  }

  protected override onFrame({ id, act, arg, ebd }: Frame): void {
    if (act.endsWith('!')) return;
    this.commands.push(act);
    if (this.behaviour === 'silent') return;
    const answer = (err: unknown, ret: unknown = {}) => this.raw(JSON.stringify({ id, act: `${act}!`, err, ret, ebd }));
    if (act === 'robot.stop_stream') {
      answer({ dm: 'ok' });
      return;
    }
    switch (this.behaviour) {
      case 'honest':
        answer({ ec: 0, em: '', dm: 'ok' }, { base_uri: arg.token.base_uri });
        this.media?.push(arg.token.uri);
        return;
      case 'acknowledges-only':
        answer({ dm: 'ok' });
        return;
      case 'pushes-only':
        this.media?.push(arg.token.uri);
        return;
      case 'ffmpeg-failed':
        answer({ dm: 'ffmpeg_failed', em: 'no such device' });
        return;
      case 'odd-error':
        answer({ ec: 17, dm: 'camera_busy' });
        return;
      default:
        this.behaviour satisfies never;
    }
  }

  starts(): number {
    return this.commands.filter((act) => act === 'robot.start_stream').length;
  }

  stops(): number {
    return this.commands.filter((act) => act === 'robot.stop_stream').length;
  }
}
