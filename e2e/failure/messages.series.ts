import { setTimeout as sleep } from 'node:timers/promises';
import { DEVICE_CONTROL, makeToken } from '@weir/protocol-topvdn';
import { startNats, startPostgres, startRedis } from '@weir/testing';
import pg from 'pg';
import { median, sum } from '../bench/samples.js';
import { AwayDevice } from './away-device.js';
import { BrokerProcess } from './broker-process.js';
import { SeededRandom } from './seeded-random.js';
import type { Series, SeriesContext, SeriesResult } from './series.js';

const APP = { id: 'Mess', key: 'k'.repeat(32) };
const FIRST_CID = 1_000;
const MESSAGES_PER_KILL = 2_000;
const DEVICES = { full: 400, short: 40 };
const PUSHERS = 8;
/** Messages of one push. */
const PUSHED_AT_ONCE = 20;
/** Every fifth time, both instances are killed. */
const BOTH_EVERY = 5;
const PUSH_TIMEOUT_MS = 10_000;
const NOTHING_COMES_MS = 60_000;

/** What all pushers have done. */
interface Pushed {
  messages: number;
  /** Pushes without an answer, or with another one than 200, each of which was made again. */
  repeats: number;
}

/**
 * Pushes messages that must be acknowledged to devices that are away half of the time, while two instances of
 * call-broker are killed with SIGKILL again and again. Each device must get every message once, in order.
 */
export const messages: Series = {
  name: 'messages',
  trials: { full: 50, short: 2 },
  async run(context: SeriesContext): Promise<SeriesResult> {
    const { short, trials, random, log } = context;
    const total = trials * MESSAGES_PER_KILL;
    const site = await Site.open();
    const beganMs = performance.now();
    const devices = Array.from({ length: short ? DEVICES.short : DEVICES.full }, (_, index) => {
      const cid = FIRST_CID + index;
      return new AwayDevice({
        ...{ cid, token: tokenOf(cid), random: new SeededRandom(random.below(2 ** 31)) },
        instanceUrl: () => site.anyInstance(random)?.url,
      });
    });
    const pushed: Pushed = { messages: 0, repeats: 0 };
    let kills = 0;
    try {
      const isReleased = () => pushed.messages < (total * (kills + 1)) / (trials + 1) || kills === trials;
      const pushing = Promise.all(
        Array.from({ length: PUSHERS }, (_, index) => push(site, devices, total, index, random, pushed, isReleased)),
      );
      while (kills < trials) {
        await sleep(500 + random.below(2_000));
        const killed = (kills + 1) % BOTH_EVERY === 0 ? site.instances : [random.pick(site.instances)];
        await Promise.all(killed.map((instance) => instance.kill()));
        kills += 1;
        log(`kill ${kills} of ${trials}: ${pushed.messages} messages are accepted, ${arrived(devices)} have arrived`);
        await Promise.all(killed.map((instance) => instance.start()));
      }
      await pushing;
      const pushedMs = performance.now() - beganMs;
      const awayShare = 1 - sum(devices.map(({ connectedMs }) => connectedMs)) / (pushedMs * devices.length);
      for (const device of devices) device.stay();
      await untilNothingComes(devices, total);
      const left = await site.stored();
      const startsMs = site.instances.flatMap((instance) => instance.startsMs);
      const elapsedMs = performance.now() - beganMs;
      return resultOf({ devices, total, kills, pushed, awayShare, left, startsMs, elapsedMs });
    } finally {
      await Promise.all(devices.map((device) => device.end()));
      await site.close();
    }
  },
};

/** Two instances of call-broker and their servers. */
class Site {
  private constructor(
    readonly instances: readonly [BrokerProcess, BrokerProcess],
    private readonly database: pg.Client,
    private readonly servers: readonly { stop(): Promise<void> }[],
  ) {}

  static async open(): Promise<Site> {
    const [nats, redis, postgres] = await Promise.all([startNats(), startRedis(), startPostgres()]);
    const env = { NATS_URL: nats.url, REDIS_URL: redis.url, DATABASE_URL: postgres.url };
    const first = await BrokerProcess.start(env);
    const second = await BrokerProcess.start(env);
    const database = new pg.Client(postgres.url);
    await database.connect();
    await database.query(`INSERT INTO call_broker."App" (id, key, tenant) VALUES ($1, $2, 'house')`, [APP.id, APP.key]);
    await database.query(`INSERT INTO call_broker."CidRange" (first, last, usage, "appId") VALUES ($1, $2, 1, $3)`, [
      FIRST_CID,
      FIRST_CID + DEVICES.full,
      APP.id,
    ]);
    return new Site([first, second], database, [nats, redis, postgres]);
  }

  anyInstance(random: SeededRandom): BrokerProcess | undefined {
    const up = this.instances.filter(({ isUp }) => isUp);
    return up[random.below(Math.max(1, up.length))];
  }

  /** The messages that are still in the database. */
  async stored(): Promise<number> {
    const { rows } = await this.database.query<{ count: string }>('SELECT count(*) FROM call_broker."DeviceMessage"');
    return Number(rows[0]?.count);
  }

