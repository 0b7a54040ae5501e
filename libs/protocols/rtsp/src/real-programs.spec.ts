import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { accountsOnly, PASSWORD, signedUrl, signedUrlsOnly, USERNAME } from '../testing/access.js';
import { LoopbackClient } from '../testing/loopback-client.js';
import { type LoopbackOptions, LoopbackServer } from '../testing/loopback-server.js';
import { isInstalled, Program } from '../testing/programs.js';
import { isRecording } from '../testing/transcript.js';
import type { ClientConfig } from './client-state.js';
import type { ServerChallenge } from './server-state.js';
import type { StreamVerb } from './signed-url.js';

const hasGStreamer = isInstalled('gst-launch-1.0');
const hasGStreamerServer =
  spawnSync('/usr/bin/python3', ['-c', "import gi; gi.require_version('GstRtspServer', '1.0')"]).status === 0;
if (!hasGStreamerServer) console.warn("GStreamer's RTSP server is not installed: the tests with it are SKIPPED");
const hasLive555Server = isInstalled('live555MediaServer');
const hasOpenRtsp = isInstalled('openRTSP');

const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource.close();
});

async function listen(options?: LoopbackOptions): Promise<LoopbackServer> {
  const server = await LoopbackServer.listen(options);
  opened.push(server);
  return server;
}

function run(command: string, args: readonly string[]): Program {
  const program = new Program(command, args);
  opened.push({ close: () => program.stop('SIGKILL') });
  return program;
}

const PICTURE = ['-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=25'];
const TONE = ['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'];
const H264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-g', '12', '-pix_fmt', 'yuv420p'];
const AAC = ['-c:a', 'aac', '-b:a', '64k'];

function ffmpegPush(url: string, transport: 'tcp' | 'udp', codecs: readonly string[] = [...H264, ...AAC]): Program {
  const output = ['-f', 'rtsp', '-rtsp_transport', transport, url];
  return run('ffmpeg', ['-hide_banner', '-v', 'warning', ...PICTURE, ...TONE, ...codecs, ...output]);
}

/** Decodes frames and prints one line with a checksum for each. */
function ffmpegPlay(url: string, args: readonly string[], frames = 20): Program {
  const input = ['-hide_banner', '-v', 'warning', ...args, '-i', url];
  return run('ffmpeg', [...input, '-map', '0:v', '-frames:v', String(frames), '-f', 'framemd5', '-']);
}

