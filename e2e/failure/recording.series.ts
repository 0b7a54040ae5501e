import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { z } from 'zod';
import type { BenchPlatform } from '../bench/platform.js';
import { descendants, nameOf } from '../bench/process-usage.js';
import { quantile } from '../bench/samples.js';
import { StandInService } from '../bench/stand-in-service.js';
import { reportOfCuts, type Cut } from './cut.js';
import { Filmed, FILMED_KINDS, type FilmedKind, type FilmingPorts, type RecordingAnswer } from './filmed.js';
import { codeKnownMedia } from './known-media.js';
import { wallMs } from './known-source.js';
import { readRecordedFile } from './recorded-file.js';
import type { Series, SeriesContext, SeriesResult } from './series.js';
import { UploadDestination } from './upload-destination.js';

const KILLS = ['everything', 'recording', 'media', 'postgres', 'gateway', 'nats', 'redis'] as const;
type Kill = (typeof KILLS)[number];

const MOMENTS = ['while it is recorded', 'at the stop', 'while the file is finished', 'during the upload'] as const;
type Moment = (typeof MOMENTS)[number];

/** Which recordings receive nothing while the process is down: all, those of sessions, or none. */
const INTERRUPTS: Readonly<Record<Kill, 'all' | 'sessions' | 'none'>> = {
  everything: 'all',
  recording: 'all',
  media: 'all',
  gateway: 'sessions',
  postgres: 'none',
  nats: 'none',
  redis: 'none',
};

const CAST: readonly FilmedKind[] = [...FILMED_KINDS, 'a session'];
const MEDIA_LENGTH_S = 40;
const HEALTHY_TIMEOUT_MS = 180_000;
const DELIVERED_TIMEOUT_MS = 90_000;
const WEBHOOKS_TIMEOUT_MS = 180_000;
const TIDY_TIMEOUT_MS = 60_000;
const UPLOAD_TIMEOUT_MS = 10_000;

interface Plan {
  readonly kill: Kill;
  readonly moment: Moment;
  /** How long everything is recorded before the kill or the stop. */
  readonly recordMs: number;
  /** Between the moment and the kill. */
  readonly delayMs: number;
  readonly upload: 'first bytes' | 'last bytes';
}

/** What became of one recording. */
interface Ended {
  readonly kill: Kill;
  readonly name: string;
  readonly missingMs: number;
  readonly lostFrames: number;
  readonly joints: number;
  readonly isDelivered: boolean;
  readonly deliveredAfterMs: number;
  readonly recordingId: string;
  readonly sessionId: string | undefined;
  readonly answer: RecordingAnswer;
}

/** Kills processes of the platform with SIGKILL while it records, and looks at every resulting file and webhook. */
export const recording: Series = {
  name: 'recording',
  trials: { full: 30, short: 2 },
  kills: KILLS,
  async run(context: SeriesContext): Promise<SeriesResult> {
    const { platform, trials, random, log } = context;
    const beganMs = Date.now();
    const broken: string[] = [];
    log('coding the pictures and the sound');
    const [media, service, destination] = await Promise.all([
      codeKnownMedia(MEDIA_LENGTH_S),
      StandInService.connect(platform),
      UploadDestination.open(random),
    ]);
    const ports: FilmingPorts = { platform, service, destination, media, masterKey: masterKeyOf(platform) };
    const ended: Ended[] = [];
    const done = new Map<Kill, number>();
    try {
      for (let trial = 1; trial <= trials; trial += 1) {
        const plan = planOf(context, trial);
        log(`trial ${trial}: kill -9 of ${plan.kill} ${plan.moment}`);
        const say = (sentence: string) => {
          log(sentence);
          broken.push(`trial ${trial}, kill -9 of ${plan.kill} ${plan.moment}: ${sentence}`);
        };
        await ofTrial(trial, plan, ports, say, ended).catch((error: unknown) => say(wordsOf(error)));
        done.set(plan.kill, (done.get(plan.kill) ?? 0) + 1);
      }
      destination.isAlwaysUp = true;
      log('waiting for the last webhooks');
      const hooks = await webhooksOf(ended, destination);
      broken.push(...hooks.sentences, ...destination.offences, ...(await leftovers(platform, ended, beganMs)));
      return { tables: [tableOf(ended, done, hooks, destination)], broken };
    } finally {
      await service.close();
      await destination.close();
    }
  },
};

