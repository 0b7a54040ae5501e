import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TurnClient, type TurnAnswer } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { untilReady } from './backing-server.js';
import { freePortRange, freePorts } from './ports.js';
import { parseSingleMachineSettings } from './settings.js';
import { SupervisedProcess } from './supervised-process.js';
import { announcedAddresses, turnServer, turnUrls } from './turn.js';

const SECRET = 'a-secret-of-this-test';
const START_TIMEOUT_MS = 60_000;

const settingsOf = (env: Record<string, string> = {}) => parseSingleMachineSettings({ WEIR_TURN: '1', ...env });

let folder = '';
let port = 0;
let tlsPort = 0;
let certificate: Buffer;
let server: SupervisedProcess;
const output: string[] = [];
const clients: TurnClient[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'weir-turn-'));
  [port = 0, tlsPort = 0] = await freePorts(2);
  const files = { WEIR_TLS_CERT: join(folder, 'cert.pem'), WEIR_TLS_KEY: join(folder, 'key.pem') };
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
      .concat(['-subj', '/CN=turn', '-addext', 'subjectAltName=IP:127.0.0.1'])
      .concat(['-keyout', files.WEIR_TLS_KEY, '-out', files.WEIR_TLS_CERT]),
    { stdio: 'ignore' },
  );
  certificate = readFileSync(files.WEIR_TLS_CERT);
  const relayPort = await freePortRange(128);
  const settings = settingsOf({
    ...files,
    WEIR_TURN_PORT: String(port),
    WEIR_TURN_TLS_PORT: String(tlsPort),
    WEIR_TURN_RELAY_PORTS: `${relayPort}-${relayPort + 127}`,
  });
  const turn = turnServer({ folder, settings, secret: SECRET, env: process.env });
  server = new SupervisedProcess(turn.process, {
    say: () => undefined,
    changed: () => undefined,
    output: (_name, line) => output.push(line),
  });
  server.start();
  await untilReady(turn, AbortSignal.timeout(START_TIMEOUT_MS));
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

const userOf = (name: string, expiresInS = 60) => {
  const username = `${Math.floor(Date.now() / 1_000) + expiresInS}:${name}`;
  return { username, credential: createHmac('sha1', SECRET).update(username).digest('base64') };
};

async function clientOf(user?: ReturnType<typeof userOf>): Promise<TurnClient> {
  const client = await TurnClient.open('127.0.0.1', port, user);
  clients.push(client);
  return client;
}

async function tlsClientOf(user: ReturnType<typeof userOf>): Promise<TurnClient> {
  const client = await TurnClient.openTls('127.0.0.1', tlsPort, certificate, user);
  clients.push(client);
  return client;
}

/** Sends everything back, from the address of the media ports. */
async function mediaPeer(): Promise<Socket> {
  const peer = createSocket('udp4');
  peer.on('message', (data, from) => peer.send(`${data.toString()} back`, from.port, from.address));
  peer.bind(0, '127.0.0.2');
  await once(peer, 'listening');
  return peer;
}

/** RFC 8656, section 7.2. */
const ALLOCATION_MISMATCH = 437;

async function allocated(name: string): Promise<TurnClient> {
  const client = await clientOf(userOf(name));
  const answer = await client.allocate();
  // The system has given it the port of an earlier client, whose allocation outlives its socket.
  if (answer === ALLOCATION_MISMATCH) return allocated(name);
  expect(answer).toBe('granted');
  return client;
}

