import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import { RtpHeader, RtpPacket, SrtcpSession, SrtpSession } from 'werift';
import { describe, expect, it } from 'vitest';
import { ReplayWindow } from './replay-window.js';
import { SRTP_PROFILES, SrtpReceiver, SrtpSender, type SrtpKey, type SrtpProfile } from './srtp.js';

const newKey = (profile: SrtpProfile): SrtpKey => ({
  profile,
  masterKey: randomBytes(16),
  masterSalt: randomBytes(profile === SRTP_PROFILES.aesGcm ? 12 : 14),
});

const rtp = (sequenceNumber: number, { ssrc = 7, payload = randomBytes(100) } = {}): Buffer => {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(0x90, 0);
  header.writeUInt8(96, 1);
  header.writeUInt16BE(sequenceNumber & 0xffff, 2);
  header.writeUInt32BE(1_000, 4);
  header.writeUInt32BE(ssrc, 8);
  header.writeUInt32BE(0xbede_0001, 12);
  header.writeUInt32BE(0x3200_0000, 16);
  return Buffer.concat([header, payload]);
};

const HEADER_BYTES = 20;

const protect = (sender: SrtpSender, packet: Buffer): Buffer =>
  sender.protectRtp(packet.subarray(0, HEADER_BYTES), packet.subarray(HEADER_BYTES));

const senderReport = (): Buffer => {
  const report = Buffer.alloc(28, 1);
  report.writeUInt32BE(0x80c8_0006, 0);
  return report;
};

/** SRTP by another implementation, with the same keys for both directions. */
const others = ({ profile, masterKey, masterSalt }: SrtpKey) => {
  const keys = {
    localMasterKey: masterKey,
    localMasterSalt: masterSalt,
    remoteMasterKey: masterKey,
    remoteMasterSalt: masterSalt,
  };
  return { srtp: new SrtpSession({ keys, profile }), srtcp: new SrtcpSession({ keys, profile }) };
};

