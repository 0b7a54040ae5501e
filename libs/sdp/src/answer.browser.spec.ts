import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type AnsweredTransport, type AnswerSection, type BitrateBounds, writeAnswer } from './answer.js';
import type { StreamCodec } from './negotiation.js';
import { parseOffer } from './offer.js';
import { negotiatePlay, type PlayableStream } from './play.js';
import { negotiatePublish } from './publish.js';

/** What the page does in a browser. `send` and `receive` have one letter per track, as in the WebSDK. */
interface Scenario {
  policy?: 'max-compat' | 'balanced' | 'max-bundle';
  send?: string;
  receive?: string;
  /** Use transceivers in this order instead of the WebSDK's `offerToReceive…`. */
  transceivers?: boolean;
  dataChannel?: boolean;
  /** Offer the data channel before anything else. */
  dataChannelFirst?: boolean;
  /** A codec that the answerer doesn't know. */
  unknown?: RegExp;
  simulcast?: boolean;
  /** The stream that a player is answered with. */
  stream?: PlayableStream;
  bitrate?: BitrateBounds;
}

interface Outcome {
  error?: string;
  directions: (string | null)[];
  /** The codecs that the senders may use now, without retransmission. */
  sending: string[];
  /** The MediaStream ids of each track that arrived. */
  streams: string[][];
}

const OPUS: StreamCodec = { kind: 'audio', mimeType: 'audio/opus', clockRate: 48000, channels: 2, parameters: {} };
const VP8: StreamCodec = { kind: 'video', mimeType: 'video/VP8', clockRate: 90000, parameters: {} };

const SCENARIOS = {
  publish: { send: 'av' },
  publishBounded: { send: 'av', bitrate: { minBps: 300_000, maxBps: 1_200_000 } },
  publishAudio: { send: 'a' },
  publishVideo: { send: 'v' },
  publishDataChannel: { send: 'av', dataChannel: true },
  publishTwoVideos: { send: 'avv', policy: 'balanced' },
  publishMaxBundle: { send: 'va', policy: 'max-bundle' },
  publishDataChannelFirst: { send: 'av', dataChannelFirst: true, policy: 'max-bundle' },
  publishDataChannelFirstBalanced: { send: 'av', dataChannelFirst: true, policy: 'balanced' },
  publishUnknownAudioFirst: { send: 'av', unknown: /(?:opus|G722|PCM[UA])(?=\/)/g, policy: 'max-bundle' },
  publishSimulcast: { simulcast: true, policy: 'max-bundle' },
  play: { receive: 'av', stream: { audio: OPUS, video: VP8 } },
  playTransceivers: { receive: 'va', transceivers: true, policy: 'max-bundle', stream: { audio: OPUS, video: VP8 } },
  playWithoutVideo: { receive: 'av', stream: { audio: OPUS } },
  playWithoutAudio: { receive: 'av', stream: { video: VP8 } },
  playUnknownVideo: { receive: 'av', unknown: /VP8(?=\/)/g, stream: { audio: OPUS, video: VP8 } },
  playUnknownVideoFirst: {
    ...{ receive: 'va', transceivers: true, policy: 'max-bundle' },
    ...{ unknown: /VP8(?=\/)/g, stream: { audio: OPUS, video: VP8 } },
  },
  playAudioOnly: { receive: 'a', stream: { audio: OPUS, video: VP8 } },
} satisfies Record<string, Scenario>;

type Name = keyof typeof SCENARIOS;

/** No one listens at this address: the tests check the negotiation, not the connection. */
const TRANSPORT: AnsweredTransport = {
  iceParameters: { usernameFragment: 'serverfragment', password: 'serverpasswordserverpassword' },
  iceCandidates: [
    { foundation: 'udp', priority: 1076558079, address: '127.0.0.1', protocol: 'udp', port: 9, type: 'host' },
    {
      foundation: 'tcp',
      priority: 1076302079,
      address: '127.0.0.1',
      protocol: 'tcp',
      port: 9,
      type: 'host',
      tcpType: 'passive',
    },
  ],
  dtlsParameters: { fingerprints: [{ algorithm: 'sha-256', value: Array(32).fill('22').join(':') }] },
};

