import { Buffer } from 'node:buffer';
import { type HeaderEntry, RtspHeaders } from './headers.js';
import type { RtspEvent, RtspRequest, RtspResponse } from './messages.js';
import { reasonOf } from './messages.js';
import { RtspProtocolError } from './protocol-error.js';

export interface DecoderLimits {
  /** Limit for start line and headers together. */
  readonly headBytes: number;
  readonly bodyBytes: number;
  /** Limit for a request's URL, in characters. */
  readonly urlLength: number;
}

export const DEFAULT_DECODER_LIMITS: DecoderLimits = { headBytes: 16 * 1024, bodyBytes: 64 * 1024, urlLength: 4096 };

const DOLLAR = 0x24;
const CR = 0x0d;
const LF = 0x0a;
const FRAME_HEADER_BYTES = 4;

/** What was read at one place: an empty line makes no event. */
type Taken = { readonly bytes: number; readonly event?: RtspEvent };
const EMPTY_LINE_BYTE: Taken = { bytes: 1 };

type Head = { readonly message: RtspRequest | RtspResponse; readonly headBytes: number; readonly bodyBytes: number };

/**
 * Reads RTSP/1.0 messages and interleaved frames from a byte stream that may be split anywhere. It holds at most one
 * unfinished message or frame. If an element arrives in one piece, the result is a view of the pushed bytes.
 */
export class RtspDecoder {
  #limits: DecoderLimits;
  /** Bytes of an unfinished message or frame. */
  #store = Buffer.alloc(0);
  #length = 0;
  /** Reading again makes no sense before this many bytes are held. */
  #needBytes = 1;
  /** The search for the end of the head in the store has come this far. */
  #scannedBytes = 0;
  #head: Head | undefined;
  #broken = false;

  constructor(limits: Partial<DecoderLimits> = {}) {
    this.#limits = { ...DEFAULT_DECODER_LIMITS, ...limits };
  }

  /** Number of bytes held for an unfinished message or frame. */
  get heldBytes(): number {
    return this.#length;
  }

  /** As `read`, all at once. */
  push(bytes: Uint8Array): RtspEvent[] {
    return [...this.read(bytes)];
  }