describe('the TURN server', () => {
  it.each([
    ['UDP', () => clientOf(userOf('relayed'))],
    ['TLS, with the certificate of the machine', () => tlsClientOf(userOf('tls'))],
  ])("relays to the media's address and back for a client over %s", async (_how, open) => {
    const peer = await mediaPeer();
    try {
      const client = await open();
      expect(await client.allocate()).toBe('granted');
      expect(await client.permit('127.0.0.2')).toBe('granted');
      expect(await client.exchange('127.0.0.2', peer.address().port, 'media')).toBe('media back');
    } finally {
      peer.close();
    }
  });

  it('refuses everybody without valid credentials', async () => {
    expect(await (await clientOf()).allocate()).toBe(401);
    expect(await (await clientOf({ ...userOf('guesser'), credential: 'guessed' })).allocate()).toBe(401);
    expect(await (await clientOf(userOf('late', -1))).allocate()).toBe(401);
  });

  it.each([
    ...['127.0.0.1', '127.0.0.3', '127.255.255.254', '0.0.0.0', '0.0.0.1', '255.255.255.255', '224.0.0.1'],
    ...['10.0.0.1', '172.16.0.1', '192.168.1.1', '100.64.0.1', '169.254.169.254', '192.0.2.1', '8.8.8.8'],
    ...['::1', '::', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:127.0.0.2', '64:ff9b::7f00:1', '2002:7f00:1::'],
    ...['fc00::1', 'fe80::1', 'ff02::1', '2001:db8::1'],
  ])('refuses the peer %s even to a valid user', async (address) => {
    const client = await allocated(`to-${address.replaceAll(':', '-')}`);
    expect([403, 443]).toContain(await client.permit(address, 4222));
  });

  it('passes nothing to a peer that was not permitted', async () => {
    const peer = createSocket('udp4');
    const heard: string[] = [];
    peer.on('message', (data) => heard.push(data.toString()));
    peer.bind(0, '127.0.0.1');
    await once(peer, 'listening');
    try {
      const client = await allocated('pushy');
      const inner = peer.address().port;
      expect(await client.permit('127.0.0.1', inner)).toBe(403);
      expect(await client.exchange('127.0.0.1', inner, 'hello', 300)).toBeUndefined();
      expect(heard).toEqual([]);
    } finally {
      peer.close();
    }
  });

  it('relays no TCP and from no IPv6 address', async () => {
    const client = await clientOf(userOf('tcp'));
    expect(await client.allocate({ transport: 'tcp' })).not.toBe('granted');
    expect(await (await allocated('connects')).connect('127.0.0.2', 4222)).not.toBe('granted');
    expect(await (await clientOf(userOf('six'))).allocate({ family: 6 })).not.toBe('granted');
  });

  it('gives one user a limited number of allocations', async () => {
    const user = userOf('greedy');
    const answers: TurnAnswer[] = [];
    for (let index = 0; index < 17; index += 1) answers.push(await (await clientOf(user)).allocate());
    expect(answers.filter((answer) => answer === 'granted')).toHaveLength(16);
    expect(answers.at(-1)).toBe(486);
  });

  it('keeps its secret in a file of its own', () => {
    expect(readFileSync(join(folder, 'turnserver.conf'), 'utf8')).toContain(SECRET);
    expect(server.pid).toBeDefined();
    expect(readFileSync(`/proc/${server.pid}/cmdline`, 'utf8')).not.toContain(SECRET);
    expect(output.join('\n')).not.toContain(SECRET);
  });
});

describe('the media addresses', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1,127.0.0.2'],
    ['192.0.2.7', '192.0.2.7'],
    ['127.0.0.1, 192.0.2.7', '127.0.0.1, 192.0.2.7'],
    ['media.example.com', 'media.example.com,127.0.0.2'],
  ])('announced as %s become %s, so that TURN needs no access to 127.0.0.1', (announced, expected) => {
    expect(announcedAddresses(settingsOf({ WEIR_ANNOUNCED_ADDRESS: announced }))).toBe(expected);
  });

  it('stay as they are without TURN', () => {
    expect(announcedAddresses(settingsOf({ WEIR_TURN: '0' }))).toBe('127.0.0.1');
  });
});

it('the URLs for clients have TLS when the machine has a certificate', () => {
  const settings = settingsOf({
    ...{ WEIR_ANNOUNCED_ADDRESS: '192.0.2.7', WEIR_TURN_TLS_PORT: '443' },
    ...{ WEIR_TLS_CERT: 'cert.pem', WEIR_TLS_KEY: 'key.pem' },
  });
  expect(turnUrls(settings)).toEqual({
    stun: ['stun:192.0.2.7:3478'],
    turn: [
      'turn:192.0.2.7:3478?transport=udp',
      'turn:192.0.2.7:3478?transport=tcp',
      'turns:192.0.2.7:443?transport=tcp',
    ],
  });
});