  async close(): Promise<void> {
    await Promise.all(this.instances.map((instance) => instance.kill()));
    await this.database.end();
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}

const tokenOf = (cid: number): string =>
  makeToken({ cid, control: DEVICE_CONTROL, expireS: Math.floor(Date.now() / 1_000) + 86_400 }, APP.key);

const arrived = (devices: readonly AwayDevice[]): number => sum(devices.map(({ texts }) => texts.length));

/** Each pusher pushes to devices of its own, so that their messages have an order. */
async function push(
  site: Site,
  devices: readonly AwayDevice[],
  total: number,
  index: number,
  random: SeededRandom,
  pushed: Pushed,
  isReleased: () => boolean,
): Promise<void> {
  const mine = devices.map((_device, at) => at).filter((at) => at % PUSHERS === index);
  const next = new Map(mine.map((at) => [at, 0]));
  const share = Math.floor(total / PUSHERS) + (index < total % PUSHERS ? 1 : 0);
  for (let done = 0; done < share; done += PUSHED_AT_ONCE) {
    while (!isReleased()) await sleep(20);
    const payload = Array.from({ length: Math.min(PUSHED_AT_ONCE, share - done) }, (_, at) => {
      const device = mine[(done + at) % mine.length] ?? 0;
      const number = next.get(device) ?? 0;
      next.set(device, number + 1);
      const to = FIRST_CID + device;
      return { from: 0, to, flag: 2, msg: Buffer.from(`${to}:${number}`).toString('base64') };
    });
    const body = JSON.stringify({ proxy: 1, id: `${index}.${done}`, payload });
    while (!(await isAccepted(site.anyInstance(random)?.url, body))) {
      pushed.repeats += 1;
      await sleep(100);
    }
    pushed.messages += payload.length;
  }
}

async function isAccepted(url: string | undefined, body: string): Promise<boolean> {
  if (url === undefined) return false;
  try {
    const response = await fetch(`${url}/v2/message/server/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-app-id': APP.id, 'x-app-key': APP.key },
      body,
      signal: AbortSignal.timeout(PUSH_TIMEOUT_MS),
    });
    const text = await response.text();
    if (response.status >= 400 && response.status < 500) throw new RangeError(`${response.status} ${text}`);
    return response.status === 200;
  } catch (error) {
    // Anything else is the end of the instance.
    if (error instanceof RangeError) throw error;
    return false;
  }
}

async function untilNothingComes(devices: readonly AwayDevice[], total: number): Promise<void> {
  let last = { count: arrived(devices), atMs: performance.now() };
  while (last.count < total && performance.now() - last.atMs < NOTHING_COMES_MS) {
    await sleep(200);
    const count = arrived(devices);
    if (count > last.count) last = { count, atMs: performance.now() };
  }
  // What is acknowledged is removed from the database, and what comes twice has the time to do so.
  await sleep(3_000);
}

interface Outcome {
  readonly devices: readonly AwayDevice[];
  readonly total: number;
  readonly kills: number;
  readonly pushed: Pushed;
  readonly awayShare: number;
  readonly left: number;
  readonly startsMs: readonly number[];
  readonly elapsedMs: number;
}

function resultOf({ devices, total, kills, pushed, awayShare, left, startsMs, elapsedMs }: Outcome): SeriesResult {
  const distinct = sum(devices.map(({ texts }) => new Set(texts).size));
  const twice = arrived(devices) - distinct;
  const disordered = devices.filter(
    ({ texts }) => !isAscending(texts.map((text) => Number(text.split(':')[1]))),
  ).length;
  const broken = [
    [total - distinct, 'messages were lost'],
    [twice, 'messages were delivered twice under different ids'],
    [disordered, 'devices got messages in another order'],
    [left, 'messages are still stored though their devices have acknowledged them'],
  ] as const;
  return {
    tables: [
      {
        title: `Messages to ${devices.length} devices while two instances of call-broker are killed`,
        columns: ['', ''],
        rows: [
          ['messages accepted', pushed.messages],
          ['kills', kills],
          ['time, s', elapsedMs / 1_000],
          ['start of an instance until it is healthy, s, median', median(startsMs) / 1_000],
          ['the same, longest', Math.max(...startsMs) / 1_000],
          ['share of the time that devices were away, %', awayShare * 100],
          ['connections of devices', sum(devices.map(({ connections }) => connections))],
          ['pushes that were made again', pushed.repeats],
          ['messages that waited for their device', sum(devices.map(({ stored }) => stored))],
          ['messages that came again under the same id', sum(devices.map(({ repeated }) => repeated))],
          ...broken.map(([count, what]) => [what, count]),
        ],
        note: 'A push without an answer is made again under its name. A device looks at the ids of messages.',
      },
    ],
    broken: broken.flatMap(([count, what]) => (count === 0 ? [] : [`${count} ${what}`])),
  };
}

const isAscending = (numbers: readonly number[]): boolean =>
  numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? -1));
