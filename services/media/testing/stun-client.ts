import { createHmac, randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { crc32 } from 'node:zlib';

const BINDING_REQUEST = 0x0001;
const MAGIC_COOKIE = 0x2112a442;
const USERNAME = 0x0006;
const MESSAGE_INTEGRITY = 0x0008;
const PRIORITY = 0x0024;
const FINGERPRINT = 0x8028;
const ICE_CONTROLLING = 0x802a;
const FINGERPRINT_MASK = 0x5354554e;

/** Checks the path that an answer describes, as ICE does, and does nothing else. */
export class StunClient {
  private constructor(
    private readonly socket: Socket,
    private readonly path: { address: string; port: number; usernameFragment: string; password: string },
  ) {}

  /** @param index which of the answer's UDP candidates */
  static async open(answerSdp: string, index = 0): Promise<StunClient> {
    const candidates = [...answerSdp.matchAll(/^a=candidate:\S+ 1 udp \d+ (\S+) (\d+)/gim)];
    const [, address = '', port = ''] = candidates[index] ?? [];
    const usernameFragment = /^a=ice-ufrag:(\S+)/m.exec(answerSdp)?.[1] ?? '';
    const password = /^a=ice-pwd:(\S+)/m.exec(answerSdp)?.[1] ?? '';
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.bind(0);
    await once(socket, 'listening');
    return new StunClient(socket, { address, port: Number(port), usernameFragment, password });
  }

  /** A connectivity check. Resolves with the address that the answer to it comes from. */
  async check(): Promise<string> {
    const answered = once(this.socket, 'message') as Promise<[Buffer, { address: string }]>;
    this.send(bindingRequest(`${this.path.usernameFragment}:abcd`, this.path.password));
    const [, { address }] = await answered;
    return address;
  }

  send(datagram: Buffer): void {
    this.socket.send(datagram, this.path.port, this.path.address);
  }

  close(): void {
    this.socket.close();
  }
}

function bindingRequest(username: string, password: string): Buffer {
  const transaction = randomBytes(12);
  const attributes = [
    attribute(USERNAME, Buffer.from(username)),
    attribute(PRIORITY, Buffer.from([0x6e, 0x7f, 0x1e, 0xff])),
    attribute(ICE_CONTROLLING, randomBytes(8)),
  ];
  // Each of the two is computed over a header whose length already includes it (RFC 8489 §14.5 and §14.7).
  const integrity = createHmac('sha1', password)
    .update(message(transaction, attributes, 24))
    .digest();
  attributes.push(attribute(MESSAGE_INTEGRITY, integrity));
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE((crc32(message(transaction, attributes, 8)) ^ FINGERPRINT_MASK) >>> 0);
  return message(transaction, [...attributes, attribute(FINGERPRINT, checksum)]);
}

function message(transaction: Buffer, attributes: readonly Buffer[], lengthToCome = 0): Buffer {
  const body = Buffer.concat(attributes);
  const header = Buffer.alloc(8);
  header.writeUInt16BE(BINDING_REQUEST, 0);
  header.writeUInt16BE(body.length + lengthToCome, 2);
  header.writeUInt32BE(MAGIC_COOKIE, 4);
  return Buffer.concat([header, transaction, body]);
}

function attribute(type: number, value: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16BE(type, 0);
  header.writeUInt16BE(value.length, 2);
  return Buffer.concat([header, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}
