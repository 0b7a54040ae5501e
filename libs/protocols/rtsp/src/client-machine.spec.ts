import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { clientDeadlineMs, startClient, stepClient } from './client-machine.js';
import type { ClientConfig, ClientEffect, ClientInput, ClientState } from './client-state.js';
import { encodeRequest, encodeResponse } from './codec.js';
import { type HeaderEntry, RtspHeaders } from './headers.js';
import type { RtspRequest } from './messages.js';
import { RtspProtocolError } from './protocol-error.js';
import { parseRtspUrl } from './url.js';

const SDP = [
  'v=0',
  'a=control:*',
  'm=video 0 RTP/AVP 96',
  'a=rtpmap:96 H264/90000',
  'a=control:trackID=1',
  'm=audio 0 RTP/AVP 0',
  'a=control:trackID=2',
].join('\r\n');
const CHALLENGE: HeaderEntry = ['WWW-Authenticate', 'Digest realm="cam", nonce="n1"'];

interface Answer {
  readonly headers?: readonly HeaderEntry[];
  readonly body?: string;
  /** Set to answer a request other than the last one. */
  readonly cseq?: number;
}

/** A camera whose answers the test writes, and the host of the machine. */
class Rig {
  state: ClientState;
  nowMs = 1_000_000;
  effects: readonly ClientEffect[];

  constructor(url = 'rtsp://camera.example/live', config: Partial<ClientConfig> = {}) {
    const parsed = parseRtspUrl(url);
    if (!parsed) throw new Error(url);
    ({ state: this.state, effects: this.effects } = startClient({ url: parsed, cnonce: 'c', ...config }, this.nowMs));
  }

  step(input: ClientInput): readonly ClientEffect[] {
    ({ state: this.state, effects: this.effects } = stepClient(this.state, input, this.nowMs));
    for (const effect of this.effects) {
      if (effect.tag !== 'send') continue;
      if (effect.message.tag === 'request') encodeRequest(effect.message);
      else encodeResponse(effect.message);
    }
    return this.effects;
  }

  /** The only request that the last step sent. */
  get request(): RtspRequest {
    const [sent, ...others] = this.effects.flatMap((effect) =>
      effect.tag === 'send' && effect.message.tag === 'request' ? [effect.message] : [],
    );
    if (!sent || others.length > 0) throw new Error(`not one request: ${tagsOf(this.effects).join()}`);
    return sent;
  }

  answer(status: number, { headers = [], body = '', cseq = this.state.nextCseq - 1 }: Answer = {}): void {
    const all = RtspHeaders.of([['CSeq', String(cseq)], ...headers]);
    this.step({
      tag: 'received',
      event: { tag: 'response', status, reason: '', headers: all, body: Buffer.from(body) },
    });
  }

  ask(method: string, headers: Readonly<Record<string, string>> = {}): readonly ClientEffect[] {
    return this.step({
      tag: 'received',
      event: {
        tag: 'request',
        method,
        url: '*',
        headers: RtspHeaders.of({ CSeq: '9', ...headers }),
        body: Buffer.alloc(0),
      },
    });
  }

  frame(channel: number): readonly ClientEffect[] {
    return this.step({ tag: 'received', event: { tag: 'interleaved', channel, data: Buffer.from([1]) } });
  }
}

function tagsOf(effects: readonly ClientEffect[]): string[] {
  return effects.map(({ tag }) => tag);
}

function endOf(rig: Rig): unknown {
  const { phase } = rig.state;
  if (phase.tag !== 'ended') return undefined;
  expect(rig.effects.at(-1)).toEqual({ tag: 'end', reason: phase.reason });
  expect(clientDeadlineMs(rig.state)).toBeUndefined();
  return phase.reason;
}

const SITUATIONS = [
  'connecting',
  'asking-options',
  'describing',
  'selecting',
  'opening-ports',
  'setting-up',
  'starting',
  'running',
] as const;
type Situation = (typeof SITUATIONS)[number];

