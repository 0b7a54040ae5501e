import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { received } from './browser.js';
import { BadLink } from './hosts/bad-link.js';
import { whyNoHosts } from './hosts/network.js';
import { strangeServers } from './hosts/strange-servers.js';
import { expectMoreFrames, keyFrames, newName, TwoHosts } from './hosts/two-hosts.js';
import type { WeirHost } from './hosts/weir-host.js';
import { expectPictureAndSound } from './picture-and-sound.js';

const { siteUrl } = inject('platform');
const whyNot = whyNoHosts();
if (whyNot !== undefined) console.warn(`Relays between two hosts are NOT TESTED: ${whyNot}`);

const EMPTY_OK = { status: 200, text: '' };
/** The interval stays below the rate that the gateway allows one address. */
const PATIENTLY = { timeoutMs: 90_000, intervalMs: 200 };

let hosts: TwoHosts;

const untilRelay = (host: WeirHost, localStreamName: string, status: string) =>
  waitFor(async () => (await host.relayOf(localStreamName))?.status === status, {
    ...PATIENTLY,
    what: `the relay of ${localStreamName} being ${status}`,
  });

/** Relays one stream in each direction: one is pushed to the second host, the other pulled from it. */
async function bothWays() {
  const { first, second } = hosts;
  const [pushed, pulled] = [newName(), newName()];
  const publishers = [await hosts.publisher(first, pushed), await hosts.publisher(second, pulled)] as const;
  const request = (name: string) => ({ uri: second.uri, localStreamName: name, remoteStreamName: name });
  expect(await first.rest('push', request(pushed))).toEqual(EMPTY_OK);
  expect(await first.rest('pull', request(pulled))).toEqual(EMPTY_OK);
  await untilRelay(first, pushed, 'PUBLISHING');
  await untilRelay(first, pulled, 'PLAYING');
  return { pushed, pulled, publishers };
}

async function expectBothToPlay({ pushed, pulled }: { pushed: string; pulled: string }): Promise<void> {
  const { first, second } = hosts;
  for (const [host, name] of [
    [second, pushed],
    [first, pulled],
  ] as const) {
    const player = await hosts.player(host, name);
    await expectPictureAndSound(player);
    await player.close();
  }
}

