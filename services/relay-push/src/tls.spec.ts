import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FakeMedia } from './testing/fake-media.js';
import { OriginalServer } from './testing/original-server.js';
import { RelayInstance, startSurroundings, type Surroundings } from './testing/relay-instance.js';

const folder = mkdtempSync(join(tmpdir(), 'weir-relay-'));
const [certificate, key] = [join(folder, 'server.crt'), join(folder, 'server.key')];

let surroundings: Surroundings;
let media: FakeMedia;
let secure: OriginalServer;
let plain: OriginalServer;
let relay: RelayInstance | undefined;

beforeAll(async () => {
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
      .concat(['-subj', '/CN=other', '-addext', 'subjectAltName=IP:127.0.0.1'])
      .concat(['-keyout', key, '-out', certificate]),
    { stdio: 'ignore' },
  );
  surroundings = await startSurroundings();
  media = await FakeMedia.start(surroundings.nats.url);
  media.publish('cam');
  secure = await OriginalServer.startSecure({
    cert: readFileSync(certificate, 'utf8'),
    key: readFileSync(key, 'utf8'),
  });
  plain = await OriginalServer.start();
});
afterEach(async () => {
  await relay?.request('POST', 'terminate', { body: { localStreamName: 'cam' } });
  await relay?.stop();
});
afterAll(async () => {
  await Promise.all([secure.kill(), plain.kill()]);
  await media.stop();
  await surroundings.stop();
  rmSync(folder, { recursive: true });
});

/** The statuses of the replies to a push to the secure server and a push to the plain server. */
const statusesWith = async (env: Record<string, string>) => {
  relay = await RelayInstance.start({ ...surroundings.env, ...env });
  const statuses: number[] = [];
  for (const { uri } of [secure, plain]) {
    const body = { uri, localStreamName: 'cam', remoteStreamName: 'far' };
    statuses.push((await relay.request('POST', 'push', { body })).status);
  }
  return statuses;
};

describe('a server’s certificate', () => {
  it('must be vouched for', async () => {
    expect(await statusesWith({})).toEqual([500, 200]);
  });

  it('may be vouched for by an authority of the operator’s own', async () => {
    expect(await statusesWith({ WEIR_RELAY_CA_FILE: certificate })).toEqual([200, 200]);
  });
});

describe('wcs_agent_ssl', () => {
  it('as `false` leaves only ws, as in the original', async () => {
    expect(await statusesWith({ WEIR_RELAY_CA_FILE: certificate, WEIR_WCS_AGENT_SSL: 'false' })).toEqual([500, 200]);
  });

  it('as `true` leaves only wss', async () => {
    expect(await statusesWith({ WEIR_RELAY_CA_FILE: certificate, WEIR_WCS_AGENT_SSL: 'true' })).toEqual([200, 500]);
  });
});
