import { randomUUID } from 'node:crypto';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { received, startBrowser } from './browser.js';
import { expectPictureAndSound } from './picture-and-sound.js';
import { SdkPage } from './sdk-page.js';

const { httpUrl, siteUrl } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');

let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  browser = await startBrowser();
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());
afterAll(() => browser.close());

const newName = () => `cam-${randomUUID().slice(0, 8)}`;

async function connectedPage(): Promise<SdkPage> {
  const page = await SdkPage.open(context, siteUrl);
  await page.connect(wsUrl);
  return page;
}

async function publisherOf(name: string, options: Record<string, unknown> = {}): Promise<SdkPage> {
  const page = await connectedPage();
  await page.publish('out', { name, options });
  await page.waitForEvent('out', 'PUBLISHING');
  return page;
}

async function playerOf(name: string): Promise<SdkPage> {
  const page = await connectedPage();
  await page.play('in', { name });
  await page.waitForEvent('in', 'PLAYING');
  return page;
}

describe('the unmodified WebSDK', () => {
  it('publishes a camera that another page plays, with picture and sound', async () => {
    const name = newName();
    await publisherOf(name);
    const player = await playerOf(name);
    await expectPictureAndSound(player);
    const [status] = player
      .framesReceived('notifyStreamStatusEvent')
      .map(([first]) => first as Record<string, unknown>)
      .filter(({ status: text }) => text === 'PLAYING');
    expect(status).toMatchObject({
      name,
      published: false,
      audioCodec: 'opus',
      videoCodec: 'H264',
      mediaProvider: 'WebRTC',
    });
  });

  it('is told the picture size in both forms', async () => {
    const name = newName();
    await publisherOf(name, { constraints: { video: { width: 320, height: 240 }, audio: true } });
    const player = await playerOf(name);
    await player.waitForEvent('in', 'RESIZE');
    const event = await player.waitForEvent('in', 'resize');
    expect(event.info).toEqual({ streamerVideoWidth: 320, streamerVideoHeight: 240 });
    const [format] = player.framesReceived('notifyVideoFormat');
    expect(format).toEqual([
      expect.objectContaining({ status: 'RESIZE', streamerVideoWidth: 320, streamerVideoHeight: 240 }),
    ]);
  });

  it('gets messages in the order of the call flow: audio codec, SDP, PLAYING, video format', async () => {
    const name = newName();
    await publisherOf(name);
    const player = await playerOf(name);
    await player.waitForEvent('in', 'RESIZE');
    const order = player.frames.filter(({ sent }) => !sent).map(({ message }) => message);
    const flow = ['getUserData', 'getVersion', 'notifyAudioCodec', 'setRemoteSDP', 'notifyStreamStatusEvent'];
    expect(order.filter((message) => flow.includes(message))).toEqual(flow);
    expect(order.indexOf('notifyVideoFormat')).toBeGreaterThan(order.indexOf('notifyStreamStatusEvent'));
  });

  it('can ask whether a stream is available', async () => {
    const name = newName();
    const page = await publisherOf(name);
    expect(await page.available(name)).toMatchObject({ available: true });
    expect(await page.available(newName())).toEqual({ available: false, info: 'Stream not found' });
  });

  it('tells players that the publisher is muted, including those who join later', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const early = await playerOf(name);
    await publisher.call('out', 'muteAudio');
    await early.waitForEvent('in', 'audioMuted');
    await publisher.call('out', 'muteVideo');
    await early.waitForEvent('in', 'videoMuted');
    const late = await playerOf(name);
    const [status] = late
      .framesReceived('notifyStreamStatusEvent')
      .map(([first]) => first as Record<string, unknown>)
      .filter(({ status: text }) => text === 'PLAYING');
    expect(status).toMatchObject({ audioState: { muted: true }, videoState: { muted: true } });
    await publisher.call('out', 'unmuteAudio');
    await late.waitForEvent('in', 'audioUnmuted');
    await publisher.call('out', 'unmuteVideo');
    await early.waitForEvent('in', 'videoUnmuted');
  });

  it('takes a snapshot that is a PNG of the picture', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    await publisher.call('out', 'snapshot');
    const event = await publisher.waitForEvent('out', 'snapshotCompleted');
    const { snapshot } = event.info as { snapshot: string };
    const [red = 0, green = 0, blue = 0] = await publisher.page.evaluate(async (base64) => {
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      await image.decode();
      const canvas = document.createElement('canvas');
      canvas.width = image.width;
      canvas.height = image.height;
      const drawing = canvas.getContext('2d');
      drawing?.drawImage(image, 0, 0);
      return Array.from(drawing?.getImageData(5, image.height >> 1, 1, 1).data ?? []);
    }, snapshot);
    expect(green).toBeGreaterThan(Math.max(red, blue));
  });

  it('sends data to the players of its stream', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const player = await playerOf(name);
    await publisher.call('out', 'sendData', { count: 23 });
    expect((await player.waitForEvent('in', 'data')).info).toEqual({ count: 23 });
  });

  it('gets an answer to session data', async () => {
    const page = await connectedPage();
    await page.page.evaluate(() => {
      const { session } = window as unknown as { session: { sendData(data: object): Promise<unknown> } };
      return session.sendData({ hello: 'there' });
    });
    await waitFor(() => page.framesReceived('DataStatusEvent').length > 0);
    expect(page.framesReceived('DataStatusEvent')[0]).toEqual([expect.objectContaining({ status: 'ACCEPTED' })]);
  });

  it('gets plausible rates for both directions', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const player = await playerOf(name);
    await publisher.waitForEvent('out', 'QUALITY');
    await player.waitForEvent('in', 'QUALITY');
    await waitFor(() => publisher.framesReceived('inboundVideoRate').length >= 4, { timeoutMs: 15_000 });
    const [last] = publisher.framesReceived('inboundVideoRate').at(-1) as [Record<string, number>];
    expect(last['videoRate']).toBeGreaterThan(10_000);
    expect(last['fps']).toBeGreaterThan(5);
    expect(last).toMatchObject({ nack: expect.any(Number), pli: expect.any(Number), lostPackets: expect.any(Number) });
    expect(last['width']).toBeGreaterThan(0);
    const [sent] = player.framesReceived('outboundVideoRate').at(-1) as [Record<string, number>];
    expect(sent['videoRate']).toBeGreaterThan(10_000);
  });

  it('stops playing and publishing with the specified texts', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const player = await playerOf(name);
    await player.call('in', 'stop');
    expect((await player.waitForEvent('in', 'STOPPED')).info).toBe('Stopped by user');
    await publisher.call('out', 'stop');
    expect((await publisher.waitForEvent('out', 'UNPUBLISHED')).info).toBe('Stopped by publisher stop');
    expect(await publisher.available(name)).toEqual({ available: false, info: 'Stream not found' });
  });

  it('can stop while it is still pending', async () => {
    const page = await connectedPage();
    await page.publish('out', { name: newName() });
    await page.call('out', 'stop');
    await page.waitForEvent('out', 'UNPUBLISHED');
  });

  it('publishes audio without video and plays it', async () => {
    const name = newName();
    await publisherOf(name, { constraints: { audio: true, video: false } });
    const player = await playerOf(name);
    await waitFor(async () => (await received(player.page)).audioEnergy > 0, { timeoutMs: 20_000 });
  });

  it('plays over TCP only', async () => {
    const name = newName();
    await publisherOf(name, { transport: 'TCP' });
    const player = await connectedPage();
    await player.play('in', { name, options: { transport: 'TCP' } });
    await player.waitForEvent('in', 'PLAYING');
    await expectPictureAndSound(player);
  });

  it('plays one stream in several pages at once', async () => {
    const name = newName();
    await publisherOf(name);
    const players = await Promise.all([playerOf(name), playerOf(name), playerOf(name)]);
    await Promise.all(players.map(expectPictureAndSound));
  });
});