describe.skipIf(whyNot !== undefined)('between two hosts', { timeout: 180_000 }, () => {
  beforeAll(async () => {
    hosts = await TwoHosts.start(siteUrl);
  });
  afterEach(() => hosts.clear());
  afterAll(() => hosts?.stop());

  describe('a pushed stream', () => {
    it('takes the seventeen steps from a browser on one host to a browser on the other', async () => {
      const { first, second } = hosts;
      const name = newName();
      const sentBefore = await first.namespace.sentBytes('link');
      // 1 to 5
      const publisher = await hosts.page(first);
      await publisher.publish('out', { name });
      await publisher.waitForEvent('out', 'PUBLISHING');
      // 6 to 8
      const request = { uri: second.uri, localStreamName: name, remoteStreamName: name };
      expect(await first.rest('push', request)).toEqual(EMPTY_OK);
      // 9 and 10
      const player = await hosts.page(second);
      // 11 and 12
      await player.play('in', { name });
      await player.waitForEvent('in', 'PLAYING');
      // 13
      await expectPictureAndSound(player);
      await untilRelay(first, name, 'PUBLISHING');
      const [relay] = await first.relays();
      expect(relay).toMatchObject(request);
      expect(relay?.stats?.bytes).toBeGreaterThan(0);
      expect((await first.namespace.sentBytes('link')) - sentBefore).toBeGreaterThan(relay?.stats?.bytes ?? Infinity);
      // 14 and 15
      await player.call('in', 'stop');
      await player.waitForEvent('in', 'STOPPED');
      // 16 and 17
      await publisher.call('out', 'stop');
      await publisher.waitForEvent('out', 'UNPUBLISHED');
      await waitFor(async () => (await first.relays()).length === 0, { ...PATIENTLY, what: 'the end of the relay' });
    });

    it('can have several names on the other host at once, each of which can be ended separately', async () => {
      const { first, second } = hosts;
      const [name, ...copies] = [newName(), newName(), newName(), newName()];
      await hosts.publisher(first, name);
      for (const remoteStreamName of copies)
        expect(await first.rest('push', { uri: second.uri, localStreamName: name, remoteStreamName })).toEqual(
          EMPTY_OK,
        );
      const players = await Promise.all(copies.map((copy) => hosts.player(second, copy)));
      for (const player of players) await expectPictureAndSound(player);
      expect((await first.relays()).map(({ remoteStreamName }) => remoteStreamName).sort()).toEqual(copies.sort());
      const [ended, ...others] = copies;
      expect(await first.rest('terminate', { remoteStreamName: ended })).toEqual(EMPTY_OK);
      expect((await first.relays()).map(({ remoteStreamName }) => remoteStreamName).sort()).toEqual(others);
      const late = await hosts.page(second);
      await late.play('in', { name: ended ?? '' });
      expect((await late.waitForEvent('in', 'FAILED')).info).toBe('Stream not found');
      expect(await first.rest('terminate', { localStreamName: name })).toEqual(EMPTY_OK);
      expect((await first.rest('find_all')).status).toBe(404);
    });

    it('can go back and forth over three hops', async () => {
      const { first, second } = hosts;
      const names = [newName(), newName(), newName(), newName()];
      await hosts.publisher(first, names[0] ?? '');
      for (const [from, to, hop] of [
        [first, second, 0],
        [second, first, 1],
        [first, second, 2],
      ] as const) {
        const [localStreamName, remoteStreamName] = names.slice(hop);
        expect(await from.rest('push', { uri: to.uri, localStreamName, remoteStreamName })).toEqual(EMPTY_OK);
      }
      await expectPictureAndSound(await hosts.player(second, names[3] ?? ''));
    });
  });

  describe('a pulled stream', () => {
    it('comes from the other host, until it is terminated', async () => {
      const { first, second } = hosts;
      const [localStreamName, remoteStreamName] = [newName(), newName()];
      await hosts.publisher(second, remoteStreamName);
      const sentBefore = await second.namespace.sentBytes('link');
      expect(await first.rest('pull', { uri: second.uri, localStreamName, remoteStreamName })).toEqual(EMPTY_OK);
      const player = await hosts.player(first, localStreamName);
      await expectPictureAndSound(player);
      await untilRelay(first, localStreamName, 'PLAYING');
      const relay = await first.relayOf(localStreamName);
      expect((await second.namespace.sentBytes('link')) - sentBefore).toBeGreaterThan(relay?.stats?.bytes ?? Infinity);
      expect(await first.rest('terminate', { localStreamName })).toEqual(EMPTY_OK);
      await player.waitForEvent('in', 'FAILED');
      expect(await first.relays()).toEqual([]);
    });
  });

  describe('over a bad link', () => {
    it('the picture keeps coming in both directions, and comes back after the link was cut', async () => {
      const { first, second } = hosts;
      const bad = { lossPercent: 2, delayMs: 50, rateKbps: 3_000 };
      const link = await BadLink.open(first, second, bad);
      try {
        const { pushed, pulled, publishers } = await bothWays();
        const players = [await hosts.player(second, pushed), await hosts.player(first, pulled)];
        for (const player of players) await expectPictureAndSound(player);
        const askedBefore = await Promise.all(publishers.map(keyFrames));
        await Promise.all(players.map((player) => expectMoreFrames(player, 100)));
        // A viewer who joins later needs a key frame.
        const late = [await hosts.player(second, pushed), await hosts.player(first, pulled)];
        for (const player of late) await expectPictureAndSound(player);
        for (const [index, { asked, made }] of (await Promise.all(publishers.map(keyFrames))).entries()) {
          expect(asked).toBeGreaterThan(askedBefore[index]?.asked ?? Infinity);
          expect(made).toBeGreaterThan(askedBefore[index]?.made ?? Infinity);
        }
        for (const name of [pushed, pulled])
          expect((await first.relayOf(name))?.stats?.resentPackets).toBeGreaterThan(0);

        for (const { lost, carried } of await link.set({ lossPercent: 100 })) {
          expect(lost).toBeGreaterThan(0);
          expect(carried).toBeGreaterThan(lost);
        }
        await expect
          .poll(async () => (await first.relays()).map(({ status }) => status), { timeout: 10_000, interval: 200 })
          .toEqual(['PENDING', 'PENDING']);
        // Not much longer: after 15 s of silence a relay begins anew, which counts as a retry.
        await sleep(3_000);
        const before = await Promise.all(players.map(({ page }) => received(page)));
        await link.set(bad);
        await waitFor(
          async () => {
            const now = await Promise.all(players.map(({ page }) => received(page)));
            return now.every(({ framesDecoded }, index) => framesDecoded > (before[index]?.framesDecoded ?? 0) + 50);
          },
          { timeoutMs: 40_000, what: 'the picture after the cut' },
        );
        expect((await first.relays()).map(({ retries }) => retries)).toEqual([0, 0]);
        expect((await first.relays()).map(({ status }) => status).toSorted()).toEqual(['PLAYING', 'PUBLISHING']);
      } finally {
        await link.close();
      }
    });
  });

  describe('a relay that can’t be opened', () => {
    it('is refused with the reason, and leaves nothing behind', async () => {
      const { first, second } = hosts;
      const name = newName();
      await hosts.publisher(first, name);
      const servers = await strangeServers(first.testAddress);
      try {
        const cases: [uri: string, reason: RegExp][] = [
          ['second.test', /bad uri/i],
          ['http://second.test:8080', /bad uri/i],
          ['ws://nowhere.test:8080', /can't be reached/],
          ['ws://second.test:8099', /can't be reached/],
          ['ws://10.0.0.99:8080', /can't be reached|did not answer/],
          ['ws://forbidden.test:8080', /Outbound connection refused/],
          ['ws://localhost:8080', /Outbound connection refused/],
          [servers.silent, /can't be reached|did not answer/],
          [servers.mute, /did not answer/],
          [servers.web, /can't be reached/],
          [servers.chatter, /No WCS server answers there/],
          [servers.binary, /No WCS server answers there/],
          [servers.badAnswer, /The answer can't be used/],
          [servers.elsewhere, /names no address that may be spoken to/],
          [servers.hangsUp, /closed the connection/],
        ];
        const answers = await Promise.all(
          cases.map(async ([uri]) => first.rest('push', { uri, localStreamName: name, remoteStreamName: newName() })),
        );
        for (const [index, [uri, reason]] of cases.entries())
          expect({ uri, ...answers[index] }).toEqual({
            uri,
            status: 500,
            text: expect.stringMatching(reason) as string,
          });
      } finally {
        await servers.close();
      }
      expect((await first.rest('find_all')).status).toBe(404);
      const remoteStreamName = newName();
      expect(await first.rest('push', { uri: second.uri, localStreamName: name, remoteStreamName })).toEqual(EMPTY_OK);
      await expectPictureAndSound(await hosts.player(second, remoteStreamName));
    });
  });

  describe('relays come back by themselves', () => {
    it('when relay-push is killed', async () => {
      const { first } = hosts;
      const { pushed, pulled } = await bothWays();
      await first.kill('relay-push');
      await untilRelay(first, pushed, 'PUBLISHING');
      await untilRelay(first, pulled, 'PLAYING');
      await expectBothToPlay({ pushed, pulled });
    });

    it.each([
      ['signalling', 'wcs-signalling', 'session', 'DISCONNECTED'],
      ['media node', 'media', 'out', 'FAILED'],
    ])('when the %s of the other host is killed', async (_what, service, toldOf, status) => {
      const { first, second } = hosts;
      const { pushed, pulled, publishers } = await bothWays();
      await second.kill(service);
      await publishers[1].waitForEvent(toldOf, status, 40_000);
      await second.untilHealthy();
      await hosts.publisher(second, pulled);
      await waitFor(async () => ((await first.relayOf(pushed))?.retries ?? 0) > 0, { ...PATIENTLY, what: 'a retry' });
      await untilRelay(first, pushed, 'PUBLISHING');
      await untilRelay(first, pulled, 'PLAYING');
      await expectBothToPlay({ pushed, pulled });
    });

    it('when everything on the other host is killed at once and started again', async () => {
      const { first, second } = hosts;
      const { pushed, pulled, publishers } = await bothWays();
      await second.killAll();
      await publishers[1].waitForEvent('session', 'DISCONNECTED', 40_000);
      for (const name of [pushed, pulled]) await untilRelay(first, name, 'PENDING');
      await second.startAgain();
      await hosts.publisher(second, pulled);
      await untilRelay(first, pushed, 'PUBLISHING');
      await untilRelay(first, pulled, 'PLAYING');
      await expectBothToPlay({ pushed, pulled });
    });

    it('when the media node of their own host is killed', async () => {
      const { first } = hosts;
      const { pushed, pulled, publishers } = await bothWays();
      await first.kill('media');
      await publishers[0].waitForEvent('out', 'FAILED', 40_000);
      await first.untilHealthy();
      await hosts.publisher(first, pushed);
      await untilRelay(first, pushed, 'PUBLISHING');
      await untilRelay(first, pulled, 'PLAYING');
      await expectBothToPlay({ pushed, pulled });
    });
  });
});