function answer({ stream, unknown, bitrate = {} }: Scenario, sdp: string): string {
  const offer = parseOffer(unknown ? sdp.replaceAll(unknown, 'x-$&') : sdp);
  const negotiated = stream ? negotiatePlay(offer, stream).sections : negotiatePublish(offer).sections;
  const sections = negotiated.map((section): AnswerSection => {
    if (section.tag !== 'send') return section;
    const sent = { ssrc: 70000 + section.mediaIndex, cname: 'cname', streamId: 'weir', trackId: section.kind };
    return { ...section, sent };
  });
  const transports = offer.transports.map(() => TRANSPORT);
  return writeAnswer({ offer, transports, sections, bitrate, originId: 1 }).replaceAll(/ x-/g, ' ');
}

const PAGE = `<!doctype html><script>
const post = async (path, body) => (await fetch(path, { method: 'POST', body })).text();
const tracks = async (kind) =>
  navigator.mediaDevices.getUserMedia({ audio: kind === 'a', video: kind === 'v', fake: true });
async function run(name, scenario) {
  const pc = new RTCPeerConnection({ iceServers: [], bundlePolicy: scenario.policy ?? 'max-compat' });
  const outcome = { directions: [], sending: [], streams: [] };
  pc.ontrack = ({ streams }) => outcome.streams.push(streams.map(({ id }) => id));
  try {
    if (scenario.dataChannel || scenario.dataChannelFirst) pc.createDataChannel('data');
    if (scenario.dataChannelFirst) await pc.setLocalDescription(await pc.createOffer());
    for (const kind of scenario.send ?? '') {
      const stream = await tracks(kind);
      pc.addTrack(stream.getTracks()[0], stream);
    }
    if (scenario.simulcast) {
      const [track] = (await tracks('v')).getTracks();
      pc.addTransceiver(track, { direction: 'sendonly', sendEncodings: [{ rid: 'low' }, { rid: 'high' }] });
    }
    const receive = scenario.receive ?? '';
    if (scenario.transceivers) {
      for (const kind of receive) pc.addTransceiver(kind === 'a' ? 'audio' : 'video', { direction: 'recvonly' });
    }
    const options = scenario.transceivers || scenario.simulcast
      ? {}
      : { offerToReceiveAudio: receive.includes('a') ? 1 : 0, offerToReceiveVideo: receive.includes('v') ? 1 : 0 };
    await pc.setLocalDescription(await pc.createOffer(options));
    const sdp = await post('/answer/' + name, pc.localDescription.sdp);
    await pc.setRemoteDescription({ type: 'answer', sdp });
    // Rejected sections have a stopped transceiver, or none, as the browser likes.
    outcome.directions = pc
      .getTransceivers()
      .map(({ currentDirection }) => currentDirection)
      .filter((direction) => direction !== 'stopped');
    outcome.sending = pc.getSenders()
      .flatMap((sender) => (sender.track ? (sender.getParameters().codecs ?? []) : []))
      .map(({ mimeType }) => mimeType)
      .filter((mimeType) => !mimeType.endsWith('/rtx'));
  } catch (error) {
    outcome.error = String(error);
  }
  pc.close();
  return outcome;
}
(async () => {
  const outcomes = {};
  const scenarios = JSON.parse(await post('/scenarios', ''));
  for (const [name, scenario] of Object.entries(scenarios)) outcomes[name] = await run(name, scenario);
  await post('/done', JSON.stringify(outcomes));
})();
</script>`;

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).toString('utf8');
}

const CHROMIUM_ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
];

const FIREFOX_PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'app.update.enabled': false,
};

interface Browser {
  name: string;
  path: string;
  start: (profile: string, url: string) => Promise<ChildProcess>;
  /** The codec that a publisher's camera ends up with. */
  videoCodec: RegExp;
}

const BROWSERS: Browser[] = [
  {
    name: 'Chromium',
    path: '/usr/bin/chromium',
    start: async (profile, url) =>
      spawn('/usr/bin/chromium', [...CHROMIUM_ARGUMENTS, `--user-data-dir=${profile}`, url], { stdio: 'ignore' }),
    videoCodec: /^video\/H264$/,
  },
  {
    name: 'Firefox',
    path: '/usr/bin/firefox-esr',
    start: async (profile, url) => {
      const preferences = Object.entries(FIREFOX_PREFERENCES).map(([key, value]) => `user_pref("${key}", ${value});`);
      await writeFile(join(profile, 'user.js'), preferences.join('\n'));
      return spawn('/usr/bin/firefox-esr', ['--headless', '--no-remote', '--profile', profile, url], {
        stdio: 'ignore',
      });
    },
    // H.264 is possible only if the browser could download its plugin.
    videoCodec: /^video\/(?:H264|VP8)$/,
  },
];