describe.each(Object.entries(SRTP_PROFILES))('SRTP with %s', (_name, profile) => {
  it('is understood by another implementation', () => {
    const key = newKey(profile);
    const sender = new SrtpSender(key);
    const { srtp, srtcp } = others(key);
    for (let sequenceNumber = 65_530; sequenceNumber < 65_545; sequenceNumber += 1) {
      const packet = rtp(sequenceNumber);
      expect(srtp.decrypt(protect(sender, packet))).toEqual(packet);
    }
    expect(srtcp.decrypt(sender.protectRtcp(senderReport()))).toEqual(senderReport());
    expect(srtcp.decrypt(sender.protectRtcp(senderReport()))).toEqual(senderReport());
  });

  it('understands another implementation', () => {
    const key = newKey(profile);
    const receiver = new SrtpReceiver(key);
    const { srtp, srtcp } = others(key);
    for (let sequenceNumber = 65_530; sequenceNumber < 65_545; sequenceNumber += 1) {
      const header = new RtpHeader({ payloadType: 96, sequenceNumber: sequenceNumber & 0xffff, ssrc: 7, timestamp: 1 });
      const packet = new RtpPacket(header, randomBytes(80));
      expect(receiver.unprotectRtp(srtp.encrypt(packet.payload, header))).toEqual(packet.serialize());
    }
    expect(receiver.unprotectRtcp(srtcp.encrypt(senderReport()))).toEqual(senderReport());
  });

  it('survives a wraparound of the sequence number in the middle of a long loss', () => {
    const key = newKey(profile);
    const [sender, receiver] = [new SrtpSender(key), new SrtpReceiver(key)];
    let delivered = 0;
    for (let index = 0; index < 200_000; index += 50) {
      const packet = rtp(index);
      const isLost = index % 65_536 > 60_000 || index % 65_536 < 5_000;
      const sealed = protect(sender, packet);
      if (isLost) continue;
      expect(receiver.unprotectRtp(sealed)).toEqual(packet);
      delivered += 1;
    }
    expect(delivered).toBeGreaterThan(3_000);
  });

  it('accepts packets in any order, each once', () => {
    const key = newKey(profile);
    const [sender, receiver] = [new SrtpSender(key), new SrtpReceiver(key)];
    const sealed = [65_534, 65_535, 0, 1, 2].map((sequenceNumber) => protect(sender, rtp(sequenceNumber)));
    const order = [0, 3, 1, 4, 2];
    expect(order.map((index) => receiver.unprotectRtp(sealed[index] ?? Buffer.alloc(0)) !== undefined)).toEqual([
      true,
      true,
      true,
      true,
      true,
    ]);
    expect(sealed.map((packet) => receiver.unprotectRtp(packet))).toEqual(Array(5).fill(undefined));
  });

  it('drops forged packets, and is not misled by them', () => {
    const key = newKey(profile);
    const [sender, receiver] = [new SrtpSender(key), new SrtpReceiver(key)];
    expect(receiver.unprotectRtp(protect(sender, rtp(100)))).toBeDefined();
    const forged = protect(sender, rtp(101));
    forged.writeUInt16BE(40_000, 2);
    expect(receiver.unprotectRtp(forged)).toBeUndefined();
    const report = sender.protectRtcp(senderReport());
    const broken = Buffer.from(report);
    broken.writeUInt8((broken.readUInt8(12) ^ 1) & 0xff, 12);
    expect(receiver.unprotectRtcp(broken)).toBeUndefined();
    expect(receiver.unprotectRtcp(report)).toEqual(senderReport());
    expect(receiver.unprotectRtcp(report)).toBeUndefined();
    const next = rtp(102);
    expect(receiver.unprotectRtp(protect(sender, next))).toEqual(next);
  });

  it('survives whatever bytes arrive', () => {
    const receiver = new SrtpReceiver(newKey(profile));
    for (let length = 0; length < 80; length += 1)
      for (let round = 0; round < 20; round += 1) {
        const bytes = randomBytes(length);
        expect(receiver.unprotectRtp(bytes)).toBeUndefined();
        expect(receiver.unprotectRtcp(bytes)).toBeUndefined();
      }
  });
});

describe('the key derivation', () => {
  it('gives the session keys of RFC 3711 appendix B.3', () => {
    const key: SrtpKey = {
      profile: SRTP_PROFILES.aesCmSha1,
      masterKey: Buffer.from('E1F97A0D3E018BE0D64FA32C06DE4139', 'hex'),
      masterSalt: Buffer.from('0EC675AD498AFEEBB6960B3AABE6', 'hex'),
    };
    // The keys themselves are private. A payload of zeros shows the key stream, which B.3's cipher key and salt
    // determine.
    const cipherKey = Buffer.from('C61E7A93744F39EE10734AFE3FF7A087', 'hex');
    const counter = Buffer.from('30CBBC08863D8C85D49DB34A9AE10000', 'hex');
    const authenticationKey = Buffer.from('CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4', 'hex');
    const sealed = protect(new SrtpSender(key), rtp(0, { ssrc: 0, payload: Buffer.alloc(16) }));
    expect(sealed.subarray(20, 36)).toEqual(createCipheriv('aes-128-ctr', cipherKey, counter).update(Buffer.alloc(16)));
    const tag = createHmac('sha1', authenticationKey).update(sealed.subarray(0, 36)).update(Buffer.alloc(4)).digest();
    expect(sealed.subarray(36)).toEqual(tag.subarray(0, 10));
  });
});

describe('a replay window', () => {
  it('knows what has come, and treats what is too old as seen', () => {
    const window = new ReplayWindow();
    for (const index of [5, 3, 2_000, 1_500]) {
      expect(window.hasSeen(index)).toBe(false);
      window.add(index);
      expect(window.hasSeen(index)).toBe(true);
    }
    expect(window.hasSeen(4)).toBe(true);
    expect(window.hasSeen(1_501)).toBe(false);
    expect(window.hasSeen(2_001)).toBe(false);
  });
});