describe('the unmodified WebSDK when something goes wrong', () => {
  it('is refused as a second publisher of the same name, and the first goes on', async () => {
    const name = newName();
    await publisherOf(name);
    const second = await connectedPage();
    await second.publish('out', { name });
    expect((await second.waitForEvent('out', 'FAILED')).info).toBe('Stream name is already in use');
    await expectPictureAndSound(await playerOf(name));
  });

  it('fails to play a stream that does not exist', async () => {
    const page = await connectedPage();
    await page.play('in', { name: newName() });
    expect((await page.waitForEvent('in', 'FAILED')).info).toBe('Stream not found');
  });

  it('is told as a player when the publisher stops', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const player = await playerOf(name);
    await publisher.call('out', 'stop');
    expect((await player.waitForEvent('in', 'FAILED')).info).toBe('Stopped by publisher stop');
  });

  it('is told as a player when the publisher vanishes', async () => {
    const name = newName();
    const publisher = await publisherOf(name);
    const player = await playerOf(name);
    await publisher.close();
    expect((await player.waitForEvent('in', 'FAILED')).info).toBe('Stopped by publisher stop');
  });

  it('can publish its name again at once after it reconnects', async () => {
    const name = newName();
    const page = await publisherOf(name);
    await page.disconnect();
    await page.waitForEvent('session', 'DISCONNECTED');
    const again = await connectedPage();
    await again.publish('out', { name });
    await again.waitForEvent('out', 'PUBLISHING');
    await expectPictureAndSound(await playerOf(name));
  });

  it('goes on playing when another player leaves', async () => {
    const name = newName();
    await publisherOf(name);
    const [leaving, staying] = await Promise.all([playerOf(name), playerOf(name)]);
    await leaving.close();
    const before = (await received(staying.page)).framesDecoded;
    await waitFor(async () => (await received(staying.page)).framesDecoded > before + 20, { timeoutMs: 20_000 });
    expect((await staying.events()).some(({ what }) => what === 'FAILED')).toBe(false);
  });
});
