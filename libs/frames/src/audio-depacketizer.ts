import { Buffer } from 'node:buffer';

import { type AacConfig, parseAacConfig } from './aac-config.js';
import { BitReader } from './bit-reader.js';
import { type AudioCodec, concatBytes, type Depacketizer, type Frame, type TimedPayload } from './frame.js';

/** Opus (RFC 7587): each RTP packet holds one Opus packet. G.711 (RFC 3551): one byte per sample and channel. */
export class PacketAudioDepacketizer implements Depacketizer {
  readonly #codec: 'opus' | 'PCMU' | 'PCMA';
  readonly #channels: number;

  constructor(codec: 'opus' | 'PCMU' | 'PCMA', channels: number) {
    this.#codec = codec;
    this.#channels = channels;
  }

  push({ payload, timestamp, lostBefore }: TimedPayload): Frame[] {
    const durationTicks =
      this.#codec === 'opus' ? opusDurationTicks(payload) : Math.floor(payload.length / this.#channels);
    if (durationTicks === 0) return [];
    return [audioFrame(this.#codec, payload, timestamp, durationTicks, lostBefore)];
  }

  flush(): Frame[] {
    return [];
  }
}

const OPUS_TICKS_PER_MS = 48;
const OPUS_MAX_MS = 120;

/** Duration of an Opus packet at 48 kHz, from its TOC byte (RFC 6716 §3.1); 0 if the packet isn't valid Opus. */
export function opusDurationTicks(packet: Uint8Array): number {
  if (packet.length === 0) return 0;
  const configuration = packet[0]! >> 3;
  const frameMs =
    configuration < 12
      ? [10, 20, 40, 60][configuration & 3]!
      : configuration < 16
        ? [10, 20][configuration & 1]!
        : [2.5, 5, 10, 20][configuration & 3]!;
  const code = packet[0]! & 3;
  const frames = code === 0 ? 1 : code === 3 ? (packet[1] ?? 0) & 0x3f : 2;
  const durationMs = frames * frameMs;
  return durationMs > OPUS_MAX_MS ? 0 : durationMs * OPUS_TICKS_PER_MS;
}

/** RFC 3640, modes AAC-hbr and AAC-lbr: a packet holds several access units, or one unit spans several packets. */
export class AacDepacketizer implements Depacketizer {
  readonly config: AacConfig | undefined;
  readonly #sizeBits: number;
  readonly #indexBits: number;
  readonly #indexDeltaBits: number;
  readonly #unitTicks: number;
  #fragments: Uint8Array[] = [];
  #fragmentBytes = 0;
  #lost = false;

  constructor(fmtp: Readonly<Record<string, unknown>>, clockRate: number) {
    const number = (key: string, missing: number) => {
      const value = Number(fmtp[key] ?? missing);
      return Number.isInteger(value) && value >= 0 && value <= 0xffff ? value : missing;
    };
    this.config = aacConfigOf(fmtp);
    this.#sizeBits = Math.min(number('sizelength', 13), 32);
    this.#indexBits = Math.min(number('indexlength', 3), 32);
    this.#indexDeltaBits = Math.min(number('indexdeltalength', 3), 32);
    const { frameSamples = 1024, sampleRate = clockRate } = this.config ?? {};
    this.#unitTicks = number('constantduration', 0) || Math.round((frameSamples * clockRate) / sampleRate);
  }

  push({ payload, marker, timestamp, lostBefore }: TimedPayload): Frame[] {
    if (lostBefore) {
      this.#lost = true;
      this.#dropFragments();
    }
    const headersBits = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
    const dataStart = 2 + Math.ceil(headersBits / 8);
    const firstBits = this.#sizeBits + this.#indexBits;
    if (payload.length < 3 || this.#sizeBits === 0 || headersBits < firstBits || dataStart >= payload.length) return [];
    const headers = new BitReader(payload.subarray(2, dataStart));
    const frames: Frame[] = [];
    let offset = dataStart;
    let left = headersBits;
    let unitTimestamp = timestamp;
    for (let index = 0; left >= this.#sizeBits + (index ? this.#indexDeltaBits : this.#indexBits); index++) {
      const size = headers.bits(this.#sizeBits);
      const skipped = headers.bits(index ? this.#indexDeltaBits : this.#indexBits);
      left -= this.#sizeBits + (index ? this.#indexDeltaBits : this.#indexBits);
      if (index > 0) unitTimestamp += this.#unitTicks * (1 + skipped);
      const data = payload.subarray(offset, offset + size);
      offset += size;
      if (data.length === size) frames.push(this.#frame(data, unitTimestamp));
      else if (index === 0) return this.#fragment(data, size, marker, unitTimestamp);
      else break;
    }
    return frames;
  }

  flush(): Frame[] {
    this.#dropFragments();
    return [];
  }

  #fragment(data: Uint8Array, size: number, marker: boolean, timestamp: number): Frame[] {
    this.#fragments.push(data);
    this.#fragmentBytes += data.length;
    if (this.#fragmentBytes < size && !marker) return [];
    const unit = concatBytes(this.#fragments);
    const isWhole = this.#fragmentBytes === size;
    this.#dropFragments();
    if (isWhole) return [this.#frame(unit, timestamp)];
    this.#lost = true;
    return [];
  }

  #frame(data: Uint8Array, timestamp: number): Frame {
    const frame = audioFrame('MPEG4-GENERIC', data, timestamp, this.#unitTicks, this.#lost);
    this.#lost = false;
    return frame;
  }

  #dropFragments(): void {
    this.#fragments = [];
    this.#fragmentBytes = 0;
  }
}

/** The AudioSpecificConfig that an SDP carries in hexadecimal digits (`config=1190`). */
export function aacConfigBytes(fmtp: Readonly<Record<string, unknown>>): Uint8Array | undefined {
  const hex = String(fmtp['config'] ?? '');
  return /^([0-9a-f]{2}){2,64}$/i.test(hex) ? new Uint8Array(Buffer.from(hex, 'hex')) : undefined;
}

function aacConfigOf(fmtp: Readonly<Record<string, unknown>>): AacConfig | undefined {
  const bytes = aacConfigBytes(fmtp);
  return bytes && parseAacConfig(bytes);
}

const audioFrame = (
  codec: AudioCodec,
  data: Uint8Array,
  rtpTimestamp: number,
  durationTicks: number,
  lost: boolean,
): Frame => ({ kind: 'audio', codec, data, rtpTimestamp, durationTicks, lost, complete: true, isKeyFrame: true });
