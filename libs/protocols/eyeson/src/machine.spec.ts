import { describe, expect, it } from 'vitest';
import { TERMINATION_CAUSES, type Input } from './index.js';
import { CLIENT, FIRST, SUPERVISOR, Transcript, UPLOAD_URL } from './testing/transcript.js';

const STARTED: Input = { tag: 'recording-started', recordingId: 'r1' };
const ENDED: Input = { tag: 'recording-ended', recordingId: 'r1' };
const REFUSED: Input = { tag: 'refused', refusal: { code: 'NOT_FOUND', message: 'no' } };
const LOST: Input = { tag: 'socket-closed' };

describe("a client's session of the second generation", () => {
  it('starts, records twice, and stops', () => {
    const client = new Transcript().starts();
    expect(client.takes()).toEqual(['start start']);
    const candidate = { candidate: 'candidate:1 1 udp 1 192.0.2.1 4 typ host', sdpMid: '0', sdpMLineIndex: 0 };
    client.given({ tag: 'started', answerSdp: 'v=0 answer', candidates: [candidate] });
    expect(client.takes()).toEqual(['S sdp_update answer', 'S candidate']);
    client.records().given(STARTED);
    expect(client.takes()).toEqual(['start-recording', 'S recording_state started r1']);
    client.says('recording_stop').given(ENDED);
    expect(client.takes()).toEqual(['stop-recording r1', 'S recording_state stopped r1']);
    client.records().given({ tag: 'recording-started', recordingId: 'r2' }).says('session_stop');
    expect(client.takes()).toEqual([
      'start-recording',
      'S recording_state started r2',
      'S session_terminated CLIENT_STOP',
      'end CLIENT_STOP',
      'close 1000 CLIENT_STOP',
    ]);
    expect(client.sent[0]).toEqual({
      type: 'sdp_update',
      client_id: 'client-0',
      session_id: 's1',
      data: { sdp: { type: 'answer', sdp: 'v=0 answer' } },
    });
  });

  it('passes on what the start carries', () => {
    expect(new Transcript().starts().effects).toMatchObject([
      { message: { clientId: 'client-0', sessionId: 's1', offerSdp: 'v=0', webhookUrl: 'https://hooks.example/' } },
    ]);
  });

  it('takes candidates at any time, and the end of candidates, without an answer', () => {
    const client = new Transcript().says('candidate', { candidate: { candidate: 'candidate:…', sdpMid: '0' } });
    client.starts().says('candidate', { candidate: null }).answered();
    client.says('candidate', { candidate: { candidate: '' } });
    expect(client.takes()).toEqual(['start start', 'S sdp_update answer']);
  });

  it('may try again after a refused start, even with the same id', () => {
    const client = new Transcript().starts().given(REFUSED).starts();
    expect(client.takes()).toEqual(['start start', 'S error NOT_FOUND', 'start start']);
  });

  it('is told that it has already started, before and after the answer', () => {
    const client = new Transcript().starts().starts().answered().starts();
    expect(client.takes()).toEqual([
      'start start',
      'S error ALREADY_STARTED',
      'S sdp_update answer',
      'S error ALREADY_STARTED',
    ]);
  });

  it.each(['recording_stop', 'sdp_update', 'recording_start'])('must start before %s', (type) => {
    const client = new Transcript().says(type, { sdp: { type: 'offer', sdp: 'v=0' }, upload_url: UPLOAD_URL });
    expect(client.takes()).toEqual(['S error NOT_STARTED']);
    expect(client.sent).toMatchObject([{ session_id: 's1' }]);
  });

  it('can leave before it has started', () => {
    expect(new Transcript().says('session_stop').takes()).toEqual(['close 1000 CLIENT_STOP']);
  });

  it("can't speak for another client or about another session", () => {
    const client = new Transcript().says('session_start', {}, { client_id: 'client-1' });
    client.says('session_start', { sdp: { type: 'offer', sdp: 'v=0' } }, { client_id: 'client-1' }).live();
    client.says('session_stop', {}, { session_id: 's2' }).says('recording_stop', {}, { client_id: 'client-1' });
    expect(client.takes()).toEqual(['S error INVALID', 'S error FORBIDDEN']);
  });

  it("doesn't join as a supervisor", () => {
    const sdp = { type: 'offer', sdp: 'v=0' };
    const client = new Transcript().says('supervisor_join_session', { sdp, session_id_to_monitor: 's0' });
    expect(client.takes()).toEqual(['S error FORBIDDEN']);
  });
});