function planOf({ random, only }: SeriesContext, trial: number): Plan {
  const drawn = {
    moment: random.pick(MOMENTS),
    recordMs: 1_500 + random.below(2_500),
    delayMs: random.below(300),
    upload: random.pick<Plan['upload']>(['first bytes', 'last bytes']),
  };
  const chosen = KILLS.find((kill) => kill === only);
  return { kill: chosen ?? KILLS[(trial - 1) % KILLS.length] ?? 'everything', ...drawn };
}

async function ofTrial(
  trial: number,
  plan: Plan,
  ports: FilmingPorts,
  say: (sentence: string) => void,
  ended: Ended[],
): Promise<void> {
  await untilHealthy(ports.platform);
  const started = await Promise.allSettled(
    CAST.map((kind, index) => Filmed.start(kind, `filmed-${process.pid}-${trial}-${index}`, ports)),
  );
  const all = started.flatMap((result) => {
    if (result.status === 'fulfilled') return [result.value];
    say(`a recording didn't start: ${wordsOf(result.reason)}`);
    return [];
  });
  try {
    const killedMs = await play(plan, all, ports);
    const lastMs = Math.max(killedMs, ...all.map(({ stoppedMs = 0 }) => stoppedMs));
    const results = await Promise.allSettled(all.map((filmed) => endOf(filmed, plan, killedMs, lastMs, ports, say)));
    for (const result of results) {
      if (result.status === 'fulfilled') ended.push(result.value);
      else say(wordsOf(result.reason));
    }
  } finally {
    await Promise.all(all.map((filmed) => filmed.close()));
  }
}

/** @returns when the kill came */
async function play(plan: Plan, all: readonly Filmed[], { platform, destination }: FilmingPorts): Promise<number> {
  const stopAll = () => Promise.all(all.map((filmed) => filmed.stop()));
  const killNow = () => kill(platform, plan.kill);
  await sleep(plan.recordMs);
  switch (plan.moment) {
    case 'while it is recorded': {
      const killedMs = await killNow();
      await untilHealthy(platform);
      await Promise.all(all.filter(({ session }) => session?.isLost !== true).map((filmed) => filmed.goesOn()));
      await sleep(1_000);
      await stopAll();
      return killedMs;
    }
    case 'at the stop': {
      const stopping = stopAll();
      await sleep(plan.delayMs / 5);
      const killedMs = await killNow();
      await stopping;
      return killedMs;
    }
    case 'while the file is finished': {
      await stopAll();
      await sleep(plan.delayMs);
      return killNow();
    }
    case 'during the upload': {
      const names = all.map(({ name }) => name);
      const sees = destination.sees(plan.upload, names, AbortSignal.timeout(UPLOAD_TIMEOUT_MS));
      await Promise.all([stopAll(), sees]);
      await sleep(plan.delayMs);
      return killNow();
    }
    default:
      return plan.moment satisfies never;
  }
}

async function kill(platform: BenchPlatform, what: Kill): Promise<number> {
  const before = await platform.pids();
  const victims = Object.entries(before).flatMap(([name, pid]) =>
    pid !== undefined && (what === 'everything' || name === what) ? [[name, pid] as const] : [],
  );
  const atMs = wallMs();
  for (const [, pid] of victims) process.kill(pid, 'SIGKILL');
  await waitFor(
    async () => {
      const now = await platform.pids();
      return victims.every(([name, pid]) => now[name] !== undefined && now[name] !== pid);
    },
    { timeoutMs: HEALTHY_TIMEOUT_MS, what: `the restart of ${what}` },
  );
  return atMs;
}

const untilHealthy = ({ httpUrl }: BenchPlatform) =>
  waitFor(async () => (await fetch(`${httpUrl}/healthz`, { signal: AbortSignal.timeout(2_000) })).status === 200, {
    ...{ timeoutMs: HEALTHY_TIMEOUT_MS, intervalMs: 100, what: 'a healthy platform' },
  });

