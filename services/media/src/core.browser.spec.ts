import { create } from '@bufbuild/protobuf';
import { EndReason, IceTransport, PlayRequestSchema, PublishRequestSchema } from '@weir/contracts';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RecordedCore } from '../testing/recorded-core.js';
import type { MediaCore } from './core.js';

let browser: Browser;
let context: BrowserContext;
let redisServer: TestServer;
let redis: Redis;
let recorded: RecordedCore;
let core: MediaCore;

const has = (...told: Parameters<RecordedCore['has']>) => recorded.has(...told);

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
  browser = await chromium.launch({
    executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
      ...['--autoplay-policy=no-user-gesture-required', '--allow-loopback-in-peer-connection'],
      ...['--disable-background-timer-throttling', '--disable-renderer-backgrounding'],
    ],
  });
});
beforeEach(async () => {
  recorded = await RecordedCore.start(redis, { connectTimeoutMs: 15_000 });
  core = recorded.core;
  context = await browser.newContext();
});
afterEach(async () => {
  await context.close();
  recorded.close();
});
afterAll(async () => {
  await browser.close();
  redis.disconnect();
  await redisServer.stop();
});

interface PeerOptions {
  bundlePolicy?: 'balanced' | 'max-compat' | 'max-bundle';
  /** Moves the video codec of this name to the front of the offer. */
  prefer?: string;
  /** Numbers Opus in another way than the publisher does. */
  renumber?: boolean;
  /** Offers a transport of its own for each medium. */
  unbundle?: boolean;
}

/** A page that publishes: left half red, right half blue, with a tone. */
async function publish(sessionId: string, options: PeerOptions & { tcp?: boolean; streamName?: string } = {}) {
  const page = await context.newPage();
  await page.goto('about:blank');
  const offerSdp = await page.evaluate(async ({ bundlePolicy, prefer }) => {
    const canvas = document.createElement('canvas');
    canvas.width = 320;
    canvas.height = 240;
    const drawing = canvas.getContext('2d');
    let tick = 0;
    setInterval(() => {
      if (drawing === null) return;
      drawing.fillStyle = '#ff0000';
      drawing.fillRect(0, 0, 160, 240);
      drawing.fillStyle = '#0000ff';
      drawing.fillRect(160, 0, 160, 240);
      drawing.fillStyle = '#ffffff';
      drawing.fillRect((tick++ * 3) % 320, 230, 10, 10);
    }, 33);
    const audio = new AudioContext();
    const tone = audio.createOscillator();
    const output = audio.createMediaStreamDestination();
    tone.connect(output);
    tone.start();
    const stream = canvas.captureStream(30);
    const [toneTrack] = output.stream.getAudioTracks();
    if (toneTrack !== undefined) stream.addTrack(toneTrack);
    const pc = new RTCPeerConnection({ bundlePolicy: bundlePolicy ?? 'max-compat' });
    for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
    if (prefer !== undefined)
      for (const transceiver of pc.getTransceivers()) {
        if (transceiver.sender.track?.kind !== 'video') continue;
        const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
        transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === `video/${prefer}`));
      }
    const offer = await pc.createOffer();
    await pc.setLocalDescription(offer);
    Object.assign(window, { pc });
    return offer.sdp ?? '';
  }, options);
  const answer = await core.publish(
    create(PublishRequestSchema, {
      tenant: 'demo',
      streamName: options.streamName ?? 'cam',
      sessionId,
      ownerId: 'owner',
      offerSdp,
      iceTransport: options.tcp === true ? IceTransport.TCP : IceTransport.ANY,
    }),
  );
  await setAnswer(page, answer.answerSdp);
  return { page, answer, offerSdp };
}

