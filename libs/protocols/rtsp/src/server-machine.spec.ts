import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { encodeResponse } from './codec.js';
import { RtspHeaders } from './headers.js';
import type { RtspResponse } from './messages.js';
import { RtspProtocolError } from './protocol-error.js';
import { serverDeadlineMs, startServer, stepServer } from './server-machine.js';
import type { HostAnswer, ServerConfig, ServerEffect, ServerInput, ServerState } from './server-state.js';

const URL = 'rtsp://weir.example:8554/lab/cam';
const ANNOUNCED = [
  'v=0',
  'm=video 0 RTP/AVP 96',
  'a=rtpmap:96 H264/90000',
  'a=control:streamid=0',
  'm=audio 0 RTP/AVP 0',
  'a=control:streamid=1',
].join('\r\n');
const TRACKS = [
  { kind: 'video', codec: 'VP8', payloadType: 96, clockRate: 90_000, channels: 0, parameters: {} },
  { kind: 'audio', codec: 'PCMU', payloadType: 0, clockRate: 8_000, channels: 1, parameters: {} },
] as const;
const DESCRIBED: HostAnswer = { tag: 'described', sessionName: 'cam', tracks: TRACKS };
const ACCEPTED: HostAnswer = { tag: 'accepted' };
const TCP = { Transport: 'RTP/AVP/TCP;unicast;interleaved=0-1' };
const TCP_2 = { Transport: 'RTP/AVP/TCP;unicast;interleaved=2-3' };

type Headers = Readonly<Record<string, string>>;

/** A client whose requests the test writes, and the host of the machine. */
class Rig {
  state: ServerState;
  nowMs = 1_000_000;
  #cseq = 0;

  constructor(config: Partial<ServerConfig> = {}) {
    this.state = startServer({ sessionId: 'S', nonce: 'N', ...config }, this.nowMs);
  }

  step(input: ServerInput): readonly ServerEffect[] {
    const { state, effects } = stepServer(this.state, input, this.nowMs);
    this.state = state;
    for (const effect of effects) if (effect.tag === 'send') encodeResponse(effect.response);
    return effects;
  }

