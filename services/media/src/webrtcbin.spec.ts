import { EndReason } from '@weir/contracts';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { RecordedCore, type Overrides } from '../testing/recorded-core.js';
import { hasWebRtcBin, OPUS_CAPS, VP8_CAPS, WebRtcBinPeer, type WebRtcBinOptions } from '../testing/webrtcbin-peer.js';

let redisServer: TestServer;
let redis: Redis;
let recorded: RecordedCore | undefined;
const peers: WebRtcBinPeer[] = [];

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
});
afterEach(async () => {
  for (const peer of peers.splice(0)) await peer.kill();
  recorded?.close();
});
afterAll(async () => {
  redis.disconnect();
  await redisServer.stop();
  if (!hasWebRtcBin) console.warn("GStreamer's webrtcbin is missing: it was not tried");
});

async function start(overrides: Overrides = {}): Promise<RecordedCore> {
  recorded = await RecordedCore.start(redis, { connectTimeoutMs: 30_000, ...overrides });
  return recorded;
}

async function publish(options: WebRtcBinOptions = {}): Promise<WebRtcBinPeer> {
  if (recorded === undefined) throw new Error('no core has been started');
  const peer = await WebRtcBinPeer.publish(recorded.webRtc, 'p1', options);
  peers.push(peer);
  return peer;
}

async function play(options: Parameters<typeof WebRtcBinPeer.play>[2] = {}): Promise<WebRtcBinPeer> {
  if (recorded === undefined) throw new Error('no core has been started');
  const peer = await WebRtcBinPeer.play(recorded.webRtc, 'v1', options);
  peers.push(peer);
  return peer;
}

const decodes = (player: WebRtcBinPeer, codec: string, count: number) =>
  waitFor(() => (player.decoded[codec] ?? 0) >= count, { timeoutMs: 40_000 });

describe.skipIf(!hasWebRtcBin)('webrtcbin', () => {
  it('stays for as long as its media flow, though it sends no consent checks, and is noticed when it dies', async () => {
    // GStreamer's receivers report about every 5 s.
    const core = await start({ consentTimeoutMs: 10_000, noMediaTimeoutMs: 60_000 });
    const publisher = await publish();
    const player = await play();
    // At 30 pictures a second this is 1.5 times the silence that ends a session.
    await decodes(player, 'H264', 450);
    expect(core.told.filter(({ what }) => what === 'ended')).toEqual([]);

    await Promise.all([player.kill(), publisher.kill()]);
    await waitFor(() => core.has('v1', 'ended') && core.has('p1', 'ended'), { timeoutMs: 30_000 });
    expect(core.find('p1', 'ended')?.reason).toBe(EndReason.ICE_LOST);
    expect([EndReason.ICE_LOST, EndReason.STREAM_ENDED]).toContain(core.find('v1', 'ended')?.reason);
  }, 90_000);

  const withoutSsrc = (sdp: string) => sdp.replaceAll(/a=ssrc[^\n]*\n/g, '');

  it.each([
    ['nothing but a transport of their own', { bundlePolicy: 'none', editOffer: withoutSsrc }],
    ['nothing but their payload types', { bundlePolicy: 'max-bundle', editOffer: withoutSsrc }],
  ] satisfies [string, WebRtcBinOptions][])(
    'is received when its media have %s',
    async (_what, options) => {
      await start();
      const publisher = await publish(options);
      expect(publisher.offerSdp).not.toMatch(/a=(?:ssrc|extmap)/);
      await waitFor(() => recorded?.has('p1', 'connected'), { timeoutMs: 30_000 });
      const player = await play();
      await Promise.all([decodes(player, 'H264', 30), decodes(player, 'OPUS', 30)]);
    },
    60_000,
  );

  it('plays H.264 without a packetization mode and Opus without channels, each on its own transport', async () => {
    await start();
    await publish();
    const player = await play({ bundlePolicy: 'none' });
    expect(player.offerSdp).not.toContain('packetization-mode');
    expect(player.offerSdp).toContain('OPUS/48000\r\n');
    await Promise.all([decodes(player, 'H264', 30), decodes(player, 'OPUS', 30)]);
  }, 60_000);

  it.each([
    ['its last section', { caps: [OPUS_CAPS, VP8_CAPS] }],
    ['its first section, which describes the transport of both', { caps: [VP8_CAPS, OPUS_CAPS] }],
    ['a section with its own transport', { caps: [VP8_CAPS, OPUS_CAPS], bundlePolicy: 'none' }],
  ] satisfies [string, Parameters<typeof WebRtcBinPeer.play>[2]][])(
    'hears a stream although the picture is in a codec that it does not take: %s',
    async (_what, options) => {
      await start();
      await publish();
      await decodes(await play(options), 'OPUS', 30);
    },
    60_000,
  );
});