/** Brings the machine to that phase, over UDP if the phase needs it. */
function rigIn(situation: Situation, url?: string, config: Partial<ClientConfig> = {}): Rig {
  const lowers = situation === 'opening-ports' ? (['udp'] as const) : (['tcp'] as const);
  const rig = new Rig(url, { lowers, ...config });
  const steps: (() => void)[] = [
    () => rig.step({ tag: 'connected' }),
    () => rig.answer(200, { headers: [['Public', 'OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER']] }),
    () => rig.answer(200, { headers: [['Content-Base', 'rtsp://camera.example/live/']], body: SDP }),
    () => rig.step({ tag: 'selected', tracks: [0, 1] }),
    () => rig.answer(200, { headers: [TCP, ['Session', 'abc;timeout=30']] }),
    () => rig.answer(200, { headers: [TCP_2, ['Session', 'abc;timeout=30']] }),
    () => rig.answer(200),
  ];
  for (const next of steps) {
    if (rig.state.phase.tag === situation) break;
    next();
  }
  expect(rig.state.phase.tag).toBe(situation);
  return rig;
}

const TCP: HeaderEntry = ['Transport', 'RTP/AVP/TCP;unicast;interleaved=0-1'];
const TCP_2: HeaderEntry = ['Transport', 'RTP/AVP/TCP;unicast;interleaved=2-3'];

describe('in every state', () => {
  it.each(SITUATIONS)('ends when the connection closes, and swallows all that follows: %s', (situation) => {
    const rig = rigIn(situation);
    rig.step({ tag: 'disconnected' });
    expect(endOf(rig)).toEqual({ tag: situation === 'connecting' ? 'unreachable' : 'closed-by-server' });
    expect(tagsOf(rig.effects)).toEqual(['end']);
    expect(rig.step({ tag: 'disconnected' })).toEqual([]);
    expect(rig.step({ tag: 'tick' })).toEqual([]);
    expect(rig.ask('OPTIONS')).toEqual([]);
  });

  it.each(SITUATIONS)('times out at its deadline and not before: %s', (situation) => {
    const rig = rigIn(situation, undefined, { connectTimeoutMs: 500, answerTimeoutMs: 700, firstMediaTimeoutMs: 900 });
    const deadlineMs = rig.nowMs + (situation === 'connecting' ? 500 : situation === 'running' ? 900 : 700);
    expect(clientDeadlineMs(rig.state)).toBe(deadlineMs);
    rig.nowMs = deadlineMs - 1;
    expect(rig.step({ tag: 'tick' })).toEqual([]);
    rig.nowMs = deadlineMs;
    rig.step({ tag: 'tick' });
    const silent = { tag: 'media-silent' };
    expect(endOf(rig)).toEqual(situation === 'running' ? silent : { tag: 'timed-out', during: situation });
  });

  it.each(SITUATIONS)('stops when told, with TEARDOWN when there is a session: %s', (situation) => {
    const rig = rigIn(situation);
    rig.step({ tag: 'stop' });
    expect(endOf(rig)).toEqual({ tag: 'stopped' });
    const hasSession = situation === 'starting' || situation === 'running';
    expect(tagsOf(rig.effects)).toEqual(hasSession ? ['send', 'end'] : ['end']);
    if (hasSession) expect([rig.request.method, rig.request.headers.get('Session')]).toEqual(['TEARDOWN', 'abc']);
  });

  it.each(SITUATIONS.slice(1))('ends when the server talks nonsense: %s', (situation) => {
    const rig = rigIn(situation);
    const error = new RtspProtocolError('bad-start-line', '');
    rig.step({ tag: 'received', event: { tag: 'malformed', error, cseq: undefined } });
    expect(endOf(rig)).toEqual({ tag: 'malformed', code: 'bad-start-line' });
  });

  it.each(SITUATIONS.slice(1))('ignores an answer that comes twice or for another request: %s', (situation) => {
    const rig = rigIn(situation);
    const { phase } = rig.state;
    rig.answer(200, { cseq: 77 });
    expect(rig.effects).toEqual([]);
    rig.answer(500, { cseq: 0 });
    expect(rig.state.phase).toEqual(phase);
  });

  it.each(SITUATIONS)('ignores what the host has no reason to say: %s', (situation) => {
    const inputs: readonly (readonly [Situation, ClientInput])[] = [
      ['connecting', { tag: 'connected' }],
      ['connecting', { tag: 'connect-failed', cause: 'unreachable' }],
      ['selecting', { tag: 'selected', tracks: [0] }],
      ['opening-ports', { tag: 'ports-opened', ports: { rtp: 5000, rtcp: 5001 } }],
    ];
    for (const [expected, input] of inputs) {
      if (expected !== situation) expect(rigIn(situation).step(input)).toEqual([]);
    }
  });

  it.each(SITUATIONS.slice(1))('answers what a server asks: %s', (situation) => {
    const statusOf = (method: string): unknown => {
      const [effect] = rigIn(situation).ask(method);
      return effect?.tag === 'send' && effect.message.tag === 'response'
        ? [effect.message.status, effect.message.headers.get('CSeq')]
        : effect;
    };
    for (const method of ['OPTIONS', 'GET_PARAMETER', 'SET_PARAMETER', 'TEARDOWN'])
      expect(statusOf(method)).toEqual([200, '9']);
    for (const method of ['ANNOUNCE', 'DESCRIBE', 'PLAY', 'BREW']) expect(statusOf(method)).toEqual([501, '9']);
    const rig = rigIn(situation);
    rig.ask('TEARDOWN');
    expect(endOf(rig)).toEqual({ tag: 'closed-by-server' });
  });

  it.each(SITUATIONS.slice(1))('follows a REDIRECT that a server sends: %s', (situation) => {
    const rig = rigIn(situation);
    rig.ask('REDIRECT', { Location: 'rtsp://other.example/live' });
    const hasSession = situation === 'starting' || situation === 'running';
    expect(tagsOf(rig.effects)).toEqual(['send', ...(hasSession ? ['send'] : []), 'disconnect', 'connect']);
    expect(rig.effects.at(-1)).toMatchObject({ tag: 'connect', cause: 'redirect', url: { host: 'other.example' } });
  });
});