function frameSums(framemd5: string): string[] {
  return framemd5.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function published(server: LoopbackServer, path: string): Promise<void> {
  await until(() => (server.streams.get(path)?.packets ?? 0) > 0);
}

function record(server: LoopbackServer, index: number, name: string, about: string): void {
  if (isRecording) server.connections[index]?.transcript.save(name, about);
}

async function expectDecoded(player: Program, frames = 20): Promise<void> {
  const { code, stdout, stderr } = await player.finished;
  expect(new Set(frameSums(stdout)).size, stderr).toBe(frames);
  expect(code, stderr).toBe(0);
}

describe('ffmpeg as publisher and player', { timeout: 40_000 }, () => {
  it('pushes over TCP and plays over TCP', async () => {
    const server = await listen();
    const pusher = ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    await expectDecoded(ffmpegPlay(server.url('lab/cam'), ['-rtsp_transport', 'tcp']));
    await until(() => server.connections[1]?.ended !== undefined);
    await pusher.stop('SIGINT');
    await until(() => server.streams.size === 0);
    expect(server.connections[0]?.ended).toBe('teardown');
    record(server, 0, 'server-ffmpeg-push-tcp', 'ffmpeg 5.1 pushes H.264 and AAC, RTP over TCP');
    record(server, 1, 'server-ffmpeg-play-tcp', 'ffmpeg 5.1 plays, RTP over TCP');
  });

  it('pushes over UDP and plays over UDP', async () => {
    const server = await listen();
    const pusher = ffmpegPush(server.url('lab/cam'), 'udp');
    await published(server, 'lab/cam');
    await expectDecoded(ffmpegPlay(server.url('lab/cam'), ['-rtsp_transport', 'udp']));
    await pusher.stop('SIGINT');
    await until(() => server.streams.size === 0);
    record(server, 0, 'server-ffmpeg-push-udp', 'ffmpeg 5.1 pushes H.264 and AAC, RTP over UDP');
    record(server, 1, 'server-ffmpeg-play-udp', 'ffmpeg 5.1 plays, RTP over UDP');
  });

  it('shows both tracks and their parameters to ffprobe', async () => {
    const server = await listen();
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    const entries = ['-show_entries', 'stream=codec_name,width,height,sample_rate', '-of', 'csv=p=0'];
    const probe = run('ffprobe', ['-v', 'error', '-rtsp_transport', 'tcp', ...entries, server.url('lab/cam')]);
    const { stdout, stderr } = await probe.finished;
    expect(stdout.trim().split('\n'), stderr).toEqual(['h264,320,240', 'aac,48000']);
  });

  it('falls back to TCP when UDP is refused', async () => {
    const server = await listen({ config: { lowers: ['tcp'] } });
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    await expectDecoded(ffmpegPlay(server.url('lab/cam'), []));
    record(server, 1, 'server-ffmpeg-play-461', 'ffmpeg 5.1 asks for UDP, is refused and plays over TCP');
  });

  it('falls back to TCP on the same connection when nothing comes over UDP', async () => {
    const server = await listen({ udpIsBlocked: true });
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    await expectDecoded(ffmpegPlay(server.url('lab/cam'), ['-timeout', '2000000']));
    expect(server.connections).toHaveLength(2);
    record(server, 1, 'server-ffmpeg-play-udp-blocked', 'ffmpeg 5.1 hears nothing over UDP, pauses and plays over TCP');
  });

  it('is refused as a second publisher of a stream and can publish when the first has gone', async () => {
    const server = await listen();
    const first = ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    const second = await ffmpegPush(server.url('lab/cam'), 'tcp').finished;
    expect(second.code).not.toBe(0);
    expect(second.stderr).toContain('503');
    record(server, 1, 'server-ffmpeg-push-busy', 'ffmpeg 5.1 pushes to a path that another publisher has');
    first.signal('SIGKILL');
    await until(() => server.streams.size === 0);
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
  });

  it('is told that a stream does not exist', async () => {
    const server = await listen();
    const { code, stderr } = await ffmpegPlay(server.url('lab/none'), ['-rtsp_transport', 'tcp']).finished;
    expect(code).not.toBe(0);
    expect(stderr).toContain('404');
    record(server, 0, 'server-ffmpeg-play-404', 'ffmpeg 5.1 plays a path that nobody publishes');
  });

  it.each([
    [
      'H.265 and Opus',
      ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none:keyint=12'],
      ['-c:a', 'libopus'],
      ['hevc', 'opus'],
    ],
    [
      'VP8 and PCMU',
      ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-g', '12'],
      ['-c:a', 'pcm_mulaw', '-ar', '8000'],
      ['vp8', 'pcm_mulaw'],
    ],
    [
      'VP9 and PCMA',
      ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-g', '12', '-strict', '-2'],
      ['-c:a', 'pcm_alaw', '-ar', '8000'],
      ['vp9', 'pcm_alaw'],
    ],
    [
      'H.264 with B-frames',
      ['-c:v', 'libx264', '-bf', '2', '-g', '12', '-preset', 'veryfast', '-pix_fmt', 'yuv420p'],
      AAC,
      ['h264', 'aac'],
    ],
  ])('carries %s', async (_name, video, audio, codecs) => {
    const server = await listen();
    ffmpegPush(server.url('lab/cam'), 'tcp', [...video, ...audio]);
    await published(server, 'lab/cam');
    const entries = ['-show_entries', 'stream=codec_name', '-of', 'csv=p=0'];
    const probe = run('ffprobe', ['-v', 'error', '-rtsp_transport', 'tcp', ...entries, server.url('lab/cam')]);
    const { stdout, stderr } = await probe.finished;
    expect(stdout.trim().split('\n'), stderr).toEqual(codecs);
    await expectDecoded(ffmpegPlay(server.url('lab/cam'), ['-rtsp_transport', 'tcp'], 15), 15);
  });
});

function sign(server: LoopbackServer, verb: StreamVerb, expiresAtS = Math.floor(Date.now() / 1000) + 60): string {
  return signedUrl(`rtsp://127.0.0.1:${server.port}`, 'lab/front camera', verb, expiresAtS);
}

const USER = `${USERNAME}:${encodeURIComponent(PASSWORD)}@`;

describe('access', { timeout: 40_000 }, () => {
  it('lets ffmpeg push and play with signed URLs, each for its verb only', async () => {
    const server = await listen({ authorise: signedUrlsOnly });
    ffmpegPush(sign(server, 'publish'), 'tcp');
    await published(server, 'lab/front camera');
    await expectDecoded(ffmpegPlay(sign(server, 'play'), ['-rtsp_transport', 'tcp']));
    record(server, 0, 'server-ffmpeg-push-signed', 'ffmpeg 5.1 pushes to a signed URL with a query');
    record(server, 1, 'server-ffmpeg-play-signed', 'ffmpeg 5.1 plays a signed URL with a query');
    const wrongVerb = await ffmpegPlay(sign(server, 'publish'), ['-rtsp_transport', 'tcp']).finished;
    expect(wrongVerb.stderr).toContain('403');
    const expired = await ffmpegPlay(sign(server, 'play', 1_700_000_000), ['-rtsp_transport', 'tcp']).finished;
    expect(expired.stderr).toContain('403');
    const unsigned = await ffmpegPlay(server.url('lab/front%20camera'), ['-rtsp_transport', 'tcp']).finished;
    expect(unsigned.stderr).toContain('401');
  });

  it.each<{ readonly challenges: readonly ServerChallenge[] }>([
    { challenges: ['digest-md5'] },
    { challenges: ['basic'] },
    { challenges: ['digest-sha-256', 'digest-md5'] },
    { challenges: ['digest-sha-256', 'digest-md5', 'basic'] },
  ])('lets ffmpeg push and play with a password when offered $challenges', async ({ challenges }) => {
    const server = await listen({ authorise: accountsOnly, config: { challenges } });
    ffmpegPush(server.url('lab/cam', USER), 'tcp');
    await published(server, 'lab/cam');
    await expectDecoded(ffmpegPlay(server.url('lab/cam', USER), ['-rtsp_transport', 'tcp']));
    record(
      server,
      1,
      `server-ffmpeg-play-${challenges.join('-')}`,
      `ffmpeg 5.1 plays, offered ${challenges.join(', ')}`,
    );
    const wrong = await ffmpegPlay(server.url('lab/cam', 'bot:wrong@'), ['-rtsp_transport', 'tcp']).finished;
    expect(wrong.stderr).toContain('401');
  });

  it.skipIf(!hasGStreamer)('lets GStreamer push and play with a password', async () => {
    const server = await listen({ authorise: accountsOnly });
    gstreamerPush(server.url('lab/cam', USER), 'tcp');
    await published(server, 'lab/cam');
    await expectGstreamerDecodes(server.url('lab/cam', USER), 'tcp');
    record(server, 0, 'server-gstreamer-push-digest', 'GStreamer 1.22 rtspclientsink pushes with a password');
  });

  it.skipIf(!hasOpenRtsp)('lets live555 play with a password', async () => {
    const server = await listen({ authorise: accountsOnly });
    ffmpegPush(server.url('lab/cam', USER), 'tcp');
    await published(server, 'lab/cam');
    await expectOpenRtspReceives(server, server.url('lab/cam'), ['-t', '-u', 'bot', 'p@ss word']);
    record(server, 1, 'server-live555-play-digest', 'live555 openRTSP plays with a password');
  });
});

function gstreamerPush(url: string, transport: 'tcp' | 'udp'): Program {
  const video = 'videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! videoconvert';
  const h264 = 'x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12 ! video/x-h264,profile=baseline';
  const audio = 'audiotestsrc is-live=true ! audioconvert ! audio/x-raw,rate=48000,channels=2 ! opusenc';
  const sink = ['rtspclientsink', 'name=s', `location=${url}`, `protocols=${transport}`];
  return run('gst-launch-1.0', ['-q', ...`${video} ! ${h264} ! s. ${audio} ! s.`.split(' '), ...sink]);
}

/** The pipeline ends by itself after 21 decoded pictures and prints a line for each. */
async function expectGstreamerDecodes(url: string, transport: 'tcp' | 'udp'): Promise<void> {
  const source = ['rtspsrc', `location=${url}`, `protocols=${transport}`, 'latency=100'];
  const sink = '! rtph264depay ! avdec_h264 ! identity eos-after=21 silent=false ! fakesink'.split(' ');
  const player = run('gst-launch-1.0', ['-v', ...source, ...sink]);
  const { stdout, stderr } = await player.finished;
  expect(stdout.match(/last-message = chain/g)?.length ?? 0, stderr).toBeGreaterThanOrEqual(20);
}

describe('GStreamer as publisher and player', { timeout: 40_000 }, () => {
  it.skipIf(!hasGStreamer).each(['tcp', 'udp'] as const)('pushes over %s to ffmpeg', async (transport) => {
    const server = await listen();
    const pusher = gstreamerPush(server.url('lab/cam'), transport);
    await published(server, 'lab/cam');
    await expectDecoded(ffmpegPlay(server.url('lab/cam'), ['-rtsp_transport', 'tcp']));
    await pusher.stop('SIGINT');
    await until(() => server.streams.size === 0);
    record(server, 0, `server-gstreamer-push-${transport}`, `GStreamer 1.22 rtspclientsink, RTP over ${transport}`);
  });

  it.skipIf(!hasGStreamer).each(['tcp', 'udp'] as const)('plays over %s what ffmpeg pushes', async (transport) => {
    const server = await listen();
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    await expectGstreamerDecodes(server.url('lab/cam'), transport);
    await until(() => server.connections[1]?.ended !== undefined);
    expect(server.connections[1]?.ended).toBe('teardown');
    record(server, 1, `server-gstreamer-play-${transport}`, `GStreamer 1.22 rtspsrc plays, RTP over ${transport}`);
  });

  it.skipIf(!hasGStreamer)('plays and pushes with signed URLs', async () => {
    const server = await listen({ authorise: signedUrlsOnly });
    gstreamerPush(sign(server, 'publish'), 'tcp');
    await published(server, 'lab/front camera');
    await expectGstreamerDecodes(sign(server, 'play'), 'tcp');
    record(server, 0, 'server-gstreamer-push-signed', 'GStreamer 1.22 rtspclientsink pushes to a signed URL');
    record(server, 1, 'server-gstreamer-play-signed', 'GStreamer 1.22 rtspsrc plays a signed URL');
  });
});

/** openRTSP writes the video's NAL units to its output; ffmpeg decodes them. */
async function expectOpenRtspReceives(server: LoopbackServer, url: string, args: readonly string[]): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), 'weir-rtsp-')), 'video.h264');
  const program = run('sh', ['-c', 'out=$0; exec openRTSP "$@" > "$out"', file, '-v', '-d', '3', ...args, url]);
  const { stderr } = await program.finished;
  const decoder = run('ffmpeg', ['-v', 'error', '-i', file, '-frames:v', '20', '-f', 'framemd5', '-']);
  const { stdout } = await decoder.finished;
  rmSync(dirname(file), { recursive: true });
  expect(frameSums(stdout).length, stderr).toBe(20);
  await until(() => server.connections[1]?.ended !== undefined);
}

