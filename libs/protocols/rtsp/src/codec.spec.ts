import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_DECODER_LIMITS,
  encodeInterleaved,
  encodeRequest,
  encodeResponse,
  interleavedHeader,
  RtspDecoder,
} from './codec.js';
import { RtspHeaders } from './headers.js';
import type { RtspEvent } from './messages.js';
import { statusOfProtocolError } from './protocol-error.js';

const OPTIONS = 'OPTIONS rtsp://h/p RTSP/1.0\r\nCSeq: 1\r\n\r\n';

function decode(text: string | Buffer): RtspEvent[] {
  return new RtspDecoder().push(Buffer.from(text));
}

function errorIn(events: readonly RtspEvent[]): string | undefined {
  const last = events.at(-1);
  return last?.tag === 'malformed' ? last.error.code : undefined;
}

describe('the decoder', () => {
  it('reads requests, responses and frames as they follow each other', () => {
    const frame = encodeInterleaved(1, Buffer.from('$RTSP'));
    const bytes = Buffer.concat([
      Buffer.from(OPTIONS),
      frame,
      Buffer.from('RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 3\r\n\r\nabc'),
      frame,
    ]);
    expect(decode(bytes)).toEqual([
      {
        tag: 'request',
        method: 'OPTIONS',
        url: 'rtsp://h/p',
        headers: RtspHeaders.of({ CSeq: '1' }),
        body: Buffer.alloc(0),
      },
      { tag: 'interleaved', channel: 1, data: Buffer.from('$RTSP') },
      {
        tag: 'response',
        status: 200,
        reason: 'OK',
        headers: RtspHeaders.of({ CSeq: '2', 'Content-Length': '3' }),
        body: Buffer.from('abc'),
      },
      { tag: 'interleaved', channel: 1, data: Buffer.from('$RTSP') },
    ]);
  });

  it('hands media out as views of the pushed bytes, without copying', () => {
    const bytes = encodeInterleaved(0, Buffer.from('media'));
    const [event] = new RtspDecoder().push(bytes);
    bytes[4] = 'M'.charCodeAt(0);
    expect(event?.tag === 'interleaved' && event.data.toString()).toBe('Media');
  });

  it('does not change what it has handed out', () => {
    const decoder = new RtspDecoder();
    const frame = encodeInterleaved(0, Buffer.from('first'));
    decoder.push(frame.subarray(0, 3));
    const [first] = decoder.push(Buffer.concat([frame.subarray(3), frame.subarray(0, 6)]));
    decoder.push(Buffer.from('zzz'));
    expect(first?.tag === 'interleaved' && first.data.toString()).toBe('first');
  });

  it.each([
    ['blank lines between messages', `\r\n\n${OPTIONS}\r\n${OPTIONS}`, 2],
    ['lines that end in LF alone', OPTIONS.replaceAll('\r', ''), 1],
    ['a mixture of line ends', 'OPTIONS * RTSP/1.0\nCSeq: 1\n\r\n', 1],
    ['blanks around the colon', 'OPTIONS * RTSP/1.0\r\nCSeq  :   1  \r\n\r\n', 1],
    ['a folded header', 'OPTIONS * RTSP/1.0\r\nTransport: RTP/AVP;\r\n unicast\r\n\r\n', 1],
    ['an unescaped blank in the URL', 'DESCRIBE rtsp://h/front door RTSP/1.0\r\nCSeq: 1\r\n\r\n', 1],
    ['a status line without reason', 'RTSP/1.0 200\r\nCSeq: 1\r\n\r\n', 1],
    ['RTSP/1.1', 'RTSP/1.1 200 OK\r\n\r\n', 1],
    ['the same Content-Length twice', 'RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-length: 1\r\n\r\nx', 1],
  ])('tolerates %s', (_name, text, count) => {
    const events = decode(text);
    expect(errorIn(events)).toBeUndefined();
    expect(events).toHaveLength(count);
  });

  it('keeps the URL whole and unfolds headers', () => {
    const [blank] = decode('DESCRIBE rtsp://h/front door RTSP/1.0\r\nX: a\r\n\tb\r\n\r\n');
    expect(blank).toMatchObject({ url: 'rtsp://h/front door', headers: { entries: [['X', 'a b']] } });
  });

  it.each([
    ['bad-start-line', 'HTTP', 'GET / HTTP/1.1\r\n\r\n'],
    ['bad-start-line', 'a TLS hello', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00])],
    ['bad-start-line', 'one word', 'OPTIONS\r\n\r\n'],
    ['bad-start-line', 'no URL', 'OPTIONS RTSP/1.0\r\n\r\n'],
    ['bad-start-line', 'a strange method', 'OPT@ONS * RTSP/1.0\r\n\r\n'],
    ['bad-start-line', 'a strange status', 'RTSP/1.0 2x0 OK\r\n\r\n'],
    ['bad-start-line', 'a control character in it', 'OPTIONS rtsp://h/\x01 RTSP/1.0\r\n\r\n'],
    ['unsupported-version', 'RTSP/2.0', 'OPTIONS * RTSP/2.0\r\n\r\n'],
    ['unsupported-version', 'RTSP/3.0 answered', 'RTSP/3.0 200 OK\r\n\r\n'],
    ['bad-header', 'a line without colon', 'OPTIONS * RTSP/1.0\r\nCSeq 1\r\n\r\n'],
    ['bad-header', 'a name with a blank', 'OPTIONS * RTSP/1.0\r\nC Seq: 1\r\n\r\n'],
    ['bad-header', 'a bare CR', 'OPTIONS * RTSP/1.0\r\nCSeq: 1\rX: 2\r\n\r\n'],
    ['bad-header', 'NUL', 'OPTIONS * RTSP/1.0\r\nCSeq: \0\r\n\r\n'],
    ['bad-content-length', 'a negative length', 'OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n'],
    ['bad-content-length', 'two lengths', 'OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'],
    ['body-too-large', 'a length over the limit', 'OPTIONS * RTSP/1.0\r\nContent-Length: 65537\r\n\r\n'],
    ['url-too-long', 'a URL over the limit', `OPTIONS rtsp://h/${'a'.repeat(4096)} RTSP/1.0\r\n\r\n`],
    ['head-too-large', 'headers over the limit', `OPTIONS * RTSP/1.0\r\nX: ${'a'.repeat(16 * 1024)}\r\n\r\n`],
    ['head-too-large', 'headers without end', `OPTIONS * RTSP/1.0\r\n${'X: a\r\n'.repeat(3000)}`],
  ])('stops with %s at %s', (code, _name, bytes) => {
    const decoder = new RtspDecoder();
    expect(errorIn(decoder.push(Buffer.from(bytes)))).toBe(code);
    expect(decoder.push(Buffer.from(OPTIONS))).toEqual([]);
    expect(decoder.heldBytes).toBe(0);
  });

  it('hands out what came before an error, and the CSeq of what broke', () => {
    const [first, last] = decode(`${OPTIONS}DESCRIBE * RTSP/2.0\r\nCSeq: 12\r\n\r\n`);
    expect(first?.tag).toBe('request');
    expect(last).toMatchObject({ tag: 'malformed', cseq: 12 });
  });

  it('does not wait for the end of a head that is too large already', () => {
    const decoder = new RtspDecoder();
    const events: RtspEvent[] = [];
    for (let bytes = 0; bytes <= 17 * 1024 && events.length === 0; bytes += 64) {
      events.push(...decoder.push(Buffer.alloc(64, 'A')));
      expect(decoder.heldBytes).toBeLessThanOrEqual(DEFAULT_DECODER_LIMITS.headBytes);
    }
    expect(errorIn(events)).toBe('head-too-large');
  });

  it('takes a head and a body of exactly the limits', () => {
    const start = 'OPTIONS * RTSP/1.0\r\nContent-Length: 65536\r\nX: ';
    const head = `${start}${'a'.repeat(16 * 1024 - start.length - 4)}\r\n\r\n`;
    expect(decode(head + 'b'.repeat(65536)).map(({ tag }) => tag)).toEqual(['request']);
  });

  it('reads the largest frame byte by byte', () => {
    const decoder = new RtspDecoder();
    const frame = encodeInterleaved(255, Buffer.alloc(65535, 1));
    const events = [...frame].flatMap((byte) => decoder.push(Uint8Array.of(byte)));
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ channel: 255 });
    expect(decoder.heldBytes).toBe(0);
  });

  it('gives every error a status', () => {
    expect(statusOfProtocolError('unsupported-version')).toBe(505);
    expect(statusOfProtocolError('url-too-long')).toBe(414);
    expect(statusOfProtocolError('head-too-large')).toBe(413);
    expect(statusOfProtocolError('bad-header')).toBe(400);
  });
});

