import { waitFor } from '@weir/testing';
import { expect } from 'vitest';
import { z } from 'zod';
import {
  heard,
  messagesOf,
  openCall,
  openDevicePage,
  type DevicePage,
  type DevicePageOptions,
  type Sending,
} from './call-page.js';

export interface CallDevice {
  readonly cid: number;
  readonly token: string;
}

export interface CallAppOptions {
  readonly httpUrl: string;
  /** A page's address that may talk to the platform. */
  readonly siteUrl: string;
  readonly calls: { readonly appId: string; readonly appKey: string; readonly devices: readonly CallDevice[] };
}

const states = z.object({
  devices: z.array(
    z.object({
      ...{ cid: z.number(), state: z.number(), tracker_ip: z.string(), tracker_port: z.number() },
      ...{ public_port: z.number(), rtmp_url: z.string(), hls: z.string() },
    }),
  ),
});

export const RED: Sending = { colour: '#ff0000', toneHz: 500 };
export const BLUE: Sending = { colour: '#0000ff', toneHz: 1_200 };

/** The application's server of the demo app: it asks the platform, and sets calls up in the vendor's steps. */
export class CallApp {
  constructor(private readonly options: CallAppOptions) {}

  device(index: number): CallDevice {
    const device = this.options.calls.devices[index];
    if (device === undefined) throw new Error('the credentials file has too few devices');
    return device;
  }

  async ask(path: string, body: object): Promise<unknown> {
    const { httpUrl, calls } = this.options;
    const response = await fetch(httpUrl + path, {
      method: 'POST',
      headers: { 'X-APP-ID': calls.appId, 'X-APP-Key': calls.appKey, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(response.status, await response.clone().text()).toBe(200);
    return response.json();
  }

  async stateOf(cid: number): Promise<z.infer<typeof states>['devices'][number]> {
    const [state] = states.parse(await this.ask('/v2/devices/state?page=1&size=20', { cids: [cid] })).devices;
    if (state === undefined) throw new Error('the device has no state');
    return state;
  }

  async urlOf({ cid, token }: CallDevice): Promise<string> {
    const { tracker_ip: ip, tracker_port: port } = await this.stateOf(cid);
    return `topvdn://${ip}:${port}?protocolType=1&token=${token}`;
  }

  /** A page that is the device. */
  openPage<P extends DevicePage>(
    context: { newPage(): Promise<P> },
    { token }: CallDevice,
    options: Omit<DevicePageOptions, 'pageUrl' | 'serverUrl' | 'token'>,
  ): Promise<P> {
    const { siteUrl: pageUrl, httpUrl: serverUrl } = this.options;
    return openDevicePage(context, { pageUrl, serverUrl, token, ...options });
  }

  /**
   * Steps 2 to 5 of the vendor's flow: the server pushes the caller's URL, and the callee opens what it got.
   * @returns the code of the error if that is refused
   */
  async call(
    caller: CallDevice,
    callee: { readonly cid: number; readonly page: DevicePage },
    options: { readonly record?: boolean } = {},
  ): Promise<number | undefined> {
    const url = await this.urlOf(caller);
    const before = (await messagesOf(callee.page)).length;
    const msg = Buffer.from(url).toString('base64');
    await this.ask('/v2/message/server/push', { proxy: 0, payload: { msg, flag: 2, clients: [callee.cid] } });
    const pushed = await waitFor(async () =>
      (await messagesOf(callee.page)).slice(before).find((message) => message.startsWith('PopMessage topvdn')),
    );
    return openCall(callee.page, pushed.replace('PopMessage ', ''), options);
  }
}

/** The page shows and plays what the other side sends. */
export async function expectToHear(page: DevicePage, { colour, toneHz = 0 }: Sending): Promise<void> {
  let got = await heard(page);
  await waitFor(
    async () => {
      got = await heard(page);
      return got.framesDecoded > 20 && Math.abs(got.toneHz - toneHz) < 15;
    },
    { timeoutMs: 30_000, what: 'picture and sound' },
  );
  const [red = 0, green = 0, blue = 0] = got.colour;
  const [strong, weak] = colour === RED.colour ? [red, blue] : [blue, red];
  expect(strong).toBeGreaterThan(Math.max(weak, green) + 100);
}

export const ended = (page: DevicePage, cause: string): Promise<unknown> =>
  waitFor(async () => (await heard(page)).cause === cause, { timeoutMs: 20_000, what: `the end "${cause}"` });
