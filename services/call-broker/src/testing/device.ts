import {
  makeToken,
  DEVICE_CONTROL,
  encodeRequest,
  readEvent,
  type DeviceEvent,
  type DeviceRequest,
} from '@weir/protocol-topvdn';
import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';

export const APP = {
  id: 'Test',
  key: 'k'.repeat(32),
  tenant: 'house',
  ranges: [{ begin: 1_000, end: 99_999, usage: 1 as const }],
  wakeHook: '',
};

const TOKEN_LIFE_S = 3_600;

export const tokenOf = (cid: number, { key = APP.key, lifeS = TOKEN_LIFE_S } = {}): string =>
  makeToken({ cid, control: DEVICE_CONTROL, expireS: Math.floor(Date.now() / 1_000) + lifeS }, key);

/** A device at the end of its channel. */
export class TestDevice {
  readonly events: DeviceEvent[] = [];
  closeCode: number | undefined;
  /** Whether messages are acknowledged as they come. */
  acknowledges = true;

  private constructor(
    readonly cid: number,
    readonly socket: WebSocket,
  ) {
    socket.on('message', (data: Buffer) => {
      const event = readEvent(data.toString());
      if (event === undefined) throw new Error(`not an event: ${data.toString()}`);
      this.events.push(event);
      if (this.acknowledges && 'Name' in event && event.id !== undefined) this.ask({ type: 'ack', id: event.id });
    });
    socket.on('close', (code) => {
      this.closeCode = code;
    });
    socket.on('error', () => undefined);
  }

  /** @param url of an instance */
  static async open(url: string, cid: number, { token = tokenOf(cid), acknowledges = true } = {}): Promise<TestDevice> {
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v2/device/channel?client_token=${token}`);
    const device = new TestDevice(cid, socket);
    device.acknowledges = acknowledges;
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('unexpected-response', (_request, { statusCode }) => reject(new Error(`status ${statusCode}`)));
      socket.once('error', reject);
    });
    return device;
  }

  ask(request: DeviceRequest): void {
    this.socket.send(encodeRequest(request));
  }

  /** The messages that have come, without their ids: `<name> <text> from <cid>`. */
  messages(): string[] {
    return this.events.flatMap((event) =>
      'Name' in event ? [`${event.Name} ${Buffer.from(event.Message, 'base64').toString()} from ${event.SrcID}`] : [],
    );
  }

  async hears(count: number): Promise<void> {
    await waitFor(() => this.events.length >= count, { what: `event ${count} of device ${this.cid}` });
  }

  async closes(): Promise<number> {
    await waitFor(() => this.closeCode !== undefined, { what: `the end of device ${this.cid}` });
    return this.closeCode ?? 0;
  }

  end(): void {
    this.socket.terminate();
  }
}
