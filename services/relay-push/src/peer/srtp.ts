import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import { rtpHeaderBytes, sequenceNumberOf, ssrcOf } from '@weir/frames';
import { ReplayWindow } from './replay-window.js';

/** The profiles' numbers in the DTLS extension use_srtp (RFC 5764, RFC 7714). */
export const SRTP_PROFILES = { aesCmSha1: 0x0001, aesGcm: 0x0007 } as const;
export type SrtpProfile = (typeof SRTP_PROFILES)[keyof typeof SRTP_PROFILES];

export interface SrtpKey {
  readonly profile: SrtpProfile;
  /** 16 bytes. */
  readonly masterKey: Buffer;
  /** 14 bytes; 12 with AES-GCM. */
  readonly masterSalt: Buffer;
}

const SHA1_TAG_BYTES = 10;
const GCM_TAG_BYTES = 16;
const SRTCP_INDEX_BYTES = 4;
const RTCP_HEADER_BYTES = 8;
const MAX_SRTCP_INDEX = 0x7fff_ffff;
const LABELS = {
  rtp: { encryption: 0, authentication: 1, salt: 2 },
  rtcp: { encryption: 3, authentication: 4, salt: 5 },
} as const;

interface SessionKeys {
  readonly encryption: Buffer;
  readonly authentication: Buffer;
  readonly salt: Buffer;
}

/** RFC 3711 section 4.3, with a key derivation rate of 0. */
const derive = ({ masterKey, masterSalt }: SrtpKey, label: number, bytes: number): Buffer => {
  const iv = Buffer.alloc(16);
  masterSalt.copy(iv);
  iv[7] = (iv[7] ?? 0) ^ label;
  return createCipheriv('aes-128-ctr', masterKey, iv).update(Buffer.alloc(bytes));
};

const sessionKeys = (key: SrtpKey, labels: (typeof LABELS)['rtp' | 'rtcp']): SessionKeys => ({
  encryption: derive(key, labels.encryption, 16),
  authentication: derive(key, labels.authentication, 20),
  salt: derive(key, labels.salt, key.profile === SRTP_PROFILES.aesGcm ? 12 : 14),
});

const xorWith = (target: Buffer, salt: Buffer): Buffer => {
  for (let index = 0; index < salt.length; index += 1) target[index] = (target[index] ?? 0) ^ (salt[index] ?? 0);
  return target;
};

/** `high` and `low` are the upper 32 and lower 16 bits of the packet's index; SRTCP's index is split likewise. */
const counterIv = (salt: Buffer, ssrc: number, high: number, low: number): Buffer => {
  const iv = Buffer.alloc(16);
  iv.writeUInt32BE(ssrc, 4);
  iv.writeUInt32BE(high, 8);
  iv.writeUInt16BE(low, 12);
  return xorWith(iv, salt);
};

const gcmIv = (salt: Buffer, ssrc: number, high: number, low: number): Buffer => {
  const iv = Buffer.alloc(12);
  iv.writeUInt32BE(ssrc, 2);
  iv.writeUInt32BE(high, 6);
  iv.writeUInt16BE(low, 10);
  return xorWith(iv, salt);
};

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

/**
 * The packet's index (RFC 3711 section 3.3.1): of all indexes that end in this sequence number, the one nearest to the
 * highest so far. Never below 0.
 */
const indexOf = (sequenceNumber: number, highest: number | undefined): number => {
  if (highest === undefined) return sequenceNumber;
  const base = highest - (highest % 0x1_0000);
  const candidate = base + sequenceNumber;
  if (candidate - highest > 0x8000 && base > 0) return candidate - 0x1_0000;
  return highest - candidate > 0x8000 ? candidate + 0x1_0000 : candidate;
};

/** Protects the packets that one end sends: SRTP and SRTCP of all its SSRCs. */
export class SrtpSender {
  readonly #rtp: SessionKeys;
  readonly #rtcp: SessionKeys;
  readonly #highest = new Map<number, number>();
  #srtcpIndex = 0;

  constructor(private readonly key: SrtpKey) {
    this.#rtp = sessionKeys(key, LABELS.rtp);
    this.#rtcp = sessionKeys(key, LABELS.rtcp);
  }

