import { DEVICE_CONTROL, formatCallUrl, makeToken } from '@weir/protocol-topvdn';
import { z } from 'zod';
import type { BenchPlatform } from './platform.js';

const keyed = z.object({ id: z.string(), key: z.string() });
const TOKEN_LIFE_S = 3_600;

/** An app of the demo tenant with a range of devices. */
export class CallApp {
  private constructor(
    private readonly platform: BenchPlatform,
    readonly id: string,
    private readonly key: string,
    private readonly firstCid: number,
  ) {}

  static async create(platform: BenchPlatform, deviceCount: number): Promise<CallApp> {
    // Apart from the demo's devices, and from those of an app that an aborted run has left behind.
    const begin = 2_000_000_000 + Math.floor(Math.random() * 10_000) * 100_000;
    const response = await fetch(`${platform.httpUrl}/calls/apps`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${platform.operatorKey}` },
      body: JSON.stringify({ ranges: [{ begin, end: begin + deviceCount - 1 }] }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`POST /calls/apps: ${response.status} ${text}`);
    const { id, key } = keyed.parse(JSON.parse(text));
    return new CallApp(platform, id, key, begin);
  }

  cidOf(index: number): number {
    return this.firstCid + index;
  }

  tokenOf(index: number): string {
    const expireS = Math.floor(Date.now() / 1_000) + TOKEN_LIFE_S;
    return makeToken({ cid: this.cidOf(index), control: DEVICE_CONTROL, expireS }, this.key);
  }

  /** The path of the device's channel with its token. */
  channelOf(index: number): string {
    return `/v2/device/channel?client_token=${this.tokenOf(index)}`;
  }

  /** With it, another device calls this one. */
  callUrlOf(index: number): string {
    const { hostname, port } = new URL(this.platform.httpUrl);
    return formatCallUrl({ host: hostname, port: Number(port), token: this.tokenOf(index) });
  }

  /** @param url of the gateway or of call-broker */
  async push(url: string, index: number, msg: string): Promise<void> {
    const response = await fetch(`${url}/v2/message/server/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-app-id': this.id, 'x-app-key': this.key },
      body: JSON.stringify({ proxy: 0, payload: { msg, flag: 2, clients: [this.cidOf(index)] } }),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`a push was answered with ${response.status} ${text}`);
  }

  async remove(): Promise<void> {
    await fetch(`${this.platform.httpUrl}/calls/apps/${this.id}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${this.platform.operatorKey}` },
    });
  }
}
