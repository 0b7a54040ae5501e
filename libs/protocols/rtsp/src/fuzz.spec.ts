import { Buffer } from 'node:buffer';
import { parseRtspDescription } from '@weir/sdp';
import { describe, expect, it } from 'vitest';
import { Transcript, wireBytes } from '../testing/transcript.js';
import { parseAuthorization, parseChallenges } from './authentication.js';
import { clientDeadlineMs, startClient, stepClient } from './client-machine.js';
import type { ClientEffect, ClientState } from './client-state.js';
import { DEFAULT_DECODER_LIMITS, encodeInterleaved, encodeRequest, encodeResponse, RtspDecoder } from './codec.js';
import { parseRtpInfo, parseSession } from './header-values.js';
import { cseqOf, type RtspEvent } from './messages.js';
import { RtspProtocolError } from './protocol-error.js';
import { serverDeadlineMs, startServer, stepServer } from './server-machine.js';
import type { HostAnswer, ServerEffect, ServerState } from './server-state.js';
import { verifyStreamUrl } from './signed-url.js';
import { parseTransport } from './transport-header.js';
import { parseRtspUrl, resolveControl, setupTargetOf, streamPathOf } from './url.js';

/** A random number generator with a seed (mulberry32), so that a failing run can be repeated. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** Splits bytes into pieces of all sizes. */
  cut(bytes: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    for (let from = 0; from < bytes.length;) {
      const size = 1 + this.below(this.pick([2, 20, 2000]));
      pieces.push(bytes.subarray(from, from + size));
      from += size;
    }
    return pieces;
  }
}

const TRANSCRIPTS = Transcript.names().map((name) => Transcript.load(name));
/** All bytes that clients and servers sent in the recorded transcripts. */
const SAID = {
  client: TRANSCRIPTS.map((entries) => Buffer.concat(entries.filter(({ from }) => from === 'client').map(wireBytes))),
  server: TRANSCRIPTS.map((entries) => Buffer.concat(entries.filter(({ from }) => from === 'server').map(wireBytes))),
};
const SPLICES = [
  '\r\n',
  '\r\n\r\n',
  '\0',
  '$',
  ':',
  ',',
  ';',
  '"',
  '=',
  '%',
  ' ',
  '-1',
  '99999999999',
  'RTSP/1.0',
  '*',
  '\xff',
  '\t',
  '@',
  '?',
  '/',
];

function mutate(random: Random, bytes: Buffer): Buffer {
  let mutated = bytes;
  for (let count = random.below(6); count >= 0; count -= 1) {
    const at = random.below(mutated.length + 1);
    const end = Math.min(mutated.length, at + random.below(30));
    const [before, cutOut, behind] = [mutated.subarray(0, at), mutated.subarray(at, end), mutated.subarray(end)];
    switch (random.below(5)) {
      case 0:
        mutated = Buffer.concat([before, behind]);
        break;
      case 1:
        mutated = Buffer.concat([before, cutOut, cutOut, behind]);
        break;
      case 2:
        mutated = Buffer.concat([before, Buffer.from(random.pick(SPLICES), 'latin1'), behind]);
        break;
      case 3:
        mutated = Buffer.concat([before, random.bytes(cutOut.length), behind]);
        break;
      default:
        mutated = Buffer.concat([before, encodeInterleaved(random.below(256), cutOut), cutOut, behind]);
    }
  }
  return mutated;
}

const SEEDS = Array.from({ length: 1500 }, (_, index) => index + 1);
/** An unfinished message and the last piece received. */
const HELD_BYTES = DEFAULT_DECODER_LIMITS.headBytes + DEFAULT_DECODER_LIMITS.bodyBytes + 2000;

