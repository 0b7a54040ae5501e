import { setTimeout as sleep } from 'node:timers/promises';
import { Bus } from '@weir/bus';
import { EndReason, ErrorCode, MediaKind, WeirError } from '@weir/contracts';
import { createLogger } from '@weir/platform';
import { FaultyLink, startNats, waitFor, type TestServer } from '@weir/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bindUdp, MediaClient, type MediaSession, type SessionEvent } from './index.js';
import { MediaNode } from './testing/media-node.js';

let nats: TestServer;
let node: MediaNode;
let bus: Bus;
let client: MediaClient;
let events: SessionEvent['case'][];

const log = createLogger('spec', 'spec-1', process.env['TEST_LOG_LEVEL'] ?? 'silent');
const cam = { tenant: 'demo', streamName: 'cam' };
const offer = { sdp: 'offer', tcpOnly: false, minBps: 0, maxBps: 0 };
const listening = { onEvent: (event: SessionEvent) => void events.push(event.case) };
const publish = () => client.publish(cam, { offer, protocol: 'spec', ...listening });
const play = () => client.play({ ...cam, nodeId: node.nodeId }, { offer, ...listening });

/** The ends of a session; a second one would show here. */
const endsOf = (session: MediaSession<unknown>): unknown[] => {
  const ends: unknown[] = [];
  void session.ended.then((ending) => ends.push(ending));
  return ends;
};

beforeEach(async () => {
  events = [];
  nats = await startNats();
  node = await MediaNode.start(nats.url, 'media-1');
  bus = await Bus.connect({ url: nats.url, service: 'spec', instanceId: 'spec-1' });
  client = new MediaClient({ bus, log });
});
afterEach(async () => {
  await client.close();
  await bus.drain({ graceMs: 0 });
  await node.stop();
  await nats.stop();
});

it('a publisher may offer again, once its session is open', async () => {
  const session = publish();
  await expect(client.renegotiate(session, 'early')).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
  expect((await session.opened).streams).toEqual([{ streamName: 'cam', codecs: { audio: 'opus', video: 'H264' } }]);
  expect(await client.renegotiate(session, 'another offer')).toEqual({
    answerSdp: 'answer to another offer',
    streams: [{ streamName: 'cam', codecs: { audio: '', video: 'VP8' } }],
    notCarried: [],
  });
});

it('a player of several streams gets an offer when they change, and answers it', async () => {
  const offers: string[] = [];
  const onEvent = (event: SessionEvent) => {
    if (event.case === 'offer') offers.push(event.value.sdp);
  };
  const session = client.play({ ...cam, nodeId: node.nodeId }, { offer, furtherNames: ['cam/2'], onEvent });
  await session.opened;
  expect(node.furtherNames).toEqual(['cam/2']);
  node.tell(session.sessionId, { case: 'offer', value: { sdp: 'more' } });
  await waitFor(() => offers.length === 1);
  await client.answer(session, 'answer to more');
  expect([offers, node.answers]).toEqual([['more'], ['answer to more']]);
});

describe('the events of a session', () => {
  it('come in order and after the answer, although they were sent before it', async () => {
    node.beforeAnswer = (sessionId) => {
      node.tell(sessionId, { case: 'connected', value: {} });
      node.tell(sessionId, { case: 'videoSize', value: { width: 640, height: 360 } });
    };
    const session = publish();
    const seen = session.opened.then(async ({ answerSdp }) => {
      await Promise.resolve();
      return { answerSdp, events: [...events] };
    });
    expect(await seen).toEqual({ answerSdp: 'answer to offer', events: [] });
    node.tell(session.sessionId, { case: 'stats', value: { videoBps: 1n } });
    node.end(session.sessionId, EndReason.ICE_LOST, 'no checks');
    expect(await session.ended).toEqual({ tag: 'ended', reason: EndReason.ICE_LOST, detail: 'no checks' });
    expect(events).toEqual(['connected', 'videoSize', 'stats']);
  });

  it('come once: a second `connected`, and what follows the end, are dropped', async () => {
    const session = publish();
    await session.opened;
    const { sessionId } = session;
    for (const change of ['connected', 'connected'] as const) node.tell(sessionId, { case: change, value: {} });
    node.tell(sessionId, { case: 'ended', value: { reason: EndReason.REPLACED } });
    node.tell(sessionId, { case: 'videoSize', value: { width: 1, height: 1 } });
    node.tell(sessionId, { case: 'ended', value: { reason: EndReason.CLIENT } });
    expect(await session.ended).toMatchObject({ reason: EndReason.REPLACED });
    await bus.flush();
    expect(events).toEqual(['connected']);
  });

  it('do not reach another session, and a listener that throws still gets the next one', async () => {
    const failing = client.publish(cam, {
      offer,
      protocol: 'spec',
      onEvent: (event) => {
        events.push(event.case);
        throw new Error('planned');
      },
    });
    const other = client.play(
      { ...cam, nodeId: node.nodeId },
      { offer, onEvent: () => events.push('notEnoughBandwidth') },
    );
    await Promise.all([failing.opened, other.opened]);
    node.tell(failing.sessionId, { case: 'connected', value: {} });
    node.tell(failing.sessionId, { case: 'videoSize', value: { width: 1, height: 1 } });
    await waitFor(() => events.length === 2);
    expect(events).toEqual(['connected', 'videoSize']);
  });
});