  /** Never protect the same packet twice: send the protected packet again. Throws RangeError for malformed RTP. */
  protectRtp(header: Buffer, payload: Buffer): Buffer {
    if (rtpHeaderBytes(header) !== header.length) throw new RangeError('Not the header of an RTP packet');
    const ssrc = ssrcOf(header);
    const highest = this.#highest.get(ssrc);
    const index = indexOf(sequenceNumberOf(header), highest);
    if (highest === undefined || index > highest) this.#highest.set(ssrc, index);
    const rollover = Math.floor(index / 0x1_0000);
    const sequenceNumber = index % 0x1_0000;
    if (this.key.profile === SRTP_PROFILES.aesGcm) {
      const iv = gcmIv(this.#rtp.salt, ssrc, rollover, sequenceNumber);
      const cipher = createCipheriv('aes-128-gcm', this.#rtp.encryption, iv);
      cipher.setAAD(header);
      const encrypted = cipher.update(payload);
      cipher.final();
      return Buffer.concat([header, encrypted, cipher.getAuthTag()]);
    }
    const iv = counterIv(this.#rtp.salt, ssrc, rollover, sequenceNumber);
    const encrypted = createCipheriv('aes-128-ctr', this.#rtp.encryption, iv).update(payload);
    const tag = sha1Tag(this.#rtp.authentication, header, encrypted, uint32(rollover));
    return Buffer.concat([header, encrypted, tag]);
  }

  protectRtcp(packet: Buffer): Buffer {
    this.#srtcpIndex = this.#srtcpIndex === MAX_SRTCP_INDEX ? 0 : this.#srtcpIndex + 1;
    const index = this.#srtcpIndex;
    const header = packet.subarray(0, RTCP_HEADER_BYTES);
    const body = packet.subarray(RTCP_HEADER_BYTES);
    const ssrc = packet.readUInt32BE(4);
    const trailer = uint32(0x8000_0000 + index);
    if (this.key.profile === SRTP_PROFILES.aesGcm) {
      const iv = gcmIv(this.#rtcp.salt, ssrc, index >>> 16, index & 0xffff);
      const cipher = createCipheriv('aes-128-gcm', this.#rtcp.encryption, iv);
      cipher.setAAD(Buffer.concat([header, trailer]));
      const encrypted = cipher.update(body);
      cipher.final();
      return Buffer.concat([header, encrypted, cipher.getAuthTag(), trailer]);
    }
    const iv = counterIv(this.#rtcp.salt, ssrc, index >>> 16, index & 0xffff);
    const encrypted = createCipheriv('aes-128-ctr', this.#rtcp.encryption, iv).update(body);
    return Buffer.concat([
      ...[header, encrypted, trailer],
      sha1Tag(this.#rtcp.authentication, header, encrypted, trailer),
    ]);
  }
}

interface ReceivedSource {
  highest: number;
  readonly window: ReplayWindow;
}

/** More SSRCs than this from one peer are an attack or a mistake. */
const MAX_SOURCES = 32;

/**
 * Removes the protection of the packets that the other end sent. Returns undefined for a forged, repeated or malformed
 * packet.
 */
export class SrtpReceiver {
  readonly #rtp: SessionKeys;
  readonly #rtcp: SessionKeys;
  readonly #sources = new Map<number, ReceivedSource>();
  readonly #rtcpWindows = new Map<number, ReplayWindow>();

  constructor(private readonly key: SrtpKey) {
    this.#rtp = sessionKeys(key, LABELS.rtp);
    this.#rtcp = sessionKeys(key, LABELS.rtcp);
  }

  unprotectRtp(packet: Buffer): Buffer | undefined {
    const headerBytes = rtpHeaderBytes(packet);
    const tagBytes = this.key.profile === SRTP_PROFILES.aesGcm ? GCM_TAG_BYTES : SHA1_TAG_BYTES;
    if (headerBytes === undefined || packet.length < headerBytes + tagBytes) return undefined;
    const ssrc = ssrcOf(packet);
    const source = this.#sources.get(ssrc);
    if (source === undefined && this.#sources.size >= MAX_SOURCES) return undefined;
    const index = indexOf(sequenceNumberOf(packet), source?.highest);
    if (source?.window.hasSeen(index) === true) return undefined;
    const plain = this.#openRtp(packet, headerBytes, ssrc, index);
    if (plain === undefined) return undefined;
    // Only an authentic packet may move the index.
    const known = source ?? { highest: index, window: new ReplayWindow() };
    known.highest = Math.max(known.highest, index);
    known.window.add(index);
    if (source === undefined) this.#sources.set(ssrc, known);
    return plain;
  }

  unprotectRtcp(packet: Buffer): Buffer | undefined {
    const tagBytes = this.key.profile === SRTP_PROFILES.aesGcm ? GCM_TAG_BYTES : SHA1_TAG_BYTES;
    if (packet.length < RTCP_HEADER_BYTES + SRTCP_INDEX_BYTES + tagBytes) return undefined;
    const ssrc = packet.readUInt32BE(4);
    const plain = this.key.profile === SRTP_PROFILES.aesGcm ? this.#openGcmRtcp(packet) : this.#openSha1Rtcp(packet);
    if (plain === undefined) return undefined;
    const window = this.#rtcpWindows.get(ssrc) ?? new ReplayWindow();
    if (window.hasSeen(plain.index)) return undefined;
    window.add(plain.index);
    if (this.#rtcpWindows.size < MAX_SOURCES) this.#rtcpWindows.set(ssrc, window);
    return plain.packet;
  }

  #openRtp(packet: Buffer, headerBytes: number, ssrc: number, index: number): Buffer | undefined {
    const { encryption, authentication, salt } = this.#rtp;
    const rollover = Math.floor(index / 0x1_0000);
    const sequenceNumber = index % 0x1_0000;
    const header = packet.subarray(0, headerBytes);
    if (this.key.profile === SRTP_PROFILES.aesGcm) {
      const body = packet.subarray(headerBytes);
      const opened = openGcm(encryption, gcmIv(salt, ssrc, rollover, sequenceNumber), header, body);
      return opened && Buffer.concat([header, opened]);
    }
    const body = packet.subarray(headerBytes, packet.length - SHA1_TAG_BYTES);
    const tag = sha1Tag(authentication, header, body, uint32(rollover));
    if (!timingSafeEqual(tag, packet.subarray(packet.length - SHA1_TAG_BYTES))) return undefined;
    const iv = counterIv(salt, ssrc, rollover, sequenceNumber);
    return Buffer.concat([header, createDecipheriv('aes-128-ctr', encryption, iv).update(body)]);
  }

  #openGcmRtcp(packet: Buffer): { packet: Buffer; index: number } | undefined {
    const trailerAt = packet.length - SRTCP_INDEX_BYTES;
    const trailer = packet.subarray(trailerAt);
    const index = trailer.readUInt32BE(0) & MAX_SRTCP_INDEX;
    if ((trailer.readUInt8(0) & 0x80) === 0) return undefined;
    const header = packet.subarray(0, RTCP_HEADER_BYTES);
    const iv = gcmIv(this.#rtcp.salt, packet.readUInt32BE(4), index >>> 16, index & 0xffff);
    const additional = Buffer.concat([header, trailer]);
    const opened = openGcm(this.#rtcp.encryption, iv, additional, packet.subarray(RTCP_HEADER_BYTES, trailerAt));
    return opened && { packet: Buffer.concat([header, opened]), index };
  }

  #openSha1Rtcp(packet: Buffer): { packet: Buffer; index: number } | undefined {
    const tagAt = packet.length - SHA1_TAG_BYTES;
    const trailerAt = tagAt - SRTCP_INDEX_BYTES;
    const header = packet.subarray(0, RTCP_HEADER_BYTES);
    const body = packet.subarray(RTCP_HEADER_BYTES, trailerAt);
    const trailer = packet.subarray(trailerAt, tagAt);
    const tag = sha1Tag(this.#rtcp.authentication, header, body, trailer);
    if (!timingSafeEqual(tag, packet.subarray(tagAt))) return undefined;
    const index = trailer.readUInt32BE(0) & MAX_SRTCP_INDEX;
    if ((trailer.readUInt8(0) & 0x80) === 0) return { packet: Buffer.concat([header, body]), index };
    const iv = counterIv(this.#rtcp.salt, packet.readUInt32BE(4), index >>> 16, index & 0xffff);
    const opened = createDecipheriv('aes-128-ctr', this.#rtcp.encryption, iv).update(body);
    return { packet: Buffer.concat([header, opened]), index };
  }
}

function sha1Tag(key: Buffer, ...parts: Buffer[]): Buffer {
  const hmac = createHmac('sha1', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest().subarray(0, SHA1_TAG_BYTES);
}

function openGcm(key: Buffer, iv: Buffer, additional: Buffer, sealed: Buffer): Buffer | undefined {
  const decipher = createDecipheriv('aes-128-gcm', key, iv, { authTagLength: GCM_TAG_BYTES });
  decipher.setAAD(additional);
  decipher.setAuthTag(sealed.subarray(sealed.length - GCM_TAG_BYTES));
  const opened = decipher.update(sealed.subarray(0, sealed.length - GCM_TAG_BYTES));
  try {
    decipher.final();
    return opened;
  } catch (error) {
    // Node has no error code for a wrong tag, but nothing else can fail here.
    if (error instanceof Error) return undefined;
    throw error;
  }
}