describe('whatever comes in', () => {
  it('the decoder returns events, holds a bounded number of bytes, and stops after an error', () => {
    const kinds = new Set<string>();
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const from = random.pick(['client', 'server'] as const);
      const bytes = random.below(4) === 0 ? random.bytes(3000) : mutate(random, random.pick(SAID[from]));
      const decoder = new RtspDecoder();
      const events = random.cut(bytes).flatMap((piece) => {
        const read = decoder.push(piece);
        expect(decoder.heldBytes).toBeLessThanOrEqual(HELD_BYTES);
        return read;
      });
      const broken = events.findIndex(({ tag }) => tag === 'malformed');
      if (broken !== -1) expect(broken).toBe(events.length - 1);
      expect(events, `seed ${seed}`).toEqual(new RtspDecoder().push(bytes));
      for (const event of events) kinds.add(event.tag === 'malformed' ? event.error.code : event.tag);
    }
    for (const kind of ['request', 'response', 'interleaved', 'bad-start-line', 'bad-header'])
      expect(kinds).toContain(kind);
  });

  it('what the decoder read can be written and read again', () => {
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const bytes = mutate(random, random.pick(SAID[random.pick(['client', 'server'] as const)]));
      for (const event of new RtspDecoder().push(bytes)) {
        if (event.tag !== 'request' && event.tag !== 'response') continue;
        let written: Buffer;
        try {
          written = event.tag === 'request' ? encodeRequest(event) : encodeResponse(event);
        } catch (error) {
          expect(error).toBeInstanceOf(RtspProtocolError);
          continue;
        }
        const [again, ...others] = new RtspDecoder().push(written);
        expect(others).toEqual([]);
        const start = event.tag === 'request' ? { method: event.method, url: event.url } : { status: event.status };
        expect(again).toMatchObject({ ...start, body: event.body });
      }
    }
  });

  it('every parser of a value returns', () => {
    const alphabet = [
      ...SPLICES,
      'rtsp://',
      'Digest ',
      'Basic ',
      'RTP/AVP',
      'npt=',
      'url=',
      'a=fmtp:96 ',
      'm=video 0 RTP/AVP 96\n',
      'a',
      '1',
      '(',
      '\\',
      '[',
      ']',
    ];
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const text = Array.from({ length: random.below(60) }, () => random.pick(alphabet)).join('');
      const url = parseRtspUrl(text) ?? parseRtspUrl(`rtsp://h/${text}`);
      if (url) {
        streamPathOf(url);
        verifyStreamUrl(url, 'play', [Buffer.alloc(32)], 0);
        setupTargetOf(url, [text, 'trackID=0'], url);
      }
      resolveControl('rtsp://h/p', text);
      parseTransport(text);
      parseSession(text);
      parseRtpInfo(text);
      parseAuthorization(text);
      parseChallenges([text]);
      parseRtspDescription(text);
    }
  });

  it('a long value takes no long time: no expression backtracks', () => {
    const size = 60_000;
    for (const unit of [
      'a',
      ' ',
      ',',
      ';',
      '"',
      '\\"',
      'a=',
      '=',
      'url=',
      ';seq=1',
      'Digest ',
      '/',
      '?',
      '@',
      '-',
      '%20',
      '\t',
      'a="',
    ]) {
      const text = unit.repeat(Math.ceil(size / unit.length));
      for (const value of [text, `Digest realm="${text}`, `rtsp://h/${text}`.slice(0, 8000), `RTP/AVP;${text}`]) {
        parseTransport(value);
        parseSession(value);
        parseRtpInfo(value);
        parseAuthorization(value);
        parseChallenges([value]);
        parseRtspDescription(`m=video 0 RTP/AVP 96\na=fmtp:96 ${value}\na=rtpmap:96 ${value}\n${value}`);
        parseRtspUrl(value);
        new RtspDecoder({ headBytes: 1 << 20 }).push(Buffer.from(`OPTIONS ${value} RTSP/1.0\r\nX: ${value}\r\n\r\n`));
      }
    }
  });
});

const TRACKS = [
  { kind: 'video', codec: 'VP8', payloadType: 96, clockRate: 90_000, channels: 0, parameters: {} },
  { kind: 'audio', codec: 'PCMU', payloadType: 0, clockRate: 8_000, channels: 1, parameters: {} },
] as const;

/** Accepts most of the time. */
function randomAnswer(random: Random, effect: ServerEffect): HostAnswer {
  if (random.below(8) === 0) return { tag: 'refused', refusal: random.pick(['unauthenticated', 'not-found', 'busy']) };
  switch (effect.tag) {
    case 'describe':
      return { tag: 'described', sessionName: 'x', tracks: TRACKS };
    case 'open-track':
      return { tag: 'opened', serverPorts: { rtp: 6000, rtcp: 6001 } };
    case 'start-play':
      return { tag: 'play-ready', origins: [{ track: 0, sequence: 1, timestamp: 2 }] };
    default:
      return { tag: 'accepted' };
  }
}