async function play(sessionId: string, options: PeerOptions & { streamName?: string; tcp?: boolean } = {}) {
  const page = await context.newPage();
  await page.goto('about:blank');
  const offerSdp = await page.evaluate(async ({ renumber, bundlePolicy }) => {
    const pc = new RTCPeerConnection({ bundlePolicy: bundlePolicy ?? 'max-compat' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    pc.addTransceiver('video', { direction: 'recvonly' });
    const video = document.createElement('video');
    video.autoplay = true;
    document.body.append(video);
    pc.addEventListener('track', (event) => {
      video.srcObject = event.streams[0] ?? null;
    });
    const offer = await pc.createOffer();
    let sdp = offer.sdp ?? '';
    if (renumber === true) {
      // Another number for Opus than the publisher's.
      sdp = sdp
        .replaceAll(/a=(rtpmap|fmtp|rtcp-fb):111 /g, 'a=$1:119 ')
        .replace(/(m=audio [^\r]*) 111( |\r)/, '$1 119$2')
        .replace(/ 111\/111/g, ' 119/119');
    }
    await pc.setLocalDescription({ type: 'offer', sdp });
    Object.assign(window, { pc, video });
    return sdp;
  }, options);
  const sent =
    options.unbundle === true
      ? offerSdp.replace(/a=group:BUNDLE[^\r]*\r\n/, '').replaceAll('a=bundle-only\r\n', '')
      : offerSdp;
  const answer = await core.play(
    create(PlayRequestSchema, {
      tenant: 'demo',
      streamName: options.streamName ?? 'cam',
      sessionId,
      ownerId: 'owner',
      offerSdp: sent,
      iceTransport: options.tcp === true ? IceTransport.TCP : IceTransport.ANY,
    }),
  );
  await setAnswer(page, answer.answerSdp);
  return { page, answer, offerSdp };
}

const setAnswer = (page: Page, sdp: string) =>
  page.evaluate(
    (answer) =>
      (window as unknown as { pc: RTCPeerConnection }).pc.setRemoteDescription({ type: 'answer', sdp: answer }),
    sdp,
  );

interface Seen {
  framesDecoded: number;
  audioEnergy: number;
  width: number;
  height: number;
  left: number[];
  right: number[];
  srtpCipher: string;
  protocol: string;
  codec: string;
}

/** What a player's page shows: its decoder's counters and two pixels. */
const see = (page: Page): Promise<Seen> =>
  page.evaluate(async () => {
    const { pc, video } = window as unknown as { pc: RTCPeerConnection; video: HTMLVideoElement };
    const reports = [...(await pc.getStats()).values()] as Record<string, never>[];
    const inbound = (kind: string) =>
      reports.find((report) => report['type'] === ('inbound-rtp' as never) && report['kind'] === (kind as never));
    const transport = reports.find((report) => report['type'] === ('transport' as never));
    const pair = reports.find((report) => report['id'] === transport?.['selectedCandidatePairId']);
    const local = reports.find((report) => report['id'] === pair?.['localCandidateId']);
    const codec = reports.find((report) => report['id'] === inbound('video')?.['codecId']);
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth || 1;
    canvas.height = video.videoHeight || 1;
    const drawing = canvas.getContext('2d');
    drawing?.drawImage(video, 0, 0);
    const pixel = (share: number) =>
      Array.from(
        drawing?.getImageData(Math.floor(canvas.width * share), Math.floor(canvas.height / 2), 1, 1).data ?? [],
      );
    return {
      framesDecoded: inbound('video')?.['framesDecoded'] ?? 0,
      audioEnergy: inbound('audio')?.['totalAudioEnergy'] ?? 0,
      width: video.videoWidth,
      height: video.videoHeight,
      left: pixel(0.25),
      right: pixel(0.75),
      srtpCipher: transport?.['srtpCipher'] ?? '',
      protocol: local?.['protocol'] ?? '',
      codec: codec?.['mimeType'] ?? '',
    };
  });

async function expectPicture(page: Page): Promise<Seen> {
  let seen = await see(page);
  await waitFor(async () => {
    seen = await see(page);
    return seen.framesDecoded > 15 && seen.audioEnergy > 0 && (seen.left[0] ?? 0) > 150;
  });
  const [red = 0, , blueOfLeft = 0] = seen.left;
  const [redOfRight = 0, , blue = 0] = seen.right;
  expect(red).toBeGreaterThan(blueOfLeft + 100);
  expect(blue).toBeGreaterThan(redOfRight + 100);
  return seen;
}

describe('the media core with Chromium', () => {
  it('carries picture and sound from a publisher to a player in H.264, and tells the size', async () => {
    await publish('p1');
    await waitFor(() => has('p1', 'connected'));
    const { page } = await play('v1');
    const seen = await expectPicture(page);
    expect(seen.codec).toBe('video/H264');
    expect(seen.srtpCipher).toContain('AEAD_AES');
    await waitFor(() => has('v1', 'video-size'));
    expect(recorded.find('v1', 'video-size')).toMatchObject({
      width: seen.width,
      height: seen.height,
    });
  });

  it('carries VP8 to a player that numbers its codecs in another way', async () => {
    await publish('p1', { prefer: 'VP8' });
    const { page, answer } = await play('v1', { renumber: true });
    expect(answer.answerSdp).toContain('a=rtpmap:119 opus/48000/2');
    expect((await expectPicture(page)).codec).toBe('video/VP8');
    expect(core.pipeCount).toBeGreaterThan(0);
  });

  it('carries media by TCP to who asks for it', async () => {
    await publish('p1', { tcp: true });
    const { page } = await play('v1', { tcp: true });
    expect((await expectPicture(page)).protocol).toBe('tcp');
  });

  it('serves a publisher that bundles everything', async () => {
    await publish('p1', { bundlePolicy: 'max-bundle' });
    const { page } = await play('v1', { bundlePolicy: 'max-bundle' });
    await expectPicture(page);
  });

  it('serves a player that wants a transport for each medium', async () => {
    await publish('p1');
    const { page, answer } = await play('v1', { unbundle: true });
    expect(answer.answerSdp).not.toContain('a=group:BUNDLE');
    expect(new Set(answer.answerSdp.match(/a=ice-ufrag:.*/g))).toHaveProperty('size', 2);
    await expectPicture(page);
  });

  it('takes a PNG of the current picture', async () => {
    await publish('p1');
    await waitFor(() => has('p1', 'connected'));
    const png = await core.snapshot('demo', 'cam');
    const page = await context.newPage();
    const pixels = await page.evaluate(async (base64) => {
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      await image.decode();
      const canvas = document.createElement('canvas');
      canvas.width = image.width;
      canvas.height = image.height;
      const drawing = canvas.getContext('2d');
      drawing?.drawImage(image, 0, 0);
      const at = (share: number) =>
        Array.from(drawing?.getImageData(Math.floor(image.width * share), image.height >> 1, 1, 1).data ?? []);
      return { left: at(0.25), right: at(0.75) };
    }, Buffer.from(png).toString('base64'));
    expect(pixels.left[0]).toBeGreaterThan(150);
    expect(pixels.right[2]).toBeGreaterThan(150);
  });

  it('ends a stream soon after its publisher has closed its connection', async () => {
    const { page } = await publish('p1');
    await waitFor(() => has('p1', 'connected'));
    await play('v1');
    await page.evaluate(() => (window as unknown as { pc: RTCPeerConnection }).pc.close());
    await waitFor(() => has('v1', 'ended'));
    expect(recorded.find('p1', 'ended')?.reason).toBe(EndReason.ICE_LOST);
  });

  it('lets a publisher take the name of one whose connection has just broken', async () => {
    const { page } = await publish('p1');
    await waitFor(() => has('p1', 'connected'));
    await page.evaluate(() => (window as unknown as { pc: RTCPeerConnection }).pc.close());
    await publish('p2');
    await waitFor(() => has('p2', 'connected'));
    expect(has('p1', 'ended')).toBe(true);
  });
});