describe('the writer', () => {
  const body = Buffer.from('v=0\r\n');

  it('writes what the decoder reads', () => {
    const headers = RtspHeaders.of({ CSeq: '3', 'X-Name': 'Jürgen' });
    const request = { method: 'ANNOUNCE', url: 'rtsp://h/p', headers, body };
    expect(decode(encodeRequest(request))).toMatchObject([
      { ...request, headers: { entries: expect.arrayContaining([['X-Name', 'Jürgen']]) } },
    ]);
    const response = { status: 453, reason: '', headers, body: Buffer.alloc(0) };
    expect(decode(encodeResponse(response))).toMatchObject([{ status: 453, reason: 'Not Enough Bandwidth', headers }]);
  });

  it('counts the body itself', () => {
    const headers = RtspHeaders.of([['Content-Length', '99']]);
    expect(encodeResponse({ status: 200, reason: '', headers, body }).toString()).toBe(
      'RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nv=0\r\n',
    );
  });

  it.each([
    ['a header', { headers: RtspHeaders.of([['X', 'a\r\nY: b']]) }],
    ['a header with a name of two words', { headers: RtspHeaders.of([['X Y', 'a']]) }],
    ['a URL', { url: 'rtsp://h/\r\nX: a' }],
    ['a URL with a blank', { url: 'rtsp://h/a b' }],
    ['a method', { method: 'OPTIONS *' }],
  ])('refuses %s that would break out of its line', (_name, part) => {
    const request = { method: 'OPTIONS', url: '*', headers: RtspHeaders.of(), body, ...part };
    expect(() => encodeRequest(request)).toThrow(/bad-(header|start-line)/);
  });

  it('refuses a reason that would break out of its line', () => {
    expect(() => encodeResponse({ status: 200, reason: 'a\nb', headers: RtspHeaders.of(), body })).toThrow(
      'bad-start-line',
    );
  });

  it('refuses a frame that is too large', () => {
    expect(() => interleavedHeader(0, 65536)).toThrow(RangeError);
  });
});
