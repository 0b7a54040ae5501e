import { EndReason, ErrorCode } from '@weir/contracts';
import { type FilmColour, startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { play, see, startChromium, type Seen } from '../testing/browser-peer.js';
import { CamerasPage } from '../testing/cameras-page.js';
import { FollowerPage } from '../testing/follower-page.js';
import { RecordedCore } from '../testing/recorded-core.js';

let browser: Browser;
let context: BrowserContext;
let redisServer: TestServer;
let redis: Redis;
let recorded: RecordedCore;

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
  browser = await startChromium();
});
beforeEach(async () => {
  recorded = await RecordedCore.start(redis, { connectTimeoutMs: 15_000, maxSessions: 20 });
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

const NAMES = ['cam/2', 'cam/3'];
const stage = () => ({ context, webRtc: recorded.webRtc });
const publish = (colours: readonly FilmColour[], furtherStreamNames: string[] = NAMES, videoCodecs: string[] = []) =>
  CamerasPage.publish(stage(), 'p1', colours, { furtherStreamNames, videoCodecs });
const foundNames = async () => (await recorded.core.findStreams('demo', '')).map(({ streamName }) => streamName).sort();
const namesOf = ({ streams }: { streams: { streamName: string }[] }) => streams.map(({ streamName }) => streamName);

const colourOf = ([red = 0, green = 0, blue = 0]: readonly number[]): FilmColour | undefined => {
  if (red > 150 && green < 100 && blue < 100) return 'red';
  if (green > 150 && red < 100 && blue < 100) return 'green';
  return blue > 150 && red < 100 && green < 100 ? 'blue' : undefined;
};

let viewers = 0;
const watch = async (streamName: string): Promise<Page> => {
  viewers += 1;
  return (await play(stage(), `v${viewers}`, { streamName })).page;
};

async function expectColour(page: Page, colour: FilmColour): Promise<Seen> {
  const { framesDecoded } = await see(page);
  let seen = await see(page);
  await waitFor(
    async () => {
      seen = await see(page);
      return seen.framesDecoded > framesDecoded + 10 && colourOf(seen.left) === colour;
    },
    { timeoutMs: 20_000 },
  );
  return seen;
}

describe('a publisher of several videos', () => {
  it('publishes each as a stream of its own, the first with the sound, all ended with the session', async () => {
    const { answer } = await publish(['red', 'green', 'blue']);
    expect(answer.streams).toEqual([
      { streamName: 'cam', codecs: { audio: 'opus', video: 'H264' } },
      { streamName: 'cam/2', codecs: { audio: '', video: 'H264' } },
      { streamName: 'cam/3', codecs: { audio: '', video: 'H264' } },
    ]);
    expect(await foundNames()).toEqual(['cam', 'cam/2', 'cam/3']);
    const red = await watch('cam');
    await expectColour(red, 'red');
    await waitFor(async () => (await see(red)).audioEnergy > 0);
    await expectColour(await watch('cam/2'), 'green');
    await expectColour(await watch('cam/3'), 'blue');
    expect(recorded.core.load).toMatchObject({ streams: 3, publishers: 1, players: 3 });

    recorded.core.closeSession('p1', EndReason.CLIENT);
    const [publisher, ...players] = recorded.told.filter(({ what }) => what === 'ended');
    expect(publisher).toMatchObject({ sessionId: 'p1', reason: EndReason.CLIENT });
    expect(players.map(({ reason }) => reason)).toEqual(Array(3).fill(EndReason.STREAM_ENDED));
    expect(recorded.core.load).toEqual({ streams: 0, publishers: 0, players: 0 });
    await waitFor(async () => (await redis.keys('weir:stream:demo:*')).length === 0);
    expect(recorded.workers.list().map(({ transportCount, routerCount }) => [transportCount, routerCount])).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it('sends the codec that is preferred', async () => {
    const { answer } = await publish(['red', 'green'], ['cam/2'], ['VP8', 'VP9']);
    expect(answer.streams.map(({ codecs }) => codecs.video)).toEqual(['VP8', 'VP8']);
    expect((await expectColour(await watch('cam/2'), 'green')).codec).toBe('video/VP8');
  });
});

describe('a publisher whose videos change while it is live', () => {
  it('adds one and removes one, while the others go on', async () => {
    const { cameras } = await publish(['red']);
    const first = await watch('cam');
    await expectColour(first, 'red');

    expect(namesOf(await cameras.add('green'))).toEqual(['cam', 'cam/2']);
    await expectColour(await watch('cam/2'), 'green');
    expect(namesOf(await cameras.add('blue'))).toEqual(['cam', 'cam/2', 'cam/3']);
    await expectColour(await watch('cam/3'), 'blue');
    const viewerOfGreen = `v${viewers - 1}`;

    expect(namesOf(await cameras.remove('green'))).toEqual(['cam', 'cam/3']);
    expect(recorded.find(viewerOfGreen, 'ended')).toMatchObject({ reason: EndReason.STREAM_ENDED });
    expect(await foundNames()).toEqual(['cam', 'cam/3']);
    await expectColour(first, 'red');
    await expectColour(await watch('cam/3'), 'blue');

    // It comes back with another SSRC, as a stream of its own name.
    expect(namesOf(await cameras.bringBack('green'))).toEqual(['cam', 'cam/2', 'cam/3']);
    await expectColour(await watch('cam/2'), 'green');
    await expectColour(first, 'red');
    expect(recorded.has('p1', 'ended')).toBe(false);
    expect(recorded.streamEvents.filter(({ name }) => name === 'cam')).toEqual([{ name: 'cam', what: 'started' }]);
  });

  it('keeps its sound while its first video is away, and begins anew when the video comes back', async () => {
    const { cameras } = await publish(['red']);
    const before = await watch('cam');
    await expectColour(before, 'red');
    expect(namesOf(await cameras.remove('red'))).toEqual(['cam']);
    const { audioEnergy } = await see(before);
    await waitFor(async () => (await see(before)).audioEnergy > audioEnergy);
    await cameras.bringBack('red');
    expect(recorded.find(`v${viewers}`, 'ended')).toMatchObject({ reason: EndReason.STREAM_ENDED });
    const after = await watch('cam');
    await expectColour(after, 'red');
    await waitFor(async () => (await see(after)).audioEnergy > 0);
    expect(recorded.has('p1', 'ended')).toBe(false);
  });

  it('restarts ICE', async () => {
    const { cameras, answer } = await publish(['red']);
    const page = await watch('cam');
    await expectColour(page, 'red');
    const { answerSdp } = await cameras.restartIce();
    const fragmentOf = (sdp: string) => /^a=ice-ufrag:(.*)\r$/m.exec(sdp)?.[1];
    expect(fragmentOf(answerSdp)).not.toBe(fragmentOf(answer.answerSdp));
    await expectColour(page, 'red');
    expect(recorded.has('p1', 'ended')).toBe(false);
  });

  it('goes on with what it had when a further offer can not be used', async () => {
    const { cameras } = await publish(['red', 'green']);
    const page = await watch('cam/2');
    await expectColour(page, 'green');
    const offer = await cameras.offer();
    const otherCertificate = offer.replaceAll(/(a=fingerprint:sha-256 )../g, '$100');
    for (const sdp of ['nonsense', otherCertificate])
      await expect(recorded.webRtc.renegotiate('p1', sdp)).rejects.toMatchObject({ code: ErrorCode.INVALID });
    await expect(recorded.webRtc.renegotiate('p2', offer)).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
    await expectColour(page, 'green');
    expect(await foundNames()).toEqual(['cam', 'cam/2']);
  });
});

describe('a player of all videos of a publisher', () => {
  const follow = (sessionId: string, videos = 1) =>
    FollowerPage.play(stage(), recorded, sessionId, ['cam', ...NAMES], videos);
  const expectColours = (follower: FollowerPage, colours: readonly FilmColour[]) =>
    expect
      .poll(async () => (await follower.pictures()).map(({ pixel }) => colourOf(pixel)), { timeout: 20_000 })
      .toEqual(colours);

  it('gets those that are there, and follows those that come, go and come back', async () => {
    const { cameras } = await publish(['red', 'green'], NAMES, ['VP8']);
    const { follower, answer } = await follow('v');
    expect(answer.codecs).toEqual({ audio: 'opus', video: 'VP8' });
    // It has offered one section, so the second video needs an offer.
    await follower.follow();
    await expectColours(follower, ['red', 'green']);
    await cameras.add('blue');
    await follower.follow();
    await expectColours(follower, ['red', 'green', 'blue']);
    await cameras.remove('green');
    await follower.follow();
    await expectColours(follower, ['red', 'blue']);
    await cameras.bringBack('green');
    await follower.follow();
    // The new video comes in the section that was free.
    await expectColours(follower, ['red', 'green', 'blue']);
    expect(recorded.has('v', 'ended')).toBe(false);

    recorded.core.closeSession('p1', EndReason.CLIENT);
    await waitFor(() => recorded.find('v', 'ended')?.reason === EndReason.STREAM_ENDED, { timeoutMs: 5_000 });
    expect(recorded.core.load).toEqual({ streams: 0, publishers: 0, players: 0 });
    expect(recorded.workers.list().map(({ transportCount, routerCount }) => [transportCount, routerCount])).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it('needs no offer for the sections that it has offered itself', async () => {
    await publish(['red', 'green', 'blue']);
    const { follower } = await follow('v', 3);
    await expectColours(follower, ['red', 'green', 'blue']);
    expect(recorded.has('v', 'offer')).toBe(false);
  });

  it('goes on when the only stream of its publisher begins anew', async () => {
    const { cameras } = await publish(['red']);
    const { follower } = await follow('v');
    await expectColours(follower, ['red']);
    await cameras.remove('red');
    await cameras.bringBack('red');
    await follower.follow();
    await expectColours(follower, ['red']);
    expect(recorded.has('v', 'ended')).toBe(false);
  });

  it('gets one offer at a time: the next is made after its answer', async () => {
    const { cameras } = await publish(['red']);
    const { follower } = await follow('v');
    await cameras.add('green');
    await cameras.add('blue');
    await waitFor(() => recorded.has('v', 'offer'));
    await expect(recorded.webRtc.answer('v', 'nonsense')).rejects.toMatchObject({ code: ErrorCode.INVALID });
    await follower.follow();
    await follower.follow();
    await expectColours(follower, ['red', 'green', 'blue']);
    await expect(recorded.webRtc.answer('v', 'v=0')).rejects.toMatchObject({ code: ErrorCode.INVALID });
    await expect(recorded.webRtc.answer('nobody', 'v=0')).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
  });
});