  /**
   * Reads each message and frame when it is asked for, so the reader of a connection can stop in the middle of a piece
   * that holds thousands; it must not go on with later bytes then. After a `malformed` event, all further bytes are
   * dropped.
   */
  *read(bytes: Uint8Array): Generator<RtspEvent, void> {
    if (this.#broken || bytes.length === 0) return;
    const fresh = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.#length === 0) {
      yield* this.#read(fresh);
      return;
    }
    this.#hold(fresh);
    if (this.#length >= this.#needBytes) yield* this.#read(this.#store.subarray(0, this.#length));
  }

  #hold(bytes: Buffer): void {
    const wanted = this.#length + bytes.length;
    if (wanted > this.#store.length) {
      const grown = Buffer.allocUnsafe(Math.max(wanted, this.#store.length * 2));
      this.#store.copy(grown, 0, 0, this.#length);
      this.#store = grown;
    }
    bytes.copy(this.#store, this.#length);
    this.#length = wanted;
  }

  *#read(data: Buffer): Generator<RtspEvent, void> {
    let offset = 0;
    try {
      for (;;) {
        const taken = this.#take(data, offset);
        if (taken === undefined) break;
        offset += taken.bytes;
        if (taken.event !== undefined) yield taken.event;
      }
    } catch (error) {
      if (!(error instanceof RtspProtocolError)) throw error;
      this.#broken = true;
      this.#store = Buffer.alloc(0);
      this.#length = 0;
      this.#head = undefined;
      yield { tag: 'malformed', error, cseq: cseqIn(data, offset, error) };
      return;
    }
    this.#keep(data, offset);
  }

  /** Events may already have views of the old store, so the rest moves to a new one. */
  #keep(data: Buffer, offset: number): void {
    const rest = data.length - offset;
    if (offset === 0 && this.#length > 0) return;
    this.#store = rest === 0 ? Buffer.alloc(0) : Buffer.from(data.subarray(offset));
    this.#length = rest;
  }

  /** Reads one message, frame or empty line at `offset`; undefined if more bytes are needed. */
  #take(data: Buffer, offset: number): Taken | undefined {
    const first = data[offset];
    if (first === undefined) return this.#wait(1);
    if (this.#head === undefined && (first === CR || first === LF)) return EMPTY_LINE_BYTE;
    if (first === DOLLAR) return this.#takeFrame(data, offset);
    return this.#takeMessage(data, offset);
  }

  #takeFrame(data: Buffer, offset: number): Taken | undefined {
    if (data.length - offset < FRAME_HEADER_BYTES) return this.#wait(FRAME_HEADER_BYTES);
    const total = FRAME_HEADER_BYTES + data.readUInt16BE(offset + 2);
    if (data.length - offset < total) return this.#wait(total);
    const channel = data.readUInt8(offset + 1);
    const payload = data.subarray(offset + FRAME_HEADER_BYTES, offset + total);
    return { bytes: total, event: { tag: 'interleaved', channel, data: payload } };
  }

  #takeMessage(data: Buffer, offset: number): Taken | undefined {
    this.#head ??= this.#readHead(data, offset);
    const held = data.length - offset;
    if (this.#head === undefined) return this.#wait(held + 1);
    const { message, headBytes, bodyBytes } = this.#head;
    if (held < headBytes + bodyBytes) return this.#wait(headBytes + bodyBytes);
    this.#head = undefined;
    const body = data.subarray(offset + headBytes, offset + headBytes + bodyBytes);
    return { bytes: headBytes + bodyBytes, event: { ...message, body } };
  }

  #readHead(data: Buffer, offset: number): Head | undefined {
    const first = data.readUInt8(offset);
    if (!isLetter(first)) throw new RtspProtocolError('bad-start-line', 'a message begins with a letter');
    const end = endOfHead(data, offset, offset + this.#scannedBytes);
    const headBytes = (end ?? data.length) - offset;
    if (headBytes > this.#limits.headBytes) {
      throw new RtspProtocolError('head-too-large', `more than ${this.#limits.headBytes} bytes`);
    }
    if (end === undefined) {
      this.#scannedBytes = Math.max(0, headBytes - 2);
      return undefined;
    }
    this.#scannedBytes = 0;
    const message = parseHead(data.toString('utf8', offset, end), this.#limits.urlLength);
    const bodyBytes = contentLength(message.headers);
    if (bodyBytes > this.#limits.bodyBytes) {
      throw new RtspProtocolError('body-too-large', `${bodyBytes} of at most ${this.#limits.bodyBytes} bytes`);
    }
    return { message, headBytes, bodyBytes };
  }

  #wait(needBytes: number): undefined {
    this.#needBytes = needBytes;
    return undefined;
  }
}

function isLetter(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
}

/** The offset after the empty line. Lines may end in LF alone. */
function endOfHead(data: Buffer, offset: number, from: number): number | undefined {
  for (let at = data.indexOf(LF, Math.max(offset, from)); at !== -1; at = data.indexOf(LF, at + 1)) {
    if (data[at + 1] === LF) return at + 2;
    if (data[at + 1] === CR && data[at + 2] === LF) return at + 3;
  }
  return undefined;
}

function parseHead(text: string, urlLength: number): RtspRequest | RtspResponse {
  const [start = '', ...lines] = text.split(/\r?\n/);
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(start)) throw new RtspProtocolError('bad-start-line', 'control character');
  const headers = parseHeaders(lines);
  return start.startsWith('RTSP/') ? parseStatusLine(start, headers) : parseRequestLine(start, headers, urlLength);
}

function parseStatusLine(line: string, headers: RtspHeaders): RtspResponse {
  const match = /^RTSP\/(\d)\.\d +(\d{3})(?: (.*))?$/.exec(line.trimEnd());
  if (!match) throw new RtspProtocolError('bad-start-line', 'no status line');
  const [, major, status, reason] = match;
  if (major !== '1') throw new RtspProtocolError('unsupported-version', `RTSP/${major}`);
  return { tag: 'response', status: Number(status), reason: reason ?? '', headers, body: EMPTY };
}

/** The URL is everything between the method and the version, so a URL with unescaped blanks is accepted too. */
function parseRequestLine(line: string, headers: RtspHeaders, urlLength: number): RtspRequest {
  const trimmed = line.trimEnd();
  const firstBlank = trimmed.indexOf(' ');
  const lastBlank = trimmed.lastIndexOf(' ');
  if (firstBlank === -1 || firstBlank === lastBlank) throw new RtspProtocolError('bad-start-line', 'no request line');
  const method = trimmed.slice(0, firstBlank);
  const url = trimmed.slice(firstBlank + 1, lastBlank).trim();
  const version = /^RTSP\/(\d)\.\d$/.exec(trimmed.slice(lastBlank + 1));
  if (!version || !/^[A-Za-z_$-]{1,32}$/.test(method) || url === '') {
    throw new RtspProtocolError('bad-start-line', 'no RTSP request line');
  }
  if (version[1] !== '1') throw new RtspProtocolError('unsupported-version', `RTSP/${version[1]}`);
  if (url.length > urlLength) throw new RtspProtocolError('url-too-long', `${url.length} of at most ${urlLength}`);
  return { tag: 'request', method, url, headers, body: EMPTY };
}

