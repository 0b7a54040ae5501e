import { type RtpNumbers, type TrackDescription, writeRtpPacket } from '@weir/frames';

export const VP8_TRACK: TrackDescription = {
  kind: 'video',
  codec: 'VP8',
  clockRate: 90_000,
  channels: 0,
  parameters: {},
};
export const H264_TRACK: TrackDescription = {
  ...{ kind: 'video', codec: 'H264', clockRate: 90_000, channels: 0 },
  parameters: { 'packetization-mode': '1' },
};
export const OPUS_TRACK: TrackDescription = {
  ...{ kind: 'audio', codec: 'opus', clockRate: 48_000, channels: 2, parameters: {} },
};

const SPS = Uint8Array.of(0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0x88);
const PPS = Uint8Array.of(0x68, 0xce, 0x3c, 0x80);

/** Makes RTP packets of one track whose content only looks like coded media. */
export class SyntheticTrack {
  readonly numbers: { -readonly [name in keyof RtpNumbers]: RtpNumbers[name] };

  constructor(
    readonly description: TrackDescription,
    numbers: Partial<RtpNumbers> = {},
  ) {
    this.numbers = { payloadType: 96, sequenceNumber: 1_000, timestamp: 0, ssrc: 0x1111, ...numbers };
  }

  /** The packets of one picture, or one packet of Opus with that many frames of 20 ms. */
  frame(
    ms: number,
    { isKeyFrame = false, width = 320, height = 240, bytes = 200, soundFrames = 1 } = {},
  ): Uint8Array[] {
    switch (this.description.codec) {
      case 'VP8':
        return [this.#packet(ms, true, vp8Payload(isKeyFrame, width, height, bytes))];
      case 'H264': {
        const slice = new Uint8Array(bytes).fill(0x55);
        slice.set(isKeyFrame ? [0x65, 0x88, 0x84] : [0x41, 0x9a, 0x24]);
        const sets = isKeyFrame ? [this.#packet(ms, false, SPS), this.#packet(ms, false, PPS)] : [];
        return [...sets, this.#packet(ms, true, slice)];
      }
      default:
        return [this.#packet(ms, false, opusPayload(soundFrames))];
    }
  }

  #packet(ms: number, marker: boolean, payload: Uint8Array): Uint8Array {
    const timestamp = this.numbers.timestamp + Math.round((ms * this.description.clockRate) / 1000);
    const packet = writeRtpPacket({ ...this.numbers, timestamp: timestamp % 2 ** 32, marker }, payload);
    this.numbers.sequenceNumber = (this.numbers.sequenceNumber + 1) & 0xffff;
    return packet;
  }
}

/** RFC 6716 §3.2: one frame, or several of constant size with their number. */
function opusPayload(frames: number): Uint8Array {
  const payload = new Uint8Array(44).fill(0x33);
  payload.set(frames === 1 ? [0xfc] : [0xff, frames]);
  return payload;
}

function vp8Payload(isKeyFrame: boolean, width: number, height: number, bytes: number): Uint8Array {
  const payload = new Uint8Array(1 + bytes).fill(0x44);
  payload[0] = 0x10;
  payload[1] = isKeyFrame ? 0x10 : 0x11;
  if (isKeyFrame) payload.set([0x9d, 0x01, 0x2a, width & 0xff, width >> 8, height & 0xff, height >> 8], 4);
  return payload;
}