describe('a session ends once', () => {
  it('when the media core ends it, whatever becomes of the node afterwards', async () => {
    const session = play();
    await session.opened;
    const ends = endsOf(session);
    node.end(session.sessionId, EndReason.STREAM_ENDED);
    await session.ended;
    node.leave();
    await session.close();
    await bus.flush();
    expect(ends).toEqual([{ tag: 'ended', reason: EndReason.STREAM_ENDED, detail: '' }]);
    expect(node.closeCalls).toBe(0);
  });

  it('when the worker that held it dies', async () => {
    const [one, other] = [publish(), play()];
    await Promise.all([one.opened, other.opened]);
    node.end(one.sessionId, EndReason.NODE_LOST);
    expect(await one.ended).toMatchObject({ reason: EndReason.NODE_LOST });
    node.tell(other.sessionId, { case: 'connected', value: {} });
    await waitFor(() => events.includes('connected'));
  });

  it('when its node says that it is gone', async () => {
    const session = publish();
    await session.opened;
    node.leave();
    expect(await session.ended).toEqual({ tag: 'ended', reason: EndReason.NODE_LOST, detail: '' });
  });

  it('and not when another node is gone', async () => {
    const other = await MediaNode.start(nats.url, 'media-2');
    const elsewhere = client.play({ ...cam, nodeId: other.nodeId }, { offer });
    const session = play();
    await Promise.all([session.opened, elsewhere.opened]);
    other.leave();
    expect(await elsewhere.ended).toMatchObject({ reason: EndReason.NODE_LOST });
    node.tell(session.sessionId, { case: 'connected', value: {} });
    await waitFor(() => events.includes('connected'));
    await other.stop();
  });

  it('when its node is killed and falls silent', async () => {
    const session = publish();
    await session.opened;
    await node.die();
    expect(await session.ended).toMatchObject({ tag: 'ended', reason: EndReason.NODE_LOST });
  });

  it('when its node is lost while it opens: nobody waits for the answer', async () => {
    node.beforeAnswer = () => sleep(60_000, undefined, { ref: false });
    const session = play();
    await waitFor(() => node.sessions.size === 1);
    node.leave();
    expect(await session.ended).toMatchObject({ tag: 'ended', reason: EndReason.NODE_LOST });
    await expect(session.opened).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
  });

  it('when it ended while the bus was away; a session that still lives stays', async () => {
    const [kept, lost] = [play(), play()];
    await Promise.all([kept.opened, lost.opened]);
    const ends = endsOf(kept);
    await nats.kill();
    node.sessions.delete(lost.sessionId);
    await nats.restart();
    expect(await lost.ended).toMatchObject({ tag: 'ended', reason: EndReason.NODE_LOST });
    expect(ends).toEqual([]);
    node.tell(kept.sessionId, { case: 'connected', value: {} });
    await waitFor(() => events.includes('connected'));
  });

  it('when its node has taken the owner for dead and the owner could not hear that', async () => {
    const link = await FaultyLink.open({ port: nats.port });
    const cutOff = await Bus.connect({ url: link.through(nats.url), service: 'spec', instanceId: 'spec-2' });
    const owner = new MediaClient({ bus: cutOff, log });
    const session = owner.publish(cam, { offer, protocol: 'spec' });
    await session.opened;
    link.refuse();
    link.cut();
    await waitFor(() => !cutOff.connected);
    node.end(session.sessionId, EndReason.OWNER_LOST);
    link.accept();
    expect(await session.ended).toMatchObject({ tag: 'ended', reason: EndReason.NODE_LOST });
    await owner.close();
    await cutOff.drain({ graceMs: 0 });
    await link.close();
  });

  it('when its owner closes it, and no event follows', async () => {
    const session = publish();
    await session.opened;
    const ends = endsOf(session);
    const { sessionId } = session;
    node.tell(sessionId, { case: 'connected', value: {} });
    await Promise.all([session.close(EndReason.TERMINATED), session.close(EndReason.CLIENT)]);
    expect(node.closed).toEqual([{ sessionId, reason: EndReason.TERMINATED }]);
    expect(ends).toEqual([{ tag: 'closed', reason: EndReason.TERMINATED }]);
    expect(events).toEqual([]);
  });

  it('when its owner shuts down normally', async () => {
    const sessions = [publish(), play()];
    await Promise.all(sessions.map(({ opened }) => opened));
    await client.close();
    expect(node.sessions.size).toBe(0);
    for (const session of sessions) expect(await session.ended).toMatchObject({ tag: 'closed' });
    expect(() => publish()).toThrow(WeirError);
  });

  it('when it is refused, and both promises give the reason', async () => {
    node.refusal = new WeirError(ErrorCode.ALREADY_EXISTS, 'taken');
    const session = publish();
    const ending = await session.ended;
    await expect(session.opened).rejects.toMatchObject({ code: ErrorCode.ALREADY_EXISTS });
    expect(ending).toMatchObject({ tag: 'refused', error: { code: ErrorCode.ALREADY_EXISTS } });
    await session.close();
    expect(node.closeCalls).toBe(0);
  });

  it('and may be opened again under the same id if it was refused', async () => {
    node.refusal = new WeirError(ErrorCode.ALREADY_EXISTS, 'taken');
    const request = { offer, protocol: 'spec', sessionId: 'mine', ...listening };
    await client.publish(cam, request).ended;
    node.refusal = undefined;
    await client.publish(cam, request).opened;
    node.tell('mine', { case: 'connected', value: {} });
    await waitFor(() => events.includes('connected'));
  });
});