describe('refusals', () => {
  it.each(['describing', 'setting-up', 'starting'] as const)('end with their status: %s', (situation) => {
    for (const status of [400, 403, 404, 453, 454, 500, 503]) {
      const rig = rigIn(situation);
      const { method } = rig.request;
      rig.answer(status);
      expect(endOf(rig)).toEqual({ tag: 'refused', method, status });
    }
  });

  it('of OPTIONS do no harm', () => {
    for (const status of [400, 404, 501]) {
      const rig = rigIn('asking-options');
      rig.answer(status);
      expect(rig.request.method).toBe('DESCRIBE');
    }
  });

  it.each(['guarded', 'unreachable'] as const)('by the guard and by the network are distinguished: %s', (cause) => {
    const rig = rigIn('connecting');
    rig.step({ tag: 'connect-failed', cause });
    expect(endOf(rig)).toEqual({ tag: cause });
  });

  it('of the description: no tracks, broken, or none that the host wants', () => {
    const empty = rigIn('describing');
    empty.answer(200, { body: 'v=0' });
    expect(endOf(empty)).toEqual({ tag: 'no-tracks' });
    const broken = rigIn('describing');
    broken.answer(200, { body: 'm=?' });
    expect(endOf(broken)).toEqual({ tag: 'malformed', code: 'bad-sdp' });
    const unwanted = rigIn('selecting');
    unwanted.step({ tag: 'selected', tracks: [] });
    expect(endOf(unwanted)).toEqual({ tag: 'no-tracks' });
  });
});

