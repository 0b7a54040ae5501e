import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { whyNoHosts } from './hosts/network.js';
import { expectPictureAndSound, newName, TwoHosts } from './hosts/two-hosts.js';

const { siteUrl } = inject('platform');
const whyNot = whyNoHosts();
if (whyNot !== undefined) console.warn(`Relays between two hosts are NOT TESTED: ${whyNot}`);

let hosts: TwoHosts;

describe.skipIf(whyNot !== undefined)('between two hosts', () => {
  beforeAll(async () => {
    hosts = await TwoHosts.start(siteUrl);
  });
  afterEach(() => hosts.clear());
  afterAll(() => hosts?.stop());

  describe('a stream that is pushed', () => {
    it('takes the seventeen steps from a browser at one to a browser at the other', async () => {
      const { first, second } = hosts;
      const name = newName();
      const sentBefore = await first.namespace.sentBytes('link');
      // 1 to 5
      const publisher = await hosts.page(first);
      await publisher.publish('out', { name });
      await publisher.waitForEvent('out', 'PUBLISHING');
      // 6 to 8
      const request = { uri: second.uri, localStreamName: name, remoteStreamName: name };
      expect(await first.rest('push', request)).toEqual({ status: 200, text: '' });
      // 9 and 10
      const player = await hosts.page(second);
      // 11 and 12
      await player.play('in', { name });
      await player.waitForEvent('in', 'PLAYING');
      // 13
      await expectPictureAndSound(player);
      await waitFor(async () => (await first.relayOf(name))?.status === 'PUBLISHING', {
        what: 'the state in the list',
      });
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
      await waitFor(async () => (await first.relays()).length === 0, { what: 'the end of the relay' });
    });
  });
});