const EMPTY = Buffer.alloc(0);

function parseHeaders(lines: readonly string[]): RtspHeaders {
  const entries: HeaderEntry[] = [];
  for (const line of lines) {
    if (line === '') continue;
    // eslint-disable-next-line no-control-regex -- control characters are what is looked for
    if (/[\0-\x08\x0a-\x1f\x7f]/.test(line)) throw new RtspProtocolError('bad-header', 'control character');
    const last = entries.at(-1);
    if (last && (line.startsWith(' ') || line.startsWith('\t'))) {
      entries[entries.length - 1] = [last[0], `${last[1]} ${line.trim()}`];
      continue;
    }
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).trimEnd();
    if (colon < 1 || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) {
      throw new RtspProtocolError('bad-header', 'no name before a colon');
    }
    entries.push([name, line.slice(colon + 1).trim()]);
  }
  return RtspHeaders.of(entries);
}

function contentLength(headers: RtspHeaders): number {
  const values = new Set(headers.all('Content-Length'));
  if (values.size === 0) return 0;
  const [value = ''] = values;
  if (values.size > 1 || !/^\d{1,9}$/.test(value)) throw new RtspProtocolError('bad-content-length', 'no one number');
  return Number(value);
}

/** The CSeq of a message whose head is complete but can't be parsed; the answer needs it. */
function cseqIn(data: Buffer, offset: number, { code }: RtspProtocolError): number | undefined {
  const end = endOfHead(data, offset, offset);
  if (end === undefined || code === 'head-too-large' || !isLetter(data.readUInt8(offset))) return undefined;
  const match = /^cseq[ \t]*:[ \t]*(\d{1,10})[ \t]*\r?$/im.exec(data.toString('latin1', offset, end));
  return match ? Number(match[1]) : undefined;
}

/** @throws RtspProtocolError `bad-header` or `bad-start-line` if a value would break out of its line. */
export function encodeRequest(request: Omit<RtspRequest, 'tag'>): Buffer {
  if (!/^[A-Z_]+$/.test(request.method) || !isLine(request.url) || /\s/.test(request.url)) {
    throw new RtspProtocolError('bad-start-line', "method or URL can't be written");
  }
  return encode(`${request.method} ${request.url} RTSP/1.0`, request.headers, request.body);
}

/** @throws RtspProtocolError `bad-header` or `bad-start-line` if a value would break out of its line. */
export function encodeResponse(response: Omit<RtspResponse, 'tag'>): Buffer {
  const reason = response.reason || reasonOf(response.status);
  if (!isLine(reason)) throw new RtspProtocolError('bad-start-line', "reason can't be written");
  return encode(`RTSP/1.0 ${response.status} ${reason}`, response.headers, response.body);
}

/** Only this function writes Content-Length. */
function encode(startLine: string, headers: RtspHeaders, body: Buffer): Buffer {
  let head = `${startLine}\r\n`;
  for (const [name, value] of headers.entries) {
    if (!/^[A-Za-z-]+$/.test(name) || !isLine(value)) throw new RtspProtocolError('bad-header', name);
    if (name.toLowerCase() !== 'content-length') head += `${name}: ${value}\r\n`;
  }
  if (body.length > 0) head += `Content-Length: ${body.length}\r\n`;
  return Buffer.concat([Buffer.from(`${head}\r\n`, 'utf8'), body]);
}

function isLine(text: string): boolean {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return !/[\0-\x08\x0a-\x1f\x7f]/.test(text);
}

/** The four bytes before an interleaved frame, so that frame and payload can be written without copying the payload. */
export function interleavedHeader(channel: number, payloadBytes: number): Buffer {
  if (payloadBytes > 0xffff)
    throw new RangeError(`an interleaved frame holds at most 65535 bytes, not ${payloadBytes}`);
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  header.writeUInt8(DOLLAR, 0);
  header.writeUInt8(channel, 1);
  header.writeUInt16BE(payloadBytes, 2);
  return header;
}

export function encodeInterleaved(channel: number, payload: Uint8Array): Buffer {
  return Buffer.concat([interleavedHeader(channel, payload.length), payload]);
}