describe('passwords', () => {
  const URL = 'rtsp://bot:secret@camera.example/live';

  it('are never in a request line, and only answer a challenge', () => {
    const rig = rigIn('asking-options', URL);
    expect(rig.request.url).toBe('rtsp://camera.example/live');
    expect(rig.request.headers.get('Authorization')).toBeUndefined();
    rig.answer(401, { headers: [CHALLENGE] });
    expect(rig.request.method).toBe('OPTIONS');
    expect(rig.request.headers.get('Authorization')).toContain('username="bot"');
    rig.answer(200);
    expect(rig.request.headers.get('Authorization')).toContain('uri="rtsp://camera.example/live"');
  });

  it('are wrong when they are refused twice', () => {
    const rig = rigIn('describing', URL);
    rig.answer(401, { headers: [CHALLENGE] });
    rig.answer(401, { headers: [['WWW-Authenticate', 'Digest realm="cam", nonce="n2"']] });
    expect(endOf(rig)).toEqual({ tag: 'unauthorised' });
  });

  it('are tried again when the nonce has become stale, but not for ever', () => {
    const rig = rigIn('describing', URL);
    rig.answer(401, { headers: [CHALLENGE] });
    rig.answer(401, { headers: [['WWW-Authenticate', 'Digest realm="cam", nonce="n2", stale=true']] });
    expect(rig.request.headers.get('Authorization')).toContain('nonce="n2"');
    rig.answer(401, { headers: [['WWW-Authenticate', 'Digest realm="cam", nonce="n3", stale=true']] });
    expect(endOf(rig)).toEqual({ tag: 'unauthorised' });
  });

  it('are answered anew for a later request with another nonce', () => {
    const rig = rigIn('describing', URL);
    rig.answer(401, { headers: [CHALLENGE] });
    rig.answer(200, { body: SDP });
    rig.step({ tag: 'selected', tracks: [0] });
    rig.answer(401, { headers: [['WWW-Authenticate', 'Digest realm="cam", nonce="n2"']] });
    expect([rig.request.method, rig.request.headers.get('Transport')]).toEqual(['SETUP', TCP[1]]);
    expect(rig.request.headers.get('Authorization')).toContain('nonce="n2"');
  });

  it('are answered whatever a camera calls its realm', () => {
    const rig = rigIn('describing', URL);
    rig.answer(401, { headers: [['WWW-Authenticate', 'Digest realm="a\tb\\"c", nonce="n"']] });
    expect(rig.request.headers.get('Authorization')).toContain('realm="a\tb\\"c"');
  });

  it('are missing when the URL has none, or the challenge is of no known kind', () => {
    const without = rigIn('describing');
    without.answer(401, { headers: [CHALLENGE] });
    expect(endOf(without)).toEqual({ tag: 'unauthorised' });
    const unknown = rigIn('describing', URL);
    unknown.answer(401, { headers: [['WWW-Authenticate', 'Negotiate']] });
    expect(endOf(unknown)).toEqual({ tag: 'unauthorised' });
  });

  it('are kept at a redirect to the same server, and sent to no other', () => {
    const authorised = (location: string): string | undefined => {
      const rig = rigIn('describing', URL);
      rig.answer(302, { headers: [['Location', location]] });
      expect(rig.effects.find(({ tag }) => tag === 'connect')).toMatchObject({ url: { user: undefined } });
      rig.step({ tag: 'connected' });
      rig.answer(401, { headers: [CHALLENGE] });
      return endOf(rig) === undefined ? rig.request.headers.get('Authorization') : undefined;
    };
    expect(authorised('rtsp://camera.example/second')).toContain('username="bot"');
    expect(authorised('rtsp://other.example/live')).toBeUndefined();
    expect(authorised('rtsp://camera.example:8554/live')).toBeUndefined();
    expect(authorised('rtsps://camera.example:554/live')).toBeUndefined();
    expect(authorised('rtsp://guest:guest@other.example/live')).toContain('username="guest"');
  });
});