describe('live555 as player', { timeout: 40_000 }, () => {
  it.skipIf(!hasOpenRtsp).each(['tcp', 'udp'] as const)('plays over %s what ffmpeg pushes', async (transport) => {
    const server = await listen();
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    await expectOpenRtspReceives(server, server.url('lab/cam'), transport === 'tcp' ? ['-t'] : []);
    expect(server.connections[1]?.ended).toBe('teardown');
    record(server, 1, `server-live555-play-${transport}`, `live555 openRTSP plays, RTP over ${transport}`);
  });

  it.skipIf(!hasOpenRtsp)('plays a signed URL', async () => {
    const server = await listen({ authorise: signedUrlsOnly });
    ffmpegPush(sign(server, 'publish'), 'tcp');
    await published(server, 'lab/front camera');
    await expectOpenRtspReceives(server, sign(server, 'play'), ['-t']);
    record(server, 1, 'server-live555-play-signed', 'live555 openRTSP plays a signed URL');
  });
});

/** A client machine pulls a stream, another one pushes it to a server, and ffmpeg decodes it there. */
async function expectRelayDecodes(source: string, config: Partial<ClientConfig>): Promise<LoopbackClient> {
  const server = await listen();
  const relay: { pusher?: LoopbackClient } = {};
  const puller = new LoopbackClient(source, config, (track, kind, data) => relay.pusher?.send(track, kind, data));
  opened.push(puller);
  await until(() => puller.isStarted || puller.ended !== undefined);
  expect(puller.ended).toBeUndefined();
  const tracks = puller.tracks.flatMap(({ kind, ...track }) => (kind === 'other' ? [] : [{ ...track, kind }]));
  const pusher = new LoopbackClient(server.url('relay'), { intent: { tag: 'push', sessionName: 'relay', tracks } });
  relay.pusher = pusher;
  opened.push(pusher);
  await published(server, 'relay');
  await expectDecoded(ffmpegPlay(server.url('relay'), ['-rtsp_transport', 'tcp']));
  expect(puller.phase.tag).toBe('running');
  return puller;
}

