import { waitFor } from '@weir/testing';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { startEdge, stopEdges, type EdgeUnderTest } from './testing/edge-under-test.js';
import { startService, stopServices } from './testing/service-stand-in.js';

interface Frame {
  message: string;
  data: Record<string, unknown>[];
}

let browser: Browser;
let edge: EdgeUnderTest;
let received: Frame[];
let sockets: WebSocket[];
/** What the stand-in for wcs-signalling does with a message. */
let answer: (frame: Frame, socket: WebSocket) => void;
let complaints: string[];

beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--use-fake-ui-for-media-stream',
      '--use-fake-device-for-media-stream',
      '--host-resolver-rules=MAP weir.test 127.0.0.1',
    ],
  });
});
afterAll(() => browser.close());

beforeEach(async () => {
  received = [];
  sockets = [];
  complaints = [];
  answer = accept;
  const wcs = await startService({
    onRequest: (_request, response) => response.end('{"status":"ok"}'),
    onSocket: (socket) => {
      sockets.push(socket);
      socket.on('message', (data: Buffer) => {
        const frame = JSON.parse(data.toString()) as Frame;
        received.push(frame);
        answer(frame, socket);
      });
    },
  });
  edge = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  await stopEdges();
  await stopServices();
});

const send = (socket: WebSocket, message: string, ...data: unknown[]) => socket.send(JSON.stringify({ message, data }));
const accept = (frame: Frame, socket: WebSocket) => {
  if (frame.message === 'connection') send(socket, 'getUserData', { status: 'ESTABLISHED', authToken: 'x' });
};
const giveStatus = (status: string, info?: string) => (frame: Frame, socket: WebSocket) => {
  accept(frame, socket);
  if (frame.message === 'publishStream' || frame.message === 'playStream')
    send(socket, 'notifyStreamStatusEvent', { mediaSessionId: frame.data[0]?.['mediaSessionId'], status, info });
};
const frames = (message: string) => received.filter((frame) => frame.message === message).map(({ data }) => data[0]);

async function openPage(url = edge.url, path = '/'): Promise<Page> {
  const page = await browser.newPage();
  page.on('console', (line) => {
    if (line.type() === 'error') complaints.push(line.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).host !== new URL(url).host) complaints.push(`asked for ${request.url()}`);
  });
  await page.goto(`${url}${path}`);
  return page;
}

const panel = (page: Page, name: 'publish' | 'play') => page.locator(`#${name}`);
const shows = (page: Page, name: 'publish' | 'play', selector: string, text: string) =>
  panel(page, name).locator(selector, { hasText: text }).waitFor({ timeout: 10_000 });

async function publishTestPicture(page: Page, name: string): Promise<void> {
  await panel(page, 'publish').getByLabel('Stream name').fill(name);
  await panel(page, 'publish').getByLabel('Test picture and tone').check();
  await page.getByRole('button', { name: 'Start publishing' }).click();
}