describe('redirects', () => {
  it.each([301, 302, 303, 305])('of status %s lead to another connection', (status) => {
    const rig = rigIn('describing');
    rig.answer(status, { headers: [['Location', 'rtsp://other.example/x']] });
    expect(tagsOf(rig.effects)).toEqual(['disconnect', 'connect']);
    rig.step({ tag: 'connected' });
    expect(rig.request.url).toBe('rtsp://other.example/x');
  });

  it('end the pull after too many, or without an RTSP URL', () => {
    const rig = rigIn('describing', undefined, { maxRedirects: 2 });
    for (let count = 0; count < 2; count += 1) {
      rig.answer(302, { headers: [['Location', 'rtsp://camera.example/live']] });
      rig.step({ tag: 'connected' });
    }
    rig.answer(302, { headers: [['Location', 'rtsp://camera.example/live']] });
    expect(endOf(rig)).toEqual({ tag: 'too-many-redirects' });
    for (const location of ['http://other.example/', '/relative', 'rtsp://bad host/']) {
      const lost = rigIn('describing');
      lost.answer(302, { headers: [['Location', location]] });
      expect(endOf(lost)).toEqual({ tag: 'refused', method: 'DESCRIBE', status: 302 });
    }
  });
});

describe('transports', () => {
  it('falls back on 461 for the first track, on the same connection', () => {
    const rig = rigIn('setting-up', undefined, { lowers: ['tcp', 'udp'] });
    rig.answer(461);
    expect(rig.effects).toEqual([{ tag: 'open-ports', track: 0 }]);
    rig.step({ tag: 'ports-opened', ports: { rtp: 5000, rtcp: 5001 } });
    expect(rig.request.headers.get('Transport')).toBe('RTP/AVP;unicast;client_port=5000-5001');
  });

  it('begins again on another connection when a later track is refused', () => {
    const rig = rigIn('setting-up', undefined, { lowers: ['tcp', 'udp'] });
    rig.answer(200, { headers: [TCP, ['Session', 'abc']] });
    rig.answer(461);
    expect(tagsOf(rig.effects)).toEqual(['send', 'disconnect', 'connect']);
  });

  it('ends when none is left, or no port', () => {
    const rig = rigIn('setting-up', undefined, { lowers: ['tcp'] });
    rig.answer(461);
    expect(endOf(rig)).toEqual({ tag: 'unsupported-transport' });
    const noPorts = rigIn('opening-ports');
    noPorts.step({ tag: 'ports-opened', ports: undefined });
    expect(endOf(noPorts)).toEqual({ tag: 'unsupported-transport' });
  });

  it('accepts no transport other than the one it asked for', () => {
    for (const Transport of ['RTP/AVP;unicast;server_port=1-2', 'RTP/AVP;multicast;port=5000-5001']) {
      const rig = rigIn('setting-up');
      rig.answer(200, { headers: [['Transport', Transport]] });
      expect(endOf(rig)).toEqual({ tag: 'unsupported-transport' });
    }
  });

  it('tries the next one when UDP stays silent', () => {
    const rig = rigIn('opening-ports', undefined, { lowers: ['udp', 'tcp'], firstMediaTimeoutMs: 500 });
    for (let count = 0; count < 2; count += 1) {
      rig.step({ tag: 'ports-opened', ports: { rtp: 5000, rtcp: 5001 } });
      rig.answer(200, {
        headers: [
          ['Transport', 'RTP/AVP;unicast;server_port=6000-6001'],
          ['Session', 'abc'],
        ],
      });
    }
    rig.answer(200);
    rig.nowMs += 500;
    rig.step({ tag: 'tick' });
    expect(rig.effects.at(-1)).toMatchObject({ tag: 'connect', cause: 'transport' });
    rig.step({ tag: 'connected' });
    rig.answer(200);
    rig.answer(200, { body: SDP });
    rig.step({ tag: 'selected', tracks: [0] });
    expect(rig.request.headers.get('Transport')).toBe(TCP[1]);
  });

  it('reads media on the channels that the server chose, even before PLAY is answered', () => {
    const rig = rigIn('setting-up');
    rig.answer(200, {
      headers: [
        ['Transport', 'RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=0A'],
        ['Session', 'abc'],
      ],
    });
    expect(rig.effects[0]).toMatchObject({
      tag: 'track-ready',
      ssrc: 10,
      transport: { channels: { rtp: 4, rtcp: 5 } },
    });
    rig.answer(200, { headers: [['Session', 'abc']] });
    expect(rig.frame(4)).toMatchObject([{ tag: 'rtp', track: 0 }]);
    expect(rig.frame(3)).toMatchObject([{ tag: 'rtcp', track: 1 }]);
    expect(rig.frame(0)).toEqual([]);
  });
});