describe('a close', () => {
  it('is repeated when the node gave no answer', async () => {
    const session = publish();
    await session.opened;
    node.closeErrors.push(new WeirError(ErrorCode.UNAVAILABLE, 'not now'), new WeirError(ErrorCode.DEADLINE, 'late'));
    await session.close();
    expect([node.closeCalls, node.sessions.size]).toEqual([3, 0]);
  });

  it('is not repeated after an answer', async () => {
    const session = publish();
    await session.opened;
    node.closeErrors.push(new WeirError(ErrorCode.INVALID, 'never'));
    await session.close();
    expect(node.closeCalls).toBe(1);
  });

  it('of a session whose node is gone is over at once', async () => {
    const session = publish();
    await session.opened;
    node.closeErrors.push(...Array.from({ length: 4 }, () => new WeirError(ErrorCode.UNAVAILABLE, 'not now')));
    const closing = session.close();
    await waitFor(() => node.closeCalls === 1);
    node.leave();
    await node.die();
    await closing;
    expect(node.closeCalls).toBeLessThan(3);
  });

  it('while the session opens closes the session that the answer brings', async () => {
    let answer: () => void = () => undefined;
    node.beforeAnswer = () => new Promise<void>((resolve) => (answer = resolve));
    const session = publish();
    await waitFor(() => node.sessions.size === 1);
    const closing = session.close(EndReason.DISCONNECTED);
    expect(await session.ended).toEqual({ tag: 'closed', reason: EndReason.DISCONNECTED });
    await expect(session.opened).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
    expect(node.closeCalls).toBe(0);
    answer();
    await closing;
    expect(node.closed).toEqual([{ sessionId: session.sessionId, reason: EndReason.DISCONNECTED }]);
  });
});

