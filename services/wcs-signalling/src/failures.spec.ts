import { EndReason } from '@weir/contracts';
import { createLogger } from '@weir/platform';
import { waitFor } from '@weir/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Client, publication } from './testing/client.js';
import { FakeMedia } from './testing/fake-media.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
let client: Client;

beforeEach(async () => {
  around = await startSurroundings();
  service = await startService(around);
  client = await Client.connect(service.wsUrl);
});
afterEach(async () => {
  client.end();
  await service.stop();
  await around.stop();
});

describe('a media node', () => {
  it('that says it is gone takes its streams with it at once', async () => {
    await client.publishes('p', 'cam');
    await client.plays('v', 'cam');
    around.media.leave();
    expect(await client.status('p', 'FAILED')).toMatchObject({ info: 'Stream failed' });
    expect(await client.status('v', 'FAILED')).toMatchObject({ info: 'Stream failed' });
    // The session itself goes on.
    client.says('ping');
    await client.hears('pong');
  });

  it('that is silent counts as gone, even one that was never heard', async () => {
    const mute = await FakeMedia.start(around.nats.url, 'media-mute');
    mute.fallSilent();
    await around.media.stop();
    await client.publishes('p', 'cam');
    expect(await client.status('p', 'FAILED')).toMatchObject({ info: 'Stream failed' });
    await mute.stop();
  });

  it('that ends a stream is believed, whatever the reason', async () => {
    await client.publishes('p', 'cam');
    around.media.tell(around.media.sessionOf('cam'), { case: 'ended', value: { reason: EndReason.ICE_LOST } });
    expect(await client.status('p', 'FAILED')).toMatchObject({ info: 'Failed by ICE keep alive' });
  });

  it('on which a stream ends as a player comes, tells the player that it has ended', async () => {
    await client.publishes('p', 'cam');
    around.media.endsWhenPlayed = true;
    client.says('playStream', publication('v', 'cam'));
    expect(await client.status('v', 'FAILED')).toMatchObject({ info: 'Stopped by publisher stop' });
  });

  it('that is not there makes publishing and playing fail at once', async () => {
    await around.media.stop();
    client.says('publishStream', publication('p', 'cam'));
    expect(await client.status('p', 'FAILED')).toMatchObject({ info: 'Failed to add stream to proxy' });
    client.says('playStream', publication('v', 'cam'));
    expect(await client.status('v', 'FAILED')).toMatchObject({ info: 'Failed to connect to origin stream' });
    client.says('availableStream', { mediaSessionId: 'a', name: 'cam' });
    expect(await client.hears('availableStream')).toMatchObject({ status: 'false' });
  });
});

describe('a client that is refused or fails', () => {
  it('leaves one line each, with its session, the stream, the reason and what it sent, and no secret', async () => {
    const lines: Record<string, unknown>[] = [];
    const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>);
    const noted = await startService(
      around,
      {},
      'wcs-signalling-2',
      createLogger('wcs-signalling', '2', 'info', { write }),
    );
    const told = await Client.connect(noted.wsUrl);
    try {
      told.says('playStream', { ...publication('v', 'nowhere'), custom: { word: 's3cret' } });
      await told.status('v', 'FAILED');
      await told.publishes('p', 'cam');
      around.media.tell(around.media.sessionOf('cam'), { case: 'ended', value: { reason: EndReason.ICE_LOST } });
      await told.status('p', 'FAILED');
      await waitFor(() => lines.length === 2);
    } finally {
      told.end();
      await noted.stop();
    }
    const [refused, failed] = lines;
    expect(refused).toMatchObject({
      level: 'info',
      msg: 'client refused or failed',
      session: expect.any(String) as string,
      address: '127.0.0.1',
      tenant: 'demo',
      streamName: 'nowhere',
      direction: 'play',
      reason: 'Stream not found',
      sent: expect.stringContaining('playStream') as string,
    });
    expect(failed).toMatchObject({
      streamName: 'cam',
      direction: 'publish',
      reason: 'Failed by ICE keep alive',
      sent: expect.stringContaining('publishStream') as string,
    });
    expect(JSON.stringify(lines)).not.toContain('s3cret');
  });
});

describe('a bus that goes away and comes back', () => {
  it('loses no stream that still exists, and ends those that ended meanwhile', async () => {
    await client.publishes('kept', 'kept');
    await client.publishes('lost', 'lost');
    const lost = around.media.sessionOf('lost');
    await around.nats.kill();
    around.media.published.delete(lost);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await around.nats.restart();
    expect(await client.status('lost', 'FAILED')).toMatchObject({ info: 'Stream failed' });
    await waitFor(() => service.bus.connected);
    client.says('unPublishStream', { mediaSessionId: 'kept' });
    await client.status('kept', 'UNPUBLISHED');
    await waitFor(() => !around.media.published.size);
  });

  it('is no reason to give nodes up: nobody counts as silent while nothing can be heard', async () => {
    await client.publishes('p', 'cam');
    await around.nats.kill();
    // This is longer than a node may be silent.
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    await around.nats.restart();
    await waitFor(() => service.bus.connected && around.media.bus.connected);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(client.heard.filter(({ data }) => data[0]?.status === 'FAILED')).toEqual([]);
  });
});