  request(method: string, headers: Headers = {}, url = URL, body = ''): readonly ServerEffect[] {
    this.#cseq += 1;
    return this.step({
      tag: 'received',
      event: {
        tag: 'request',
        method,
        url,
        headers: RtspHeaders.of({ CSeq: String(this.#cseq), ...headers }),
        body: Buffer.from(body),
      },
    });
  }

  answer(answer: HostAnswer): readonly ServerEffect[] {
    const id = this.state.awaiting?.id;
    if (id === undefined) throw new Error('nothing is asked of the host');
    return this.step({ tag: 'answered', id, answer });
  }

  frame(channel: number): readonly ServerEffect[] {
    return this.step({ tag: 'received', event: { tag: 'interleaved', channel, data: Buffer.from([1, 2, 3, 4]) } });
  }

  describe(): void {
    this.request('DESCRIBE');
    this.answer(ACCEPTED);
    this.answer(DESCRIBED);
  }

  announce(): void {
    this.request('ANNOUNCE', {}, URL, ANNOUNCED);
    this.answer(ACCEPTED);
    this.answer(ACCEPTED);
  }

  setup(url: string, headers: Headers = TCP): RtspResponse {
    this.request('SETUP', headers, url);
    return responseIn(this.answer({ tag: 'opened' }));
  }

  play(): void {
    this.request('PLAY');
    this.answer({ tag: 'play-ready', origins: [] });
  }

  record(): void {
    this.request('RECORD');
    this.answer(ACCEPTED);
  }
}

type Situation =
  | 'idle'
  | 'described'
  | 'announced'
  | 'ready to play'
  | 'ready to record'
  | 'playing'
  | 'recording'
  | 'recording, paused';

const SITUATIONS: readonly Situation[] = [
  'idle',
  'described',
  'announced',
  'ready to play',
  'ready to record',
  'playing',
  'recording',
  'recording, paused',
];

function rigIn(situation: Situation, config: Partial<ServerConfig> = {}): Rig {
  const rig = new Rig(config);
  if (situation === 'idle') return rig;
  const isPlay = situation === 'described' || situation === 'ready to play' || situation === 'playing';
  if (isPlay) rig.describe();
  else rig.announce();
  if (situation === 'described' || situation === 'announced') return rig;
  rig.setup(isPlay ? `${URL}/trackID=0` : `${URL}/streamid=0`);
  if (situation === 'playing') rig.play();
  if (situation.startsWith('recording')) rig.record();
  if (situation === 'recording, paused') rig.request('PAUSE');
  return rig;
}

function hasSession(situation: Situation): boolean {
  return !['idle', 'described', 'announced'].includes(situation);
}

function responseIn(effects: readonly ServerEffect[]): RtspResponse {
  const [sent, ...others] = effects.flatMap((effect) => (effect.tag === 'send' ? [effect.response] : []));
  if (!sent || others.length > 0) throw new Error('not one response');
  return sent;
}

function tagsOf(effects: readonly ServerEffect[]): string[] {
  return effects.map(({ tag }) => tag);
}

describe('in every state', () => {
  it.each(SITUATIONS)('lets go of everything once when the client disconnects: %s', (situation) => {
    const rig = rigIn(situation);
    const reason = { tag: 'disconnected' } as const;
    const close: ServerEffect = { tag: 'close', reason };
    expect(rig.step({ tag: 'disconnected' })).toEqual(
      hasSession(situation) ? [{ tag: 'end-session', reason }, close] : [close],
    );
    expect(rig.step({ tag: 'disconnected' })).toEqual([]);
    expect(rig.request('OPTIONS')).toEqual([]);
    expect(serverDeadlineMs(rig.state)).toBeUndefined();
  });

  it.each(SITUATIONS)('closes a silent connection at its deadline and not before: %s', (situation) => {
    const rig = rigIn(situation);
    const deadlineMs = rig.nowMs + (hasSession(situation) ? 60_000 : 30_000);
    expect(serverDeadlineMs(rig.state)).toBe(deadlineMs);
    rig.nowMs = deadlineMs - 1;
    expect(rig.step({ tag: 'tick' })).toEqual([]);
    rig.nowMs = deadlineMs;
    const tags = hasSession(situation) ? ['end-session', 'close'] : ['close'];
    expect(tagsOf(rig.step({ tag: 'tick' }))).toEqual(tags);
    const reason = { tag: hasSession(situation) ? 'session-timeout' : 'idle' };
    expect(rig.state.phase).toEqual({ tag: 'closed', reason });
  });

  it.each(SITUATIONS)('is kept alive by any request: %s', (situation) => {
    for (const method of ['OPTIONS', 'GET_PARAMETER', 'SET_PARAMETER', 'BREW']) {
      const rig = rigIn(situation);
      rig.nowMs += 29_000;
      rig.request(method);
      rig.nowMs += 29_999;
      expect(rig.step({ tag: 'tick' })).toEqual([]);
    }
  });

  it.each(SITUATIONS)('answers broken bytes with a status and hangs up: %s', (situation) => {
    const rig = rigIn(situation);
    const error = new RtspProtocolError('body-too-large', '');
    const effects = rig.step({ tag: 'received', event: { tag: 'malformed', error, cseq: 7 } });
    const { status, headers } = responseIn(effects);
    expect([status, headers.get('CSeq')]).toEqual([413, '7']);
    expect(effects.at(-1)).toEqual({ tag: 'close', reason: { tag: 'malformed', code: 'body-too-large' } });
  });

  it.each(SITUATIONS)('is closed by the host with its cause: %s', (situation) => {
    const rig = rigIn(situation);
    const effects = rig.step({ tag: 'stop', cause: 'revoked' });
    expect(effects.at(-1)).toEqual({ tag: 'close', reason: { tag: 'stopped', cause: 'revoked' } });
    expect(tagsOf(effects).includes('end-session')).toBe(hasSession(situation));
  });

  it.each(SITUATIONS)('knows no other session than its own: %s', (situation) => {
    for (const method of ['SETUP', 'PLAY', 'RECORD', 'PAUSE', 'TEARDOWN', 'GET_PARAMETER']) {
      expect(responseIn(rigIn(situation).request(method, { Session: 'other' })).status).toBe(454);
    }
  });

  it.each(SITUATIONS)('answers what it does not support: %s', (situation) => {
    const rig = rigIn(situation);
    expect(responseIn(rig.request('BREW')).status).toBe(501);
    expect(responseIn(rig.request('REDIRECT')).status).toBe(501);
    const required = responseIn(rig.request('SETUP', { Require: 'www.onvif.org/ver20/backchannel' }));
    expect([required.status, required.headers.get('Unsupported')]).toEqual([551, 'www.onvif.org/ver20/backchannel']);
    expect(responseIn(rig.request('SET_PARAMETER', {}, URL, 'zoom: 3\r\n')).status).toBe(451);
    expect(responseIn(rig.request('GET_PARAMETER', {}, URL, '\r\n')).status).toBe(200);
    const noCseq = responseIn(rig.request('OPTIONS', { CSeq: 'x' }));
    expect([noCseq.status, noCseq.headers.get('CSeq')]).toEqual([400, undefined]);
  });

  it('swallows a response, and media on a channel that nobody set up', () => {
    const rig = rigIn('recording');
    const response = {
      tag: 'response',
      status: 200,
      reason: '',
      headers: RtspHeaders.of(),
      body: Buffer.alloc(0),
    } as const;
    expect(rig.step({ tag: 'received', event: response })).toEqual([]);
    expect(rig.frame(9)).toEqual([]);
    expect(rigIn('idle').frame(0)).toEqual([]);
  });
});

describe('methods out of their order', () => {
  const wrong: Readonly<Record<Situation, readonly string[]>> = {
    idle: ['SETUP', 'PLAY', 'RECORD', 'PAUSE', 'TEARDOWN'],
    described: ['PLAY', 'RECORD', 'PAUSE', 'TEARDOWN'],
    announced: ['PLAY', 'RECORD', 'PAUSE', 'TEARDOWN'],
    'ready to play': ['ANNOUNCE', 'RECORD'],
    'ready to record': ['ANNOUNCE', 'DESCRIBE', 'PLAY'],
    playing: ['ANNOUNCE', 'SETUP', 'RECORD'],
    recording: ['ANNOUNCE', 'DESCRIBE', 'SETUP', 'PLAY'],
    'recording, paused': ['ANNOUNCE', 'DESCRIBE', 'SETUP', 'PLAY'],
  };

  it.each(SITUATIONS)('are answered 455 and change nothing: %s', (situation) => {
    for (const method of wrong[situation]) {
      const rig = rigIn(situation);
      const before = rig.state.phase;
      const { status, headers } = responseIn(rig.request(method, TCP));
      expect([method, status]).toEqual([method, 455]);
      expect(headers.get('Allow')?.split(', ') ?? [method]).not.toContain(method);
      expect(rig.state.phase).toEqual(before);
    }
  });
});

describe('duplicates', () => {
  it('sets a track up again before PLAY, on a transport that replaces the former', () => {
    const rig = rigIn('ready to play');
    const udp = { Transport: 'RTP/AVP;unicast;client_port=5000-5001' };
    expect(tagsOf(rig.request('SETUP', udp, `${URL}/trackID=0`))).toEqual(['close-track', 'open-track']);
    const { headers } = responseIn(rig.answer({ tag: 'opened', serverPorts: { rtp: 6000, rtcp: 6001 } }));
    expect(headers.get('Transport')).toBe('RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001');
    expect(headers.get('Session')).toBe('S1;timeout=60');
    rig.request('PLAY');
    expect(rig.state.awaiting?.step.tag).toBe('start-play');
  });

  it('cannot play when the transport that should replace the only one is refused', () => {
    const rig = rigIn('ready to play');
    rig.request('SETUP', TCP, `${URL}/trackID=0`);
    expect(responseIn(rig.answer({ tag: 'refused', refusal: 'unavailable' })).status).toBe(503);
    expect(responseIn(rig.request('PLAY')).status).toBe(455);
  });

  it('answers PLAY while playing and RECORD while recording without starting again', () => {
    expect(tagsOf(rigIn('playing').request('PLAY'))).toEqual(['send']);
    expect(tagsOf(rigIn('recording').request('RECORD'))).toEqual(['send']);
  });

  it('describes and announces again before SETUP, and the last one counts', () => {
    const turned = rigIn('announced');
    turned.describe();
    expect(turned.state.phase).toMatchObject({ tag: 'prepared', presentation: { purpose: 'play' } });
    const rig = rigIn('described');
    rig.announce();
    expect(rig.state.phase).toMatchObject({ tag: 'prepared', presentation: { purpose: 'record' } });
    expect(responseIn(rig.request('SETUP', TCP, `${URL}/trackID=0`)).status).toBe(404);
  });

  it('describes again while playing without touching what plays', () => {
    const rig = rigIn('playing');
    const { phase } = rig.state;
    rig.describe();
    expect(rig.state.phase).toEqual(phase);
  });

  it('opens a new session, of another name, after TEARDOWN and swallows a second TEARDOWN', () => {
    const rig = rigIn('playing');
    const effects = rig.request('TEARDOWN', { Session: 'S1' });
    expect(effects[0]).toEqual({ tag: 'end-session', reason: { tag: 'teardown' } });
    expect(responseIn(effects).status).toBe(200);
    expect(responseIn(rig.request('TEARDOWN', { Session: 'S1' })).status).toBe(454);
    rig.describe();
    expect(rig.setup(`${URL}/trackID=0`).headers.get('Session')).toBe('S2;timeout=60');
  });

  it('answers PAUSE in ready', () => {
    expect(responseIn(rigIn('ready to play').request('PAUSE')).status).toBe(200);
    expect(responseIn(rigIn('ready to record').request('PAUSE')).status).toBe(200);
  });
});

describe('the host behind the machine', () => {
  const asked: readonly (readonly [string, (rig: Rig) => void])[] = [
    ['authorise', (rig) => rig.request('DESCRIBE')],
    ['describe', (rig) => (rig.request('DESCRIBE'), rig.answer(ACCEPTED))],
    ['announce', (rig) => (rig.request('ANNOUNCE', {}, URL, ANNOUNCED), rig.answer(ACCEPTED))],
    ['open-track', (rig) => (rig.describe(), rig.request('SETUP', TCP, `${URL}/trackID=0`))],
    ['start-play', (rig) => (rig.describe(), rig.setup(`${URL}/trackID=0`), rig.request('PLAY'))],
    ['start-record', (rig) => (rig.announce(), rig.setup(`${URL}/streamid=0`), rig.request('RECORD'))],
  ];

  it.each(asked)('may refuse %s with any refusal', (step, prepare) => {
    const statuses = {
      unauthenticated: 401,
      forbidden: 403,
      'not-found': 404,
      busy: 503,
      unavailable: 503,
      'unsupported-media': 415,
      'unsupported-transport': 461,
    } as const;
    for (const refusal of Object.keys(statuses) as (keyof typeof statuses)[]) {
      const rig = new Rig();
      prepare(rig);
      expect(rig.state.awaiting?.step.tag).toBe(step);
      expect(responseIn(rig.answer({ tag: 'refused', refusal })).status).toBe(statuses[refusal]);
      expect(responseIn(rig.request('OPTIONS')).status).toBe(200);
    }
  });

  it.each(asked)('has a limited time for %s', (step, prepare) => {
    const rig = new Rig({ hostTimeoutMs: 500 });
    prepare(rig);
    rig.nowMs += 499;
    expect(rig.step({ tag: 'tick' })).toEqual([]);
    rig.nowMs += 1;
    const effects = rig.step({ tag: 'tick' });
    expect(responseIn(effects).status).toBe(503);
    expect(effects.at(-1)).toEqual({ tag: 'close', reason: { tag: 'host-timeout' } });
    expect(tagsOf(effects).includes('end-session')).toBe(['open-track', 'start-play', 'start-record'].includes(step));
    expect(rig.step({ tag: 'answered', id: 1, answer: ACCEPTED })).toEqual([]);
  });

  it.each(asked)('is told to let go when the client disconnects during %s', (step, prepare) => {
    const rig = new Rig();
    prepare(rig);
    const tags = tagsOf(rig.step({ tag: 'disconnected' }));
    expect(tags.includes('end-session')).toBe(['open-track', 'start-play', 'start-record'].includes(step));
    expect(tags.at(-1)).toBe('close');
  });

  it.each(asked)('is ignored when it answers %s twice', (_step, prepare) => {
    const rig = new Rig();
    prepare(rig);
    const id = rig.state.awaiting?.id ?? 0;
    rig.answer({ tag: 'refused', refusal: 'unavailable' });
    expect(rig.step({ tag: 'answered', id, answer: { tag: 'refused', refusal: 'unavailable' } })).toEqual([]);
  });

  it('must not answer one effect with the answer to another', () => {
    const rig = new Rig();
    rig.request('DESCRIBE');
    expect(() => rig.answer({ tag: 'opened' })).toThrow(TypeError);
  });

  it('gets pipelined requests one after the other, and their answers keep the order', () => {
    const rig = new Rig();
    rig.request('DESCRIBE');
    expect(rig.request('OPTIONS')).toEqual([]);
    expect(rig.request('SETUP', TCP, `${URL}/trackID=0`)).toEqual([]);
    expect(rig.request('PLAY')).toEqual([]);
    rig.answer(ACCEPTED);
    const described = rig.answer(DESCRIBED);
    expect(tagsOf(described)).toEqual(['send', 'send', 'open-track']);
    expect(tagsOf(rig.answer({ tag: 'opened' }))).toEqual(['send', 'start-play']);
    expect(tagsOf(rig.answer({ tag: 'play-ready', origins: [] }))).toEqual(['send', 'release-media']);
  });

  it('cuts a client off that pipelines without end', () => {
    const rig = new Rig({ maxQueuedRequests: 3 });
    rig.request('DESCRIBE');
    for (let count = 0; count < 3; count += 1) expect(rig.request('OPTIONS')).toEqual([]);
    expect(rig.request('OPTIONS').at(-1)).toEqual({ tag: 'close', reason: { tag: 'too-many-requests' } });
  });
});

describe('access', () => {
  it('hands the URL with its query and without its user to the host', () => {
    const rig = new Rig();
    const [effect] = rig.request('DESCRIBE', {}, 'rtsp://bot:pass@weir.example/lab/front%20cam/?verb=play&signature=x');
    expect(effect).toMatchObject({
      tag: 'authorise',
      verb: 'play',
      path: 'lab/front cam',
      url: { query: 'verb=play&signature=x', user: undefined },
      credentials: { scheme: 'basic', username: 'bot', password: 'pass' },
    });
  });

  it('challenges once more with stale=true when a client answers an old nonce, without asking the host', () => {
    const rig = new Rig();
    const old = 'Digest username="bot", realm="weir", nonce="old", uri="/", response="0"';
    const { status, headers } = responseIn(rig.request('DESCRIBE', { Authorization: old }));
    expect(status).toBe(401);
    expect(headers.all('WWW-Authenticate')).toEqual(['Digest realm="weir", nonce="N", stale=true']);
  });

  it('accepts a nonce while it is valid, then asks with another one, in the algorithm that the client used', () => {
    const rig = new Rig({ nonceLifeMs: 10_000 });
    const answering = (nonce: string) =>
      `Digest username="bot", realm="weir", nonce="${nonce}", uri="/", response="0", algorithm=SHA-256`;
    rig.nowMs += 9_999;
    expect(tagsOf(rig.request('DESCRIBE', { Authorization: answering('N') }))).toEqual(['authorise']);
    rig.answer({ tag: 'refused', refusal: 'not-found' });
    rig.nowMs += 1;
    const { status, headers } = responseIn(rig.request('DESCRIBE', { Authorization: answering('N') }));
    expect(status).toBe(401);
    expect(headers.all('WWW-Authenticate')).toEqual([
      'Digest realm="weir", nonce="N-2", algorithm=SHA-256, qop="auth", stale=true',
    ]);
    expect(tagsOf(rig.request('DESCRIBE', { Authorization: answering('N-2') }))).toEqual(['authorise']);
  });

  it('asks in the way that the host wants for this request', () => {
    const rig = new Rig();
    rig.request('DESCRIBE');
    const refusal = rig.answer({ tag: 'refused', refusal: 'unauthenticated', challenges: ['basic'] });
    expect(responseIn(refusal).headers.all('WWW-Authenticate')).toEqual(['Basic realm="weir"']);
  });

  it('cuts a client off that keeps trying', () => {
    const rig = new Rig({ maxRefusals: 3 });
    for (let count = 0; count < 2; count += 1) {
      rig.request('DESCRIBE');
      expect(tagsOf(rig.answer({ tag: 'refused', refusal: 'unauthenticated' }))).toEqual(['send']);
    }
    rig.request('ANNOUNCE', {}, URL, ANNOUNCED);
    const effects = rig.answer({ tag: 'refused', refusal: 'forbidden' });
    expect(effects.at(-1)).toEqual({ tag: 'close', reason: { tag: 'too-many-refusals' } });
  });

  it.each([
    ['rtsp://weir.example/', 404],
    ['rtsp://weir.example/lab/../../etc', 400],
    ['rtsp://weir.example/lab/%2e%2e/x', 400],
    ['rtsp://weir.example/%ff', 400],
    ['/lab/cam', 400],
    ['*', 400],
  ])('does not ask the host about %s', (url, status) => {
    expect(responseIn(new Rig().request('DESCRIBE', {}, url)).status).toBe(status);
  });
});

describe('DESCRIBE and ANNOUNCE', () => {
  it('answers an Accept that wants no SDP with 406', () => {
    expect(responseIn(new Rig().request('DESCRIBE', { Accept: 'application/rtsl' })).status).toBe(406);
    expect(tagsOf(new Rig().request('DESCRIBE', { Accept: 'application/rtsl, application/sdp;level=-2' }))).toEqual([
      'authorise',
    ]);
  });

  it('takes no description but SDP', () => {
    expect(responseIn(new Rig().request('ANNOUNCE', { 'Content-Type': 'text/plain' })).status).toBe(415);
  });

  it.each([
    ['without tracks', 'v=0\r\n'],
    ['with a broken media line', 'v=0\r\nm=video x RTP/AVP 96\r\n'],
    ['with more tracks than allowed', 'm=video 0 RTP/AVP 96\r\n'.repeat(9)],
  ])('refuses an SDP %s', (_name, sdp) => {
    const rig = new Rig();
    rig.request('ANNOUNCE', {}, URL, sdp);
    expect(responseIn(rig.answer(ACCEPTED)).status).toBe(400);
    expect(rig.state.phase.tag).toBe('idle');
  });
});

describe('SETUP', () => {
  it('gives every track its channels, even when two ask for the same', () => {
    const rig = rigIn('described');
    expect(rig.setup(`${URL}/trackID=0`).headers.get('Transport')).toBe('RTP/AVP/TCP;unicast;interleaved=0-1');
    expect(rig.setup(`${URL}/trackID=1`).headers.get('Transport')).toBe('RTP/AVP/TCP;unicast;interleaved=2-3');
  });

  it('takes the first of several transports that it supports', () => {
    const Transport = [
      'RTP/SAVP;unicast;client_port=5000-5001',
      'RTP/AVP;multicast;port=5000-5001',
      'RTP/AVP;unicast',
      'RTP/AVP;unicast;client_port=22-23',
      'RTP/AVP/TCP;unicast;interleaved=4-5;mode=play',
    ].join(',');
    const rig = rigIn('described');
    expect(rig.setup(`${URL}/trackID=0`, { Transport }).headers.get('Transport')).toBe(
      'RTP/AVP/TCP;unicast;interleaved=4-5',
    );
  });

  it.each([
    ['multicast', 'RTP/AVP;multicast;port=5000-5001'],
    ['encryption', 'RTP/SAVP;unicast;client_port=5000-5001'],
    ['UDP without ports', 'RTP/AVP;unicast'],
    ['a privileged port', 'RTP/AVP;unicast;client_port=53-54'],
    ['one port for both', 'RTP/AVP;unicast;client_port=5000-5000'],
    ['RAW', 'RAW/RAW/UDP;unicast;client_port=5000-5001'],
    ['nothing', ''],
  ])('answers 461 to %s', (_name, Transport) => {
    expect(responseIn(rigIn('described').request('SETUP', { Transport }, `${URL}/trackID=0`)).status).toBe(461);
  });

  it('answers 461 to a lower transport that is switched off', () => {
    const rig = rigIn('described', { lowers: ['tcp'] });
    const Transport = 'RTP/AVP;unicast;client_port=5000-5001';
    expect(responseIn(rig.request('SETUP', { Transport }, `${URL}/trackID=0`)).status).toBe(461);
  });

  it('refuses to record what was only described', () => {
    const Transport = 'RTP/AVP/TCP;unicast;interleaved=0-1;mode=record';
    expect(responseIn(rigIn('described').request('SETUP', { Transport }, `${URL}/trackID=0`)).status).toBe(455);
  });

  it('answers 459 for the whole of several tracks, and 404 for another track or path', () => {
    const rig = rigIn('described');
    expect(responseIn(rig.request('SETUP', TCP, URL)).status).toBe(459);
    expect(responseIn(rig.request('SETUP', TCP, `${URL}/trackID=7`)).status).toBe(404);
    expect(responseIn(rig.request('SETUP', TCP, 'rtsp://weir.example/lab/other/trackID=0')).status).toBe(404);
    expect(responseIn(rig.request('SETUP', TCP, '*')).status).toBe(400);
  });

  it('takes the whole for its only track', () => {
    const rig = new Rig();
    rig.request('DESCRIBE');
    rig.answer(ACCEPTED);
    rig.answer({ ...DESCRIBED, tracks: [TRACKS[0]] });
    expect(rig.setup(URL).status).toBe(200);
  });
});

describe('media', () => {
  it('goes to the host only between RECORD and PAUSE, RTP and RTCP apart', () => {
    const rig = rigIn('ready to record');
    expect(rig.frame(0)).toEqual([]);
    rig.record();
    expect(rig.frame(0)).toMatchObject([{ tag: 'rtp', track: 0 }]);
    expect(rig.frame(1)).toMatchObject([{ tag: 'rtcp', track: 0 }]);
    rig.request('PAUSE');
    expect(rig.frame(0)).toEqual([]);
    rig.request('RECORD');
    expect(tagsOf(rig.frame(0))).toEqual(['rtp']);
  });

  it('of a player is its RTCP; what it sends to open its firewall is dropped', () => {
    const rig = rigIn('playing');
    expect(rig.frame(1)).toMatchObject([{ tag: 'rtcp', track: 0 }]);
    expect(rig.frame(0)).toEqual([]);
  });

  it('keeps the session alive, interleaved or heard over UDP', () => {
    for (const input of ['frame', 'heard'] as const) {
      const rig = rigIn('playing');
      rig.nowMs += 59_999;
      if (input === 'frame') rig.frame(1);
      else rig.step({ tag: 'heard' });
      rig.nowMs += 59_999;
      expect(rig.step({ tag: 'tick' })).toEqual([]);
    }
  });

  it('is held back until PLAY is answered, and while it is paused', () => {
    const rig = rigIn('ready to play');
    expect(tagsOf(rig.request('PLAY'))).toEqual(['start-play']);
    const effects = rig.answer({ tag: 'play-ready', origins: [{ track: 0, sequence: 7, timestamp: 90_000 }] });
    expect(tagsOf(effects)).toEqual(['send', 'release-media']);
    expect(responseIn(effects).headers.get('RTP-Info')).toBe(`url=${URL}/trackID=0;seq=7;rtptime=90000`);
    expect(tagsOf(rig.request('PAUSE'))).toEqual(['pause-play', 'send']);
    expect(tagsOf(rig.request('PLAY'))).toEqual(['start-play']);
  });

  it('is recorded from the tracks that were set up, on the channels that they got', () => {
    const rig = rigIn('announced');
    rig.setup(`${URL}/streamid=1`, TCP_2);
    expect(rig.request('RECORD')).toMatchObject([
      { tag: 'start-record', path: 'lab/cam', tracks: [{ track: 1, transport: { channels: { rtp: 2, rtcp: 3 } } }] },
    ]);
    rig.answer(ACCEPTED);
    expect(rig.frame(2)).toMatchObject([{ tag: 'rtp', track: 1 }]);
  });

  it('is not taken from a second publisher that the host refuses at RECORD', () => {
    const rig = rigIn('ready to record');
    rig.request('RECORD');
    const { status, reason } = responseIn(rig.answer({ tag: 'refused', refusal: 'busy' }));
    expect([status, reason]).toEqual([503, 'Stream Is Already Published']);
    expect(rig.frame(0)).toEqual([]);
    expect(tagsOf(rig.step({ tag: 'disconnected' }))).toEqual(['end-session', 'close']);
  });
});
