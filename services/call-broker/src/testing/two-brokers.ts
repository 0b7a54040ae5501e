import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { Broker, startSurroundings, type Surroundings } from './broker.js';
import { APP, TestDevice } from './device.js';

/** Two instances of the service, with devices of one app at either. */
export class TwoBrokers {
  around!: Surroundings;
  here!: Broker;
  there!: Broker;
  /** A device that no test before had. */
  cid: number;
  #devices: TestDevice[] = [];

  constructor(
    firstCid: number,
    private readonly env: Readonly<Record<string, string>>,
  ) {
    this.cid = firstCid;
  }

  startOne(env: Readonly<Record<string, string>> = {}): Promise<Broker> {
    return Broker.start({ ...this.around.env, ...this.env, ...env });
  }

  async device(at = this.here, options = {}, cid = this.cid): Promise<TestDevice> {
    const device = await TestDevice.open(at.url, cid, options);
    this.#devices.push(device);
    return device;
  }

  async start(): Promise<void> {
    this.around = await startSurroundings();
    [this.here, this.there] = await Promise.all([this.startOne(), this.startOne()]);
    await this.here.service.apps.create(APP);
  }

  /** Before each test: starts again what the one before has stopped. */
  async renew(): Promise<void> {
    this.cid += 1;
    if (this.here.isOver) this.here = await this.startOne();
    if (this.there.isOver) this.there = await this.startOne();
  }

  endDevices(): void {
    for (const device of this.#devices.splice(0)) device.end();
  }

  async stop(): Promise<void> {
    await Promise.all([this.here.stop(), this.there.stop()]);
    await this.around.stop();
  }
}

/** Starts two instances before the tests of the file that calls this, and stops them afterwards. */
export const twoBrokers = (firstCid: number, env: Readonly<Record<string, string>> = {}): TwoBrokers => {
  const pair = new TwoBrokers(firstCid, env);
  beforeAll(() => pair.start(), 60_000);
  beforeEach(() => pair.renew());
  afterEach(() => pair.endDevices());
  afterAll(() => pair.stop());
  return pair;
};