describe('a recording', () => {
  it('that is asked for while the session starts begins when the session is live', () => {
    const client = new Transcript().starts().records().records().answered();
    expect(client.takes()).toEqual([
      'start start',
      'S error ALREADY_RECORDING',
      'S sdp_update answer',
      'start-recording',
    ]);
  });

  it('that is taken back while the session starts never begins', () => {
    const client = new Transcript().starts().records().says('recording_stop').answered();
    expect(client.takes()).toEqual(['start start', 'S error NOT_RECORDING', 'S sdp_update answer']);
  });

  it('is one at a time', () => {
    const client = new Transcript().live().records().records().given(STARTED).records();
    expect(client.takes()).toEqual([
      'start-recording',
      'S error ALREADY_RECORDING',
      'S recording_state started r1',
      'S error ALREADY_RECORDING',
    ]);
  });

  it('that is stopped while it begins ends as soon as it has begun', () => {
    const client = new Transcript().live().records().says('recording_stop').says('recording_stop').given(STARTED);
    expect(client.takes()).toEqual(['start-recording', 'S recording_state started r1', 'stop-recording r1']);
  });

  it('that is asked for while another one is finished begins after it', () => {
    const client = new Transcript().recording().says('recording_stop').records().records().given(ENDED);
    expect(client.takes()).toEqual([
      'stop-recording r1',
      'S error ALREADY_RECORDING',
      'S recording_state stopped r1',
      'start-recording',
    ]);
  });

  it('that waits for another one can be taken back', () => {
    const client = new Transcript().recording().says('recording_stop').records().says('recording_stop').given(ENDED);
    expect(client.takes()).toEqual(['stop-recording r1', 'S recording_state stopped r1']);
  });

  it('that is refused leaves the session as it was', () => {
    const client = new Transcript().live().records();
    client.given({ tag: 'recording-refused', refusal: { code: 'UPLOAD_URL_EXPIRED', message: 'It expired' } });
    client.records();
    expect(client.takes()).toEqual(['start-recording', 'S error UPLOAD_URL_EXPIRED', 'start-recording']);
  });

  it('that ends by itself is reported with the reason', () => {
    const client = new Transcript()
      .recording()
      .given({ ...ENDED, reason: 'DISK_FULL' })
      .given(ENDED);
    expect(client.takes()).toEqual(['S recording_state stopped r1 DISK_FULL']);
  });

  it('that begins after its time is stopped, because the client was told otherwise', () => {
    const client = new Transcript().live().records().waits(20_000).given(STARTED);
    expect(client.takes()).toEqual(['start-recording', 'S error DEADLINE', 'stop-recording r1']);
    expect(client.given(ENDED).takes()).toEqual([]);
  });

  it("whose end isn't confirmed in time counts as ended", () => {
    const client = new Transcript().recording().says('recording_stop').waits(20_000);
    expect(client.takes()).toEqual(['stop-recording r1', 'S recording_state stopped r1 DEADLINE']);
    expect(client.given(ENDED).takes()).toEqual([]);
  });

  it('needs to run before it can be stopped', () => {
    expect(new Transcript().live().says('recording_stop').takes()).toEqual(['S error NOT_RECORDING']);
  });
});