describe('the server machine', () => {
  it('answers each request once and in order, ends each session once, and says nothing after close', () => {
    const phases = new Set<string>();
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const events: RtspEvent[] = [];
      for (let count = 0; count < 3; count += 1) {
        events.push(
          ...new RtspDecoder().push(
            random.below(3) === 0 ? random.pick(SAID.client) : mutate(random, random.pick(SAID.client)),
          ),
        );
      }
      let state: ServerState = startServer({ sessionId: '5E55107', nonce: '0123456789abcdef' }, 0);
      const open: ServerEffect[] = [];
      const seen: ServerEffect[] = [];
      let nowMs = 0;
      const asked: (number | undefined)[] = [];
      const answered: (number | undefined)[] = [];
      let isBroken = false;
      /** What the host opened or started and wasn't told to release. */
      const held = new Set<string>();
      const take = (effects: readonly ServerEffect[]): void => {
        for (const effect of effects) {
          seen.push(effect);
          if (effect.tag === 'send') {
            encodeResponse(effect.response);
            if (!isBroken) answered.push(cseqOf(effect.response));
          }
          if ('id' in effect) open.push(effect);
          if (effect.tag === 'open-track') held.add(`track ${effect.track}`);
          if (effect.tag === 'close-track') held.delete(`track ${effect.track}`);
          if (effect.tag === 'start-play' || effect.tag === 'start-record') held.add(effect.tag);
          if (effect.tag === 'pause-play') held.delete('start-play');
          if (effect.tag === 'end-session') held.clear();
        }
      };
      const step = (input: Parameters<typeof stepServer>[1]): void => {
        const before = state;
        const result = stepServer(state, input, nowMs);
        state = result.state;
        if (before.phase.tag === 'closed') expect(result.effects).toEqual([]);
        take(result.effects);
        phases.add(state.phase.tag);
      };
      for (const event of events) {
        if (event.tag === 'request') asked.push(cseqOf(event));
        isBroken = event.tag === 'malformed';
        step({ tag: 'received', event });
        while (open.length > 0 && random.below(4) !== 0) {
          const effect = open.shift();
          if (!effect || !('id' in effect)) continue;
          const answer = randomAnswer(random, effect);
          if (answer.tag === 'refused') held.delete(effect.tag === 'open-track' ? `track ${effect.track}` : effect.tag);
          step({ tag: 'answered', id: effect.id, answer });
        }
        nowMs += random.below(3000);
        if (random.below(20) === 0) step({ tag: 'tick' });
        expect(state.queue.length).toBeLessThanOrEqual(16);
        expect(state.phase.tag === 'closed').toBe(serverDeadlineMs(state) === undefined);
      }
      step({ tag: 'disconnected' });
      const tags = seen.map(({ tag }) => tag);
      expect(tags.filter((tag) => tag === 'close')).toHaveLength(1);
      expect(tags.at(-1)).toBe('close');
      expect(answered, `seed ${seed}`).toEqual(asked.slice(0, answered.length));
      expect([...held], `seed ${seed}`).toEqual([]);
    }
    for (const phase of ['idle', 'prepared', 'ready', 'playing', 'recording', 'closed'])
      expect(phases).toContain(phase);
  });
});

describe('the client machine', () => {
  it('ends once, says nothing after that, and writes only what can be written', () => {
    const phases = new Set<string>();
    const url = parseRtspUrl('rtsp://camera:p%40ss%20word@127.0.0.1/cam');
    if (!url) throw new Error('no URL');
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const bytes = random.below(3) === 0 ? random.pick(SAID.server) : mutate(random, random.pick(SAID.server));
      let nowMs = 0;
      let state: ClientState;
      const seen: ClientEffect[] = [];
      const take = (result: { readonly state: ClientState; readonly effects: readonly ClientEffect[] }): void => {
        state = result.state;
        phases.add(state.phase.tag);
        for (const effect of result.effects) {
          seen.push(effect);
          if (effect.tag === 'send') {
            if (effect.message.tag === 'request') encodeRequest(effect.message);
            else encodeResponse(effect.message);
          }
          if (effect.tag === 'connect') step({ tag: 'connected' });
          if (effect.tag === 'select-tracks') step({ tag: 'selected', tracks: [0, 1] });
          if (effect.tag === 'open-ports') step({ tag: 'ports-opened', ports: { rtp: 5000, rtcp: 5001 } });
        }
      };
      const step = (input: Parameters<typeof stepClient>[1]): void => take(stepClient(state, input, nowMs));
      const first = startClient({ url, cnonce: 'c', lowers: random.pick([['tcp'], ['udp', 'tcp']] as const) }, nowMs);
      state = first.state;
      take(first);
      for (const event of new RtspDecoder().push(bytes)) {
        step({ tag: 'received', event });
        nowMs += random.below(2000);
        if (random.below(5) === 0) step({ tag: 'tick' });
        expect(state.phase.tag === 'ended').toBe(clientDeadlineMs(state) === undefined);
      }
      step({ tag: 'stop' });
      const ends = seen.filter(({ tag }) => tag === 'end');
      expect(ends, `seed ${seed}`).toHaveLength(1);
      expect(seen.at(-1)?.tag).toBe('end');
    }
    for (const phase of ['connecting', 'describing', 'setting-up', 'starting', 'running', 'ended'])
      expect(phases).toContain(phase);
  });
});