async function endOf(
  filmed: Filmed,
  plan: Plan,
  killedMs: number,
  lastMs: number,
  { destination }: FilmingPorts,
  say: (sentence: string) => void,
): Promise<Ended> {
  const answer = await filmed.ended(DELIVERED_TIMEOUT_MS);
  const deliveredAfterMs = wallMs() - lastMs;
  const isDelivered = answer.state === 'delivered';
  const common = {
    kill: plan.kill,
    name: filmed.name,
    joints: answer.details.joints.length,
    isDelivered,
    deliveredAfterMs,
  };
  const ids = { recordingId: filmed.id, sessionId: filmed.session?.id };
  const about = `the recording of ${filmed.kind} (${filmed.id})`;
  if (!isDelivered) {
    say(`${about} was not delivered: ${answer.reason}`);
    return { ...common, ...ids, answer, missingMs: NaN, lostFrames: 0 };
  }
  const file = await readRecordedFile(destination.fileOf(filmed.name), filmed.source.tracks);
  const { missingMs, lostFrames, sentences } = reportOfCuts({
    ...{ source: filmed.source, file, answer, startedMs: filmed.startedMs },
    cuts: cutsOf(filmed, plan, killedMs),
  });
  const frameMs = filmed.source.tracks[0]?.frameMs ?? 0;
  const faults = [
    ...sentences,
    ...(file.complaints === '' ? [] : [`doesn't decode: ${file.complaints.slice(0, 300)}`]),
    ...(file.unknownPictures === 0 ? [] : [`has ${file.unknownPictures} pictures that nobody has sent`]),
    ...(Math.abs(file.durationMs - (answer.durationMs ?? 0)) <= frameMs
      ? []
      : [`lasts ${file.durationMs} ms, and ${answer.durationMs} ms are told`]),
    ...(file.sizeBytes === answer.sizeBytes ? [] : [`has ${file.sizeBytes} bytes, and ${answer.sizeBytes} are told`]),
  ];
  for (const fault of faults) say(`${about}: ${fault}`);
  return { ...common, ...ids, answer, missingMs, lostFrames };
}

function cutsOf({ session, stoppedMs }: Filmed, { kill: killed, moment }: Plan, killedMs: number): Cut[] {
  const affects = INTERRUPTS[killed];
  const isInterrupted = affects === 'all' || (affects === 'sessions' && session !== undefined);
  const atKill = { atMs: killedMs, what: 'the kill' };
  const atStop = stoppedMs === undefined ? [] : [{ atMs: stoppedMs, what: 'the stop' }];
  if (!isInterrupted) return atStop;
  switch (moment) {
    case 'while it is recorded':
      return session === undefined ? [atKill, ...atStop] : [atKill];
    case 'at the stop':
      return [[atKill, ...atStop].reduce((first, cut) => (cut.atMs < first.atMs ? cut : first))];
    case 'while the file is finished':
    case 'during the upload':
      return atStop;
    default:
      return moment satisfies never;
  }
}

interface Webhooks {
  readonly sentences: readonly string[];
  lost(kill: Kill): number;
  repeated(kill: Kill): number;
}

/** Each recording of a session has one event, and each session another. */
async function webhooksOf(ended: readonly Ended[], { webhooks }: UploadDestination): Promise<Webhooks> {
  const expected = ended.flatMap(({ kill: killed, recordingId, sessionId, answer }) =>
    sessionId === undefined
      ? []
      : [
          { kill: killed, status: 'upload_ready', id: recordingId, answer },
          { kill: killed, status: 'session_finished', id: sessionId, answer: undefined },
        ],
  );
  const taken = ({ status, id }: { status: string; id: string }) =>
    webhooks.filter(({ body }) => body.status === status && (body.rec_id ?? body.session_id) === id);
  // The sentences below name those that haven't come.
  await waitFor(() => expected.every((event) => taken(event).length > 0), {
    ...{ timeoutMs: WEBHOOKS_TIMEOUT_MS, intervalMs: 500 },
  }).catch(() => undefined);
  const sentences = expected.flatMap((event) => {
    const all = taken(event);
    const [first] = all;
    if (first === undefined) return [`the webhook ${event.status} of ${event.id} was lost (kill -9 of ${event.kill})`];
    const ids = new Set(all.map(({ id }) => id));
    const { recording_file_duration_ms: durationMs, recording_file_size_bytes: sizeBytes } = first.body;
    const isTrue =
      event.answer === undefined || (durationMs === event.answer.durationMs && sizeBytes === event.answer.sizeBytes);
    return [
      ...(ids.size === 1 ? [] : [`the webhook ${event.status} of ${event.id} came with ${ids.size} ids`]),
      ...(isTrue
        ? []
        : [
            `the webhook of ${event.id} tells ${JSON.stringify(first.body)}, and the list ${JSON.stringify(event.answer)}`,
          ]),
    ];
  });
  const of = (killed: Kill) => expected.filter((event) => event.kill === killed).map((event) => taken(event).length);
  return {
    sentences,
    lost: (killed) => of(killed).filter((count) => count === 0).length,
    repeated: (killed) => of(killed).reduce((sum, count) => sum + Math.max(0, count - 1), 0),
  };
}