function recordClient(client: LoopbackClient, name: string, about: string): void {
  if (isRecording) client.transcript.save(name, about);
}

async function serve(command: string, args: readonly string[]): Promise<string> {
  const program = run(command, args);
  await until(() => /\n/.test(program.stdout) || /rtsp:\/\/.*\n/.test(program.stderr));
  return program.stdout + program.stderr;
}

async function gstreamerCamera(args: readonly string[] = []): Promise<string> {
  const printed = await serve('/usr/bin/python3', [
    join(import.meta.dirname, '../testing/gstreamer-rtsp-server.py'),
    ...args,
  ]);
  return `127.0.0.1:${Number(printed)}/cam`;
}

describe('pulling', { timeout: 40_000 }, () => {
  it.each(['tcp', 'udp'] as const)('takes what ffmpeg pushes to our own server over %s', async (lower) => {
    const server = await listen();
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    const puller = await expectRelayDecodes(server.url('lab/cam'), { lowers: [lower] });
    await puller.close();
    await until(() => server.connections[1]?.ended !== undefined);
    expect(server.connections[1]?.ended).toBe('teardown');
  });

  it('plays over TCP when UDP stays silent', async () => {
    const server = await listen({ udpIsBlocked: true });
    ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    const config: Partial<ClientConfig> = { lowers: ['udp', 'tcp'], firstMediaTimeoutMs: 300 };
    const puller = await expectRelayDecodes(server.url('lab/cam'), config);
    expect(puller.connects.map(({ cause }) => cause)).toEqual(['start', 'transport']);
  });

  it('ends when the publisher has gone', async () => {
    const server = await listen();
    const pusher = ffmpegPush(server.url('lab/cam'), 'tcp');
    await published(server, 'lab/cam');
    const puller = new LoopbackClient(server.url('lab/cam'));
    await until(() => puller.packets > 0);
    pusher.signal('SIGKILL');
    await until(() => puller.ended !== undefined);
    expect(puller.ended).toEqual({ tag: 'closed-by-server' });
  });

  it.skipIf(!hasGStreamerServer).each([
    ['tcp', []],
    ['udp', ['--lower', 'udp']],
    ['digest', ['--auth', 'digest']],
    ['basic', ['--auth', 'basic']],
  ])('takes a camera of GStreamer (%s)', async (name, args) => {
    const user = args.includes('--auth') ? 'camera:p%40ss%20word@' : '';
    const puller = await expectRelayDecodes(`rtsp://${user}${await gstreamerCamera(args)}`, {});
    recordClient(puller, `client-gstreamer-${name}`, `GStreamer 1.22's RTSP server, ${name}`);
  });

  it.skipIf(!hasGStreamerServer)('keeps a session of GStreamer alive that lasts two seconds', async () => {
    const camera = await gstreamerCamera(['--timeout', '2', '--lower', 'udp']);
    const puller = new LoopbackClient(`rtsp://${camera}`, { mediaTimeoutMs: 2_000 });
    opened.push(puller);
    // GStreamer waits five seconds longer than the timeout that it announces.
    await until(() => keepAlivesOf(puller) >= 10 || puller.ended !== undefined);
    expect(puller.ended).toBeUndefined();
    const { packets } = puller;
    await until(() => puller.packets > packets || puller.ended !== undefined);
    expect(puller.ended).toBeUndefined();
    await puller.close();
    recordClient(puller, 'client-gstreamer-keep-alive', "GStreamer 1.22's RTSP server, a session of two seconds");
  });

  it.skipIf(!hasGStreamerServer)('is told by GStreamer that a password is wrong or a path unknown', async () => {
    const protectedCamera = await gstreamerCamera(['--auth', 'digest']);
    const wrong = new LoopbackClient(`rtsp://camera:wrong@${protectedCamera}`);
    await until(() => wrong.ended !== undefined);
    expect(wrong.ended).toEqual({ tag: 'unauthorised' });
    recordClient(wrong, 'client-gstreamer-wrong-password', "GStreamer 1.22's RTSP server refuses a password");
    const lost = new LoopbackClient(`rtsp://${await gstreamerCamera()}/nowhere`);
    await until(() => lost.ended !== undefined);
    expect(lost.ended).toEqual({ tag: 'refused', method: 'DESCRIBE', status: 404 });
    recordClient(lost, 'client-gstreamer-404', "GStreamer 1.22's RTSP server knows no such path");
  });

  it.skipIf(!hasLive555Server).each(['tcp', 'udp'] as const)(
    'takes a file of live555MediaServer over %s',
    async (lower) => {
      const folder = mkdtempSync(join(tmpdir(), 'weir-rtsp-'));
      opened.push({ close: () => Promise.resolve(rmSync(folder, { recursive: true })) });
      const source = ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=25:duration=20'];
      await run('ffmpeg', [...source, ...H264, join(folder, 'test.264')]).finished;
      const printed = await serve('sh', ['-c', 'cd "$0" && exec live555MediaServer', folder]);
      const port = /:(\d+)\/<?filename/.exec(printed)?.[1] ?? '554';
      const puller = await expectRelayDecodes(`rtsp://127.0.0.1:${port}/test.264`, { lowers: [lower] });
      recordClient(puller, `client-live555-${lower}`, `live555MediaServer, RTP over ${lower}`);
    },
  );
});

function keepAlivesOf(client: LoopbackClient): number {
  return client.requests.filter((method) => method === 'GET_PARAMETER').length;
}