describe('while it plays', () => {
  it('keeps the session alive at half its time-out, whether or not the server answers', () => {
    const rig = rigIn('running');
    for (let count = 0; count < 3; count += 1) {
      rig.nowMs += 7_000;
      rig.step({ tag: 'heard' });
      rig.nowMs += 8_000;
      rig.step({ tag: 'tick' });
      expect([rig.request.method, rig.request.url, rig.request.headers.get('Session')]).toEqual([
        'GET_PARAMETER',
        'rtsp://camera.example/live/',
        'abc',
      ]);
    }
  });

  it('falls back to OPTIONS when the server does not know GET_PARAMETER, or did not offer it', () => {
    const rig = rigIn('running');
    const keepAlive = (): string => {
      rig.nowMs += 8_000;
      rig.step({ tag: 'heard' });
      rig.nowMs += 7_000;
      rig.step({ tag: 'tick' });
      return rig.request.method;
    };
    expect(keepAlive()).toBe('GET_PARAMETER');
    rig.answer(501);
    expect(keepAlive()).toBe('OPTIONS');
    rig.answer(200);
    expect(keepAlive()).toBe('OPTIONS');
  });

  it('ends when the server has lost the session', () => {
    const rig = rigIn('running', undefined, { firstMediaTimeoutMs: 60_000 });
    rig.nowMs += 15_000;
    rig.step({ tag: 'tick' });
    rig.answer(454);
    expect(endOf(rig)).toEqual({ tag: 'refused', method: 'GET_PARAMETER', status: 454 });
  });

  it('ends when the media fall silent', () => {
    const rig = rigIn('running', undefined, { mediaTimeoutMs: 2_000 });
    rig.frame(0);
    rig.nowMs += 1_999;
    expect(rig.step({ tag: 'tick' })).toEqual([]);
    rig.frame(1);
    rig.nowMs += 2_000;
    rig.step({ tag: 'tick' });
    expect(endOf(rig)).toEqual({ tag: 'media-silent' });
    expect(tagsOf(rig.effects)).toEqual(['send', 'end']);
  });

  it('tells where each track begins, by URL or by place', () => {
    const originsOf = (header: string): unknown => {
      const rig = rigIn('starting');
      rig.answer(200, { headers: [['RTP-Info', header]] });
      return rig.effects[0];
    };
    const base = 'rtsp://camera.example/live/';
    expect(originsOf(`url=${base}trackID=2;seq=5;rtptime=6,url=trackID=1;seq=3`)).toEqual({
      tag: 'started',
      origins: [
        { track: 0, sequence: 3, timestamp: undefined },
        { track: 1, sequence: 5, timestamp: 6 },
      ],
    });
    expect(originsOf('url=rtsp://10.0.0.1/a;seq=1;rtptime=2, url=rtsp://10.0.0.1/b;seq=3;rtptime=4')).toMatchObject({
      origins: [{ sequence: 1 }, { sequence: 3 }],
    });
    expect(originsOf('url=rtsp://10.0.0.1/a;seq=1')).toEqual({ tag: 'started', origins: [] });
  });
});