/** Processes, parts and temporary files that nobody needs any more. */
async function leftovers(platform: BenchPlatform, ended: readonly Ended[], beganMs: number): Promise<string[]> {
  const folder = join(platform.dataDir, 'recordings');
  const ours = new Set(ended.map(({ recordingId }) => recordingId));
  const surplus = () =>
    readdirSync(folder).flatMap((id) => {
      const path = join(folder, id);
      const entries = readdirSync(path);
      if (ours.has(id))
        return entries.filter((entry) => !/^file\.(webm|mp4)$/.test(entry)).map((entry) => join(id, entry));
      return entries.length === 0 && statSync(path).birthtimeMs > beganMs ? [id] : [];
    });
  // What is still there afterwards is reported below.
  await waitFor(() => surplus().length === 0, { timeoutMs: TIDY_TIMEOUT_MS, intervalMs: 500 }).catch(() => undefined);
  const files = surplus();
  const known = Object.values(await platform.pids()).flatMap((pid) => (pid === undefined ? [] : [pid]));
  const living = new Set(known.flatMap((pid) => [pid, ...descendants(pid)]));
  const orphans = processesOf(platform.dataDir).filter((pid) => !living.has(pid));
  return [
    ...(files.length === 0 ? [] : [`left behind in the folder of the recordings: ${files.slice(0, 20).join(', ')}`]),
    ...orphans.map((pid) => `the process ${pid} (${nameOf(pid)}) is left behind`),
  ];
}

/** The processes that were started with this data folder, or by one of these. */
function processesOf(dataDir: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`WEIR_DATA_DIR=${dataDir}`)
        ? [pid]
        : [];
    } catch {
      return []; // it has ended, or is another user's
    }
  });
}

function tableOf(
  ended: readonly Ended[],
  done: ReadonlyMap<Kill, number>,
  hooks: Webhooks,
  { puts }: UploadDestination,
): SeriesResult['tables'][number] {
  const rows = KILLS.filter((killed) => done.has(killed)).map((killed) => {
    const of = ended.filter((one) => one.kill === killed);
    const missing = of.map(({ missingMs }) => missingMs).filter(Number.isFinite);
    const delivered = of.filter(({ isDelivered }) => isDelivered);
    const waits = delivered.map(({ deliveredAfterMs }) => deliveredAfterMs / 1_000);
    const again = of.reduce((sum, { name }) => sum + Math.max(0, (puts.get(name)?.length ?? 0) - 1), 0);
    return [
      ...[killed, done.get(killed) ?? 0, of.length, delivered.length],
      ...[Math.max(0, ...missing), missing.length === 0 ? NaN : quantile(missing, 0.99)],
      of.reduce((sum, { lostFrames }) => sum + lostFrames, 0),
      ...[of.reduce((sum, { joints }) => sum + joints, 0), again],
      ...[hooks.repeated(killed), hooks.lost(killed)],
      ...(waits.length === 0 ? [NaN, NaN] : [quantile(waits, 0.5), Math.max(...waits)]),
    ];
  });
  return {
    title: 'kill -9 while everything is recorded',
    columns: [
      ...['killed', 'trials', 'recordings', 'delivered', 'missing ms, worst', 'p99', 'frames lost', 'joints'],
      ...['uploads again', 'webhooks again', 'lost', 'delivered after s, p50', 'worst'],
    ],
    rows,
    note: 'Missing is what was sent before the kill or the stop and isn’t in the file; frames lost are missing elsewhere. The receiver of webhooks is down half of the time.',
  };
}

const masterKeyOf = ({ dataDir }: BenchPlatform): string =>
  z
    .object({ recording: z.object({ masterKey: z.string() }) })
    .parse(JSON.parse(readFileSync(join(dataDir, 'credentials.json'), 'utf8'))).recording.masterKey;

const wordsOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${wordsOf(error.cause)})`;
};