describe('a new offer', () => {
  it('of the server that comes while the session starts follows the answer', () => {
    const guard = new Transcript(SUPERVISOR).starts().given({ tag: 'offer', offerSdp: 'v=0' }).answered();
    guard.says('sdp_update', { sdp: { type: 'answer', sdp: 'v=0' } });
    expect(guard.takes()).toEqual(['start join', 'S sdp_update answer', 'S sdp_update offer', 'answer']);
  });

  const offer = { sdp: { type: 'offer', sdp: 'v=0' } };
  const answer = { sdp: { type: 'answer', sdp: 'v=0' } };

  it('of the client is answered', () => {
    const client = new Transcript().live().says('sdp_update', offer).says('sdp_update', offer);
    client.given({ tag: 'renegotiated', answerSdp: 'v=0' });
    client.given({ tag: 'renegotiated', answerSdp: 'v=0' });
    expect(client.takes()).toEqual(['renegotiate', 'S error BUSY', 'S sdp_update answer']);
  });

  it('of the client that is refused leaves the session as it was', () => {
    const client = new Transcript().live().says('sdp_update', offer).given(REFUSED).given(REFUSED);
    expect(client.takes()).toEqual(['renegotiate', 'S error NOT_FOUND']);
  });

  it('of the server is answered by the client, once', () => {
    const client = new Transcript(SUPERVISOR).live().says('sdp_update', answer);
    client.given({ tag: 'offer', offerSdp: 'v=0' }).says('sdp_update', offer);
    client.says('sdp_update', answer).says('sdp_update', answer);
    expect(client.takes()).toEqual([
      'S error INVALID',
      'S sdp_update offer',
      'S error BUSY',
      'answer',
      'S error INVALID',
    ]);
  });

  it('that nobody answers is forgotten after a time', () => {
    const client = new Transcript().live().given({ tag: 'offer', offerSdp: 'v=0' }).waits(20_000);
    client.says('sdp_update', offer);
    expect(client.takes()).toEqual(['S sdp_update offer', 'renegotiate']);
  });
});

describe('a supervisor', () => {
  it('is told of videos that it can not get, after the answer if they are found before', () => {
    const notCarried = { tag: 'not-carried', reason: 'no codec' } as const;
    const guard = new Transcript(SUPERVISOR).given(notCarried).starts().given(notCarried).answered().given(notCarried);
    const told = 'S error NOT_CARRIED';
    expect(guard.takes()).toEqual(['start join', 'S sdp_update answer', told, told]);
  });

  it('joins, sees the offer change, and leaves', () => {
    const guard = new Transcript(SUPERVISOR).starts().answered().given({ tag: 'offer', offerSdp: 'v=0' });
    guard.says('session_stop');
    expect(guard.takes()).toEqual([
      'start join',
      'S sdp_update answer',
      'S sdp_update offer',
      'S session_terminated CLIENT_STOP',
      'end CLIENT_STOP',
      'close 1000 CLIENT_STOP',
    ]);
    expect(guard.effects[0]).toMatchObject({ message: { monitoredSessionId: 's0' } });
  });

  it('neither starts a session nor records', () => {
    const guard = new Transcript(SUPERVISOR).says('session_start', { sdp: { type: 'offer', sdp: 'v=0' } });
    guard.live().records();
    expect(guard.takes()).toEqual(['S error FORBIDDEN']);
  });
});