/** Runs all scenarios in one page. */
async function runIn(browser: Browser): Promise<Record<Name, Outcome>> {
  const profile = await mkdtemp(join(tmpdir(), 'weir-browser-'));
  let child: ChildProcess | undefined;
  const server = createServer();
  try {
    const done = new Promise<Record<Name, Outcome>>((resolve, reject) => {
      server.on('request', (request, response) => {
        const handle = async (): Promise<string> => {
          const path = request.url ?? '/';
          const body = await readBody(request);
          if (path === '/scenarios') return JSON.stringify(SCENARIOS);
          if (path.startsWith('/answer/')) return answer(SCENARIOS[path.slice(8) as Name], body);
          if (path === '/done') resolve(JSON.parse(body) as Record<Name, Outcome>);
          return path === '/' ? PAGE : '';
        };
        response.setHeader('content-type', 'text/html');
        handle().then((text) => response.end(text), reject);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('The test server has no port');
    child = await browser.start(profile, `http://localhost:${address.port}/`);
    return await done;
  } finally {
    if (child && child.exitCode === null) {
      const gone = new Promise((resolve) => child?.once('exit', resolve));
      child.kill('SIGTERM');
      await gone;
    }
    server.closeAllConnections();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

describe.each(BROWSERS)('in $name', (browser) => {
  const isPresent = existsSync(browser.path);
  let outcomes: Record<Name, Outcome>;

  beforeAll(async () => {
    if (isPresent) outcomes = await runIn(browser);
  }, 60_000);

  afterAll(() => {
    if (!isPresent) console.warn(`${browser.path} is missing: its answers were not tried`);
  });

  it.skipIf(!isPresent).each(Object.keys(SCENARIOS) as Name[])('setRemoteDescription takes the answer: %s', (name) => {
    expect(outcomes[name].error).toBeUndefined();
  });

  it.skipIf(!isPresent).each([
    ['publish', ['sendonly', 'sendonly']],
    ['publishBounded', ['sendonly', 'sendonly']],
    ['publishAudio', ['sendonly']],
    ['publishVideo', ['sendonly']],
    ['publishDataChannel', ['sendonly', 'sendonly']],
    ['publishTwoVideos', ['sendonly', 'sendonly', 'inactive']],
    ['publishMaxBundle', ['sendonly', 'sendonly']],
    ['publishDataChannelFirst', ['sendonly', 'sendonly']],
    ['publishDataChannelFirstBalanced', ['sendonly', 'sendonly']],
    ['publishUnknownAudioFirst', ['inactive', 'sendonly']],
    ['publishSimulcast', ['sendonly']],
    ['play', ['recvonly', 'recvonly']],
    ['playTransceivers', ['recvonly', 'recvonly']],
    ['playWithoutVideo', ['recvonly', 'inactive']],
    ['playWithoutAudio', ['inactive', 'recvonly']],
    ['playUnknownVideo', ['recvonly']],
    ['playUnknownVideoFirst', ['inactive', 'recvonly']],
    ['playAudioOnly', ['recvonly']],
  ] as const)('the directions are as answered: %s', (name, directions) => {
    expect(outcomes[name].directions).toEqual(directions);
  });

  it.skipIf(!isPresent)('a publisher uses opus and the codec that was chosen for its video', () => {
    expect(outcomes.publish.sending).toEqual(['audio/opus', expect.stringMatching(browser.videoCodec)]);
    expect(outcomes.publishBounded.sending).toEqual(outcomes.publish.sending);
  });

  it.skipIf(!isPresent).each(['play', 'playTransceivers'] as const)(
    'both tracks of a player are of one MediaStream: %s',
    (name) => {
      expect(outcomes[name].streams).toEqual([['weir'], ['weir']]);
    },
  );

  it.skipIf(!isPresent)('a medium that the stream lacks gives no track', () => {
    expect(outcomes.playWithoutVideo.streams).toEqual([['weir']]);
    expect(outcomes.playWithoutAudio.streams).toEqual([['weir']]);
  });
});