describe('the URLs it asks for', () => {
  it.each([
    ['relative to Content-Base', 'rtsp://camera.example/live/', 'trackID=1', 'rtsp://camera.example/live/trackID=1'],
    [
      'behind a query, as cameras expect',
      'rtsp://camera.example/live?channel=1',
      'trackID=1',
      'rtsp://camera.example/live?channel=1/trackID=1',
    ],
    ['absolute', 'rtsp://camera.example/live/', 'rtsp://10.0.0.1/x/trackID=1', 'rtsp://10.0.0.1/x/trackID=1'],
    [
      'relative to a base with two schemes',
      'rtsp://rtsp://camera.example/live/',
      'trackID=1',
      'rtsp://camera.example/live/trackID=1',
    ],
    [
      'absolute with two schemes',
      'rtsp://camera.example/live/',
      'rtsp://rtsp://camera.example/live/trackID=1',
      'rtsp://camera.example/live/trackID=1',
    ],
    ['of the request when the base is no URL', '/live/', 'trackID=1', 'rtsp://camera.example/live/trackID=1'],
  ])('%s', (_name, base, control, expected) => {
    const rig = rigIn('describing');
    const body = `m=video 0 RTP/AVP 96\r\na=control:${control}\r\n`;
    rig.answer(200, { headers: [['Content-Base', base]], body });
    rig.step({ tag: 'selected', tracks: [0] });
    expect(rig.request.url).toBe(expected);
  });

  it('start from the session control when that is absolute', () => {
    const rig = rigIn('describing');
    rig.answer(200, { body: 'a=control:rtsp://camera.example/all\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=1' });
    rig.step({ tag: 'selected', tracks: [0] });
    expect(rig.request.url).toBe('rtsp://camera.example/all/trackID=1');
    rig.answer(200, { headers: [TCP] });
    expect([rig.request.method, rig.request.url]).toEqual(['PLAY', 'rtsp://camera.example/all']);
  });
});

describe('pushing', () => {
  const tracks = [
    { kind: 'video', codec: 'VP8', payloadType: 96, clockRate: 90_000, channels: 0, parameters: {} },
  ] as const;

  it('announces, sets up for record, and needs no media from the server', () => {
    const rig = new Rig('rtsp://weir.example/lab/cam', { intent: { tag: 'push', sessionName: 'cam', tracks } });
    rig.step({ tag: 'connected' });
    rig.answer(200);
    expect([rig.request.method, rig.request.headers.get('Content-Type')]).toEqual(['ANNOUNCE', 'application/sdp']);
    expect(rig.request.body.toString()).toContain('a=rtpmap:96 VP8/90000');
    rig.answer(200);
    expect(rig.request.url).toBe('rtsp://weir.example/lab/cam/trackID=0');
    expect(rig.request.headers.get('Transport')).toBe('RTP/AVP/TCP;unicast;interleaved=0-1;mode=record');
    rig.answer(200, { headers: [TCP, ['Session', 'abc']] });
    expect(rig.request.method).toBe('RECORD');
    rig.answer(200);
    expect(tagsOf(rig.effects)).toEqual(['started']);
    rig.nowMs += 30_000;
    rig.step({ tag: 'tick' });
    expect(rig.request.method).toBe('OPTIONS');
  });

  it('ends when the stream has a publisher already', () => {
    const rig = new Rig('rtsp://weir.example/lab/cam', { intent: { tag: 'push', sessionName: 'cam', tracks } });
    rig.step({ tag: 'connected' });
    rig.answer(200);
    rig.answer(503);
    expect(endOf(rig)).toEqual({ tag: 'refused', method: 'ANNOUNCE', status: 503 });
  });
});