describe('a client of the first generation', () => {
  it('starts session and recording in one message, sends candidates before it, and stops', () => {
    const client = new Transcript(FIRST).says('candidate', { candidate: { candidate: 'candidate:…' } }).starts();
    expect(client.takes()).toEqual(['start start-recording-session']);
    client.says('candidate', { candidate: null }).answered().given(STARTED);
    expect(client.takes()).toEqual(['S sdp_update answer', 'start-recording']);
    expect(client.says('recording_stop').takes()).toEqual(['end CLIENT_STOP', 'close 1000 CLIENT_STOP']);
    expect(client.sent).toEqual([
      { type: 'sdp_update', client_id: 'client-0', rec_id: 's1', data: { sdp: { type: 'answer', sdp: 'v=0' } } },
    ]);
  });

  it('is told with recording_stop that its recording has ended, could not begin or was refused', () => {
    expect(new Transcript(FIRST).recording().given(ENDED).takes()).toEqual([
      'S recording_stop',
      'end CONN_ERROR',
      'close 1000 CONN_ERROR',
    ]);
    const expired = { tag: 'recording-refused', refusal: { code: 'UPLOAD_URL_EXPIRED', message: 'no' } } as const;
    expect(new Transcript(FIRST).live().given(expired).takes()).toEqual([
      'S error UPLOAD_URL_EXPIRED',
      'S recording_stop',
      'end CONN_ERROR',
      'close 1000 CONN_ERROR',
    ]);
    const refused = new Transcript(FIRST).starts().given(REFUSED);
    expect(refused.takes().slice(1)).toEqual(['S error NOT_FOUND', 'S recording_stop', 'close 1000 NOT_FOUND']);
  });

  it('knows no messages of the second generation', () => {
    expect(new Transcript(FIRST).says('session_start', {}).takes()).toEqual(['S error UNKNOWN_TYPE']);
  });
});

describe('an end', () => {
  const states: [string, () => Transcript, boolean][] = [
    ['before the start', () => new Transcript(), false],
    ['while it starts', () => new Transcript().starts(), true],
    ['live', () => new Transcript().live(), true],
    ['while a recording begins', () => new Transcript().live().records(), true],
    ['while it records', () => new Transcript().recording(), true],
    ['while a recording is finished', () => new Transcript().recording().says('recording_stop'), true],
  ];

  it.each(states)('by a lost socket %s ends the session once', (_when, made, hasSession) => {
    const client = made();
    client.takes();
    expect(client.given(LOST).given(LOST).starts().answered().given(STARTED).takes()).toEqual(
      hasSession ? ['end CONN_TIMEOUT'] : [],
    );
  });

  it.each(states)('by silence %s closes the socket', (_when, made, hasSession) => {
    const client = made();
    client.takes();
    expect(client.waits(15_000, { answersPings: false }).takes()).toEqual(
      hasSession
        ? ['S session_terminated CONN_TIMEOUT', 'end CONN_TIMEOUT', 'close 1000 CONN_TIMEOUT']
        : ['close 1000 CONN_TIMEOUT'],
    );
  });

  it.each(TERMINATION_CAUSES)('because of %s is reported in every state', (cause) => {
    for (const [, made, hasSession] of states) {
      const client = made();
      client.takes();
      expect(client.given({ tag: 'terminate', cause }).given({ tag: 'terminate', cause }).takes()).toEqual([
        ...(hasSession ? [`S session_terminated ${cause}`, `end ${cause}`] : []),
        `close 1000 ${cause}`,
      ]);
    }
  });

  it('comes when nothing is started in time, and when the start is not answered', () => {
    expect(new Transcript().waits(30_000).takes()).toEqual(['close 4408 CONN_TIMEOUT']);
    expect(new Transcript().starts().waits(20_000).takes().slice(1)).toEqual([
      'S session_terminated CONN_ERROR',
      'end CONN_ERROR',
      'close 1000 CONN_ERROR',
    ]);
  });

  it('comes by too many frames, and by too many that are no messages', () => {
    const flood = new Transcript(CLIENT, { frameBurst: 3 }).live();
    for (let i = 0; i < 3; i++) flood.says('candidate', { candidate: null });
    expect(flood.takes().at(-1)).toBe('close 4429 CONN_ERROR');
    const noise = new Transcript(CLIENT, { maxMalformed: 2 }).live();
    noise.given({ tag: 'binary-frame', byteLength: 3 }).given({ tag: 'frame', text: '{' });
    expect(noise.takes()).toEqual([
      'S error INVALID',
      'S error INVALID',
      'S session_terminated CONN_ERROR',
      'end CONN_ERROR',
      'close 4400 CONN_ERROR',
    ]);
  });
});