describe('an opening that is not answered in time', () => {
  it('is not repeated, and what it left behind is closed', async () => {
    let openings = 0;
    node.beforeAnswer = () => {
      openings += 1;
      return sleep(60_000, undefined, { ref: false });
    };
    const session = client.ingest(cam, { source: { tag: 'pull', url: 'rtsp://camera/' }, deadlineMs: 300 });
    await expect(session.opened).rejects.toMatchObject({ code: ErrorCode.DEADLINE });
    await waitFor(() => node.closed.length === 1);
    expect([openings, node.sessions.size]).toEqual([1, 0]);
  });

  it('leaves a stream alone that somebody else has made meanwhile', async () => {
    node.beforeAnswer = (sessionId) => {
      node.sessions.delete(sessionId);
      node.sessions.set('other', { ownerId: 'other', streamName: 'cam', to: [] });
      return sleep(60_000, undefined, { ref: false });
    };
    const session = client.ingest(cam, { source: { tag: 'push', expiresInMs: 1_000 }, deadlineMs: 300 });
    await expect(session.opened).rejects.toMatchObject({ code: ErrorCode.DEADLINE });
    await session.close();
    expect([node.closeCalls, node.sessions.has('other')]).toEqual([0, true]);
  });
});

describe('an opening without a bus', () => {
  it('fails at once and looks for nothing', async () => {
    await nats.kill();
    await waitFor(() => !bus.connected);
    const session = publish();
    await expect(session.opened).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
    await session.close();
    await nats.restart();
  });
});

describe('a tap', () => {
  it('passes on what came before anybody listened, and its ports close with it', async () => {
    const tap = client.tap({ ...cam, nodeId: node.nodeId }, { rtpAddress: '127.0.0.1' });
    expect((await tap.opened).tracks).toMatchObject([{ ssrc: 7 }]);
    node.send(tap.sessionId, 'first');
    await sleep(100);
    const heard: string[] = [];
    const silentMs: number[] = [];
    tap.listen((kind, packet) => {
      heard.push(`${kind} ${packet.toString()}`);
      silentMs.push(tap.silentMs);
    });
    expect(heard.toSorted()).toEqual(['audio first', 'video first']);
    const before = await waitFor(() => tap.silentMs > 200 && tap.silentMs);
    node.send(tap.sessionId, 'second');
    await waitFor(() => heard.length === 4);
    expect(silentMs[2]).toBeLessThan(before);
    tap.requestKeyFrame();
    await waitFor(() => node.keyFrameRequests === 1);
    const ports = node.sessions.get(tap.sessionId)?.to ?? [];
    expect(await arePortsFree(ports)).toBe(false);
    node.end(tap.sessionId, EndReason.STREAM_ENDED);
    await tap.ended;
    await waitFor(() => arePortsFree(ports));
  });

  it('that is refused leaves no port open', async () => {
    node.refusal = new WeirError(ErrorCode.NOT_FOUND, 'no such stream');
    const before = openSockets();
    const tap = client.tap({ ...cam, nodeId: node.nodeId }, { rtpAddress: '127.0.0.1' });
    await expect(tap.opened).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
    await waitFor(() => openSockets() === before);
  });
});

describe('a feed', () => {
  const tracks = [
    {
      ...{ payloadType: 96, ssrc: 9 },
      track: { kind: MediaKind.VIDEO, codec: 'VP8', clockRate: 90_000, channels: 0, parameters: {} },
    },
  ];

  it('sends to the address that the node named and hears its feedback, until it ends', async () => {
    const before = openSockets();
    const feed = client.feed(cam, { tracks, rtpAddress: '127.0.0.1', claim: { claimer: 'spec' } });
    const [path] = await feed.opened;
    const heard: string[] = [];
    path?.onPacket((packet) => heard.push(packet.toString()));
    path?.send(Buffer.from('rtp'));
    await waitFor(() => heard.length === 1);
    expect([heard, node.fed.map(String)]).toEqual([['rtcp'], ['rtp']]);
    await feed.close(EndReason.SOURCE_FAILED);
    path?.send(Buffer.from('late'));
    expect(node.closed).toMatchObject([{ reason: EndReason.SOURCE_FAILED }]);
    await waitFor(() => openSockets() === before);
  });
});

const openSockets = (): number => process.getActiveResourcesInfo().filter((name) => name === 'UDPWrap').length;

const arePortsFree = async (ports: readonly number[]): Promise<boolean> => {
  const bound = await Promise.allSettled(ports.map((port) => bindUdp('127.0.0.1', port)));
  for (const result of bound) if (result.status === 'fulfilled') result.value.close();
  return bound.every(({ status }) => status === 'fulfilled');
};
