import { createHash, createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';

const COOKIE = Buffer.from('2112a442', 'hex');
const HEADER_BYTES = 20;
const ANSWER_TIMEOUT_MS = 5_000;

const METHOD = { allocate: 0x003, createPermission: 0x008, connect: 0x00a } as const;
const SEND_INDICATION = 0x0016;
const DATA_INDICATION = 0x0017;
const ERROR_CLASS = 0x0110;
const ATTRIBUTE = {
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  xorPeerAddress: 0x0012,
  data: 0x0013,
  realm: 0x0014,
  nonce: 0x0015,
  requestedAddressFamily: 0x0017,
  requestedTransport: 0x0019,
} as const;
const PROTOCOL = { tcp: 6, udp: 17 } as const;

export interface TurnUser {
  username: string;
  credential: string;
}

/** `granted`, or the code of the server's error (RFC 8489, 8656). */
export type TurnAnswer = 'granted' | number;

interface Message {
  type: number;
  attributes: Map<number, Buffer>;
}

/** Carries messages to and from the server. */
interface Link {
  send(packet: Buffer): void;
  on(event: 'message', listen: (packet: Buffer) => void): unknown;
  off(event: 'message', listen: (packet: Buffer) => void): unknown;
  close(): void;
}

/** Over a stream, the lengths in the messages' heads separate them. */
class StreamLink extends EventEmitter<{ message: [Buffer] }> implements Link {
  #rest = Buffer.alloc(0);

  constructor(private readonly socket: TLSSocket) {
    super();
    socket.on('data', (data: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, data]);
      for (let bytes = this.#lengthOfFirst(); bytes <= this.#rest.length; bytes = this.#lengthOfFirst()) {
        this.emit('message', this.#rest.subarray(0, bytes));
        this.#rest = this.#rest.subarray(bytes);
      }
    });
    socket.on('error', () => socket.destroy());
  }

  send(packet: Buffer): void {
    this.socket.write(packet);
  }

  close(): void {
    this.socket.destroy();
  }

  #lengthOfFirst(): number {
    return this.#rest.length < 4 ? HEADER_BYTES : HEADER_BYTES + this.#rest.readUInt16BE(2);
  }
}

/** A TURN client that asks whatever it is told to, so that a server's refusals can be tested. */
export class TurnClient {
  #realm: Buffer | undefined;
  #nonce: Buffer | undefined;

  private constructor(
    private readonly socket: Link,
    private readonly user: TurnUser | undefined,
  ) {}

  /** @param user undefined for a client that has no credentials */
  static async open(host: string, port: number, user?: TurnUser): Promise<TurnClient> {
    const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
    socket.connect(port, host);
    await once(socket, 'connect');
    return new TurnClient(socket, user);
  }

  /** @param ca vouches for the server's certificate */
  static async openTls(host: string, port: number, ca: Buffer, user?: TurnUser): Promise<TurnClient> {
    const socket = connect({ host, port, ca });
    await once(socket, 'secureConnect');
    return new TurnClient(new StreamLink(socket), user);
  }