describe('the first page', () => {
  it('loads nothing from other sites, and shows that the server is ready', async () => {
    const page = await openPage();
    await page.getByText('Server ready').waitFor();
    await page.goto(`${edge.url}/guide.html`);
    await page.getByText(`ws://127.0.0.1:${edge.port}`).first().waitFor();
    expect(complaints).toEqual([]);
  });

  it('publishes the test picture with sound, mutes it and stops', async () => {
    answer = giveStatus('PUBLISHING');
    const page = await openPage();
    await page.getByText('Connection options').click();
    await page.getByLabel('Access token').fill('a.b.c');
    await publishTestPicture(page, 'garden');
    await shows(page, 'publish', '.state', 'Publishing');

    expect(frames('connection')).toMatchObject([
      { appKey: 'defaultApp', clientVersion: '2.0', mediaProviders: ['WebRTC'], custom: { token: 'a.b.c' } },
    ]);
    const [stream] = frames('publishStream');
    expect(stream).toMatchObject({
      name: 'garden',
      published: true,
      hasVideo: true,
      hasAudio: true,
      status: 'PENDING',
    });
    const sdp = String(stream?.['sdp']);
    expect(sdp.match(/^m=(audio|video) /gm)).toHaveLength(2);
    expect(sdp.match(/^a=sendonly/gm)).toHaveLength(2);
    const link = page.getByRole('link', { name: `${edge.url}/#play=garden` });
    await link.waitFor();

    await panel(page, 'publish').getByRole('button', { name: 'Mute sound' }).click();
    await panel(page, 'publish').getByRole('button', { name: 'Unmute sound' }).click();
    await panel(page, 'publish').getByRole('button', { name: 'Hide picture' }).click();
    await waitFor(() => frames('sendStreamEvent').length === 3);
    expect(frames('sendStreamEvent').map((event) => event?.['type'])).toEqual([
      'audioMuted',
      'audioUnmuted',
      'videoMuted',
    ]);

    await page.getByRole('button', { name: 'Stop publishing' }).click();
    await shows(page, 'publish', '.state', 'Not publishing');
    await waitFor(() => frames('unPublishStream').length === 1 && sockets[0]?.readyState === 3);
    expect(frames('unPublishStream')[0]).toMatchObject({ mediaSessionId: stream?.['mediaSessionId'], name: 'garden' });
    expect(complaints).toEqual([]);
  });

  it('publishes the camera', async () => {
    answer = giveStatus('PUBLISHING');
    const page = await openPage();
    await page.getByRole('button', { name: 'Start publishing' }).click();
    await shows(page, 'publish', '.state', 'Publishing');
    expect(frames('publishStream')).toMatchObject([{ name: 'demo', hasVideo: true, hasAudio: true }]);
  });

  it('offers to receive when it plays, and shows what the publisher mutes', async () => {
    answer = giveStatus('PLAYING');
    const page = await openPage(edge.url, '/#play=gar%20den');
    await page.getByRole('button', { name: 'Play', exact: true }).click();
    await shows(page, 'play', '.state', 'Playing');
    const [stream] = frames('playStream');
    expect(stream).toMatchObject({ name: 'gar den', published: false, hasVideo: true, hasAudio: true, record: false });
    expect(String(stream?.['sdp']).match(/^a=recvonly/gm)).toHaveLength(2);
    const [socket] = sockets;
    if (socket !== undefined) {
      send(socket, 'ping');
      send(socket, 'notifyStreamEvent', { mediaSessionId: stream?.['mediaSessionId'], type: 'audioMuted' });
    }
    await shows(page, 'play', '.state', 'publisher’s sound off');
    await waitFor(() => frames('pong').length === 1);
    await panel(page, 'play').getByRole('button', { name: 'Stop' }).click();
    await waitFor(() => frames('stopStream').length === 1);
  });

  it.each([
    ['Stream name is already in use', 'Choose another name.'],
    ['Failed by ICE timeout', 'WEIR_ANNOUNCED_ADDRESS'],
    ['Something new', 'The server says: Something new'],
  ])('says what to do when publishing fails with "%s"', async (info, advice) => {
    answer = giveStatus('FAILED', info);
    const page = await openPage();
    await publishTestPicture(page, 'taken');
    await shows(page, 'publish', '[role=alert]', advice);
    await shows(page, 'publish', '.state', 'Failed');
    await page.getByRole('button', { name: 'Start publishing' }).waitFor();
  });

  it('says what to do when nobody publishes, when the publisher stops and when the connection is lost', async () => {
    answer = giveStatus('FAILED', 'Stream not found');
    const page = await openPage();
    const play = page.getByRole('button', { name: 'Play', exact: true });
    await play.click();
    await shows(page, 'play', '[role=alert]', 'Nobody publishes under this name');

    answer = giveStatus('PLAYING');
    await play.click();
    await shows(page, 'play', '.state', 'Playing');
    const id = frames('playStream').at(-1)?.['mediaSessionId'];
    const socket = sockets.at(-1);
    if (socket !== undefined)
      send(socket, 'notifyStreamStatusEvent', {
        mediaSessionId: id,
        status: 'FAILED',
        info: 'Stopped by publisher stop',
      });
    await shows(page, 'play', '[role=alert]', 'The publisher has stopped.');
    await shows(page, 'play', '.state', 'Ended');

    await play.click();
    await shows(page, 'play', '.state', 'Playing');
    sockets.at(-1)?.terminate();
    await shows(page, 'play', '[role=alert]', 'The connection to the server was lost');
  });

  it('says what to do when the session is refused or the server can’t be reached', async () => {
    answer = (_frame, socket) => socket.close();
    const page = await openPage();
    const play = page.getByRole('button', { name: 'Play', exact: true });
    await play.click();
    await shows(page, 'play', '[role=alert]', 'whether it needs an access token');
    await stopServices();
    await play.click();
    await shows(page, 'play', '[role=alert]', 'The server can’t be reached.');
  });

  it('explains on a page that is not secure why there is no camera, and offers the test picture', async () => {
    answer = giveStatus('PUBLISHING');
    const page = await openPage(`http://weir.test:${edge.port}`);
    await page.getByText('Open this page as https://weir.test:8443').waitFor();
    expect(await page.getByLabel('Camera and microphone').isDisabled()).toBe(true);
    await page.getByRole('button', { name: 'Start publishing' }).click();
    await shows(page, 'publish', '.state', 'Publishing');
    expect(frames('publishStream')).toHaveLength(1);
  });
});