  allocate({ transport = 'udp', family = 4 }: { transport?: 'udp' | 'tcp'; family?: 4 | 6 } = {}): Promise<TurnAnswer> {
    return this.#ask(METHOD.allocate, [
      attribute(ATTRIBUTE.requestedTransport, Buffer.of(PROTOCOL[transport], 0, 0, 0)),
      ...(family === 6 ? [attribute(ATTRIBUTE.requestedAddressFamily, Buffer.of(2, 0, 0, 0))] : []),
    ]);
  }

  permit(address: string, port = 0): Promise<TurnAnswer> {
    return this.#ask(METHOD.createPermission, [peerAddress(address, port)]);
  }

  /** Asks for a TCP connection to the peer (RFC 6062). */
  connect(address: string, port: number): Promise<TurnAnswer> {
    return this.#ask(METHOD.connect, [peerAddress(address, port)]);
  }

  /** Sends data to a peer and waits for what comes back from peers; undefined if nothing does in time. */
  async exchange(address: string, port: number, data: string, waitMs = 2_000): Promise<string | undefined> {
    const attributes = [peerAddress(address, port), attribute(ATTRIBUTE.data, Buffer.from(data))];
    const back = this.#receive(({ type }) => type === DATA_INDICATION, waitMs);
    this.socket.send(message(SEND_INDICATION, randomBytes(12), attributes));
    return (await back)?.attributes.get(ATTRIBUTE.data)?.toString();
  }

  close(): void {
    this.socket.close();
  }

  /** The first request is answered with the realm and the nonce; then it is made again, signed. */
  async #ask(method: number, attributes: readonly Buffer[]): Promise<TurnAnswer> {
    const first = await this.#request(method, attributes);
    if (first !== 401 || this.user === undefined) return first;
    return this.#request(method, attributes);
  }

  async #request(method: number, attributes: readonly Buffer[]): Promise<TurnAnswer> {
    const transaction = randomBytes(12);
    const answer = this.#receive((received) => (received.type & 0x3eef) === method && received.type !== method);
    this.socket.send(this.#signed(method, transaction, attributes));
    const received = await answer;
    if (received === undefined) throw new Error('the TURN server does not answer');
    this.#realm ??= received.attributes.get(ATTRIBUTE.realm);
    this.#nonce = received.attributes.get(ATTRIBUTE.nonce) ?? this.#nonce;
    if ((received.type & ERROR_CLASS) !== ERROR_CLASS) return 'granted';
    const error = received.attributes.get(ATTRIBUTE.errorCode);
    return (error?.[2] ?? 0) * 100 + (error?.[3] ?? 0);
  }

  #signed(method: number, transaction: Buffer, attributes: readonly Buffer[]): Buffer {
    const { user } = this;
    const [realm, nonce] = [this.#realm, this.#nonce];
    if (user === undefined || realm === undefined || nonce === undefined)
      return message(method, transaction, attributes);
    const all = [
      ...attributes,
      attribute(ATTRIBUTE.username, Buffer.from(user.username)),
      attribute(ATTRIBUTE.realm, realm),
      attribute(ATTRIBUTE.nonce, nonce),
    ];
    const key = createHash('md5').update(`${user.username}:${realm.toString()}:${user.credential}`).digest();
    // The length in the header already counts the attribute with the signature.
    const placeholder = attribute(ATTRIBUTE.messageIntegrity, Buffer.alloc(20));
    const unsigned = message(method, transaction, [...all, placeholder]).subarray(0, -placeholder.length);
    const signature = createHmac('sha1', key).update(unsigned).digest();
    return Buffer.concat([unsigned, attribute(ATTRIBUTE.messageIntegrity, signature)]);
  }

  #receive(isWanted: (received: Message) => boolean, waitMs = ANSWER_TIMEOUT_MS): Promise<Message | undefined> {
    return new Promise((resolve) => {
      const end = (result: Message | undefined) => {
        clearTimeout(timer);
        this.socket.off('message', listen);
        resolve(result);
      };
      const listen = (packet: Buffer) => {
        const received = parse(packet);
        if (isWanted(received)) end(received);
      };
      const timer = setTimeout(() => end(undefined), waitMs);
      this.socket.on('message', listen);
    });
  }
}

function attribute(type: number, value: Buffer): Buffer {
  const padded = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
  padded.writeUInt16BE(type, 0);
  padded.writeUInt16BE(value.length, 2);
  value.copy(padded, 4);
  return padded;
}

/** The address isn't XORed yet. */
function peerAddress(address: string, port: number): Buffer {
  const isV6 = isIP(address) === 6;
  const bytes = isV6 ? ipv6Bytes(address) : Buffer.from(address.split('.').map(Number));
  const value = Buffer.concat([Buffer.of(0, isV6 ? 2 : 1, (port >> 8) ^ 0x21, (port & 0xff) ^ 0x12), bytes]);
  return attribute(ATTRIBUTE.xorPeerAddress, value);
}

function ipv6Bytes(address: string): Buffer {
  const normal = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = normal.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const missing = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill('0'), ...groups(tail ?? '')];
  return Buffer.concat(all.map((group) => Buffer.from(group.padStart(4, '0'), 'hex')));
}

function message(type: number, transaction: Buffer, attributes: readonly Buffer[]): Buffer {
  const body = Buffer.concat(attributes.map((each) => xored(each, transaction)));
  const header = Buffer.alloc(4);
  header.writeUInt16BE(type, 0);
  header.writeUInt16BE(body.length, 2);
  return Buffer.concat([header, COOKIE, transaction, body]);
}

/** An address is sent XORed with the cookie and, for IPv6, the transaction's id (RFC 8489 §14.2). */
function xored(whole: Buffer, transaction: Buffer): Buffer {
  if (whole.readUInt16BE(0) !== ATTRIBUTE.xorPeerAddress) return whole;
  const key = Buffer.concat([COOKIE, transaction]);
  return Buffer.from(whole.map((byte, index) => (index < 8 ? byte : byte ^ (key[index - 8] ?? 0))));
}

function parse(packet: Buffer): Message {
  const attributes = new Map<number, Buffer>();
  for (let offset = HEADER_BYTES; offset + 4 <= packet.length;) {
    const length = packet.readUInt16BE(offset + 2);
    attributes.set(packet.readUInt16BE(offset), packet.subarray(offset + 4, offset + 4 + length));
    offset += 4 + Math.ceil(length / 4) * 4;
  }
  return { type: packet.readUInt16BE(0), attributes };
}
