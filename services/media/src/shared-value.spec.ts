import { describe, expect, it } from 'vitest';
import { Shared, sharedIn } from './shared-value.js';

const told = () => {
  const what: string[] = [];
  const options = { close: (value: string) => void what.push(`closed ${value}`), onOver: () => void what.push('over') };
  return { what, options };
};

describe('what is shared', () => {
  it('is closed when the last of its users has let go, and not before', async () => {
    const { what, options } = told();
    const shared = new Shared(Promise.resolve('pipe'), options);
    const [first, second] = [await shared.use(), await shared.use()];
    expect([first.value, second.value]).toEqual(['pipe', 'pipe']);
    first.release();
    first.release();
    const third = shared.hold();
    second.release();
    expect(what).toEqual([]);
    third();
    await shared.value;
    expect(what).toEqual(['over', 'closed pipe']);
  });

  it('is closed even if its last user lets go before it is made', async () => {
    const { what, options } = told();
    let finish: (value: string) => void = () => undefined;
    const making = new Promise<string>((resolve) => {
      finish = resolve;
    });
    const shared = new Shared(making, options);
    shared.hold()();
    expect(what).toEqual(['over']);
    finish('pipe');
    await making;
    expect(what).toEqual(['over', 'closed pipe']);
  });

  it('is closed once when it is ended while it has users', async () => {
    const { what, options } = told();
    const shared = new Shared(Promise.resolve('pipe'), options);
    const { release } = await shared.use();
    shared.end();
    release();
    shared.end();
    await shared.value;
    expect(what).toEqual(['over', 'closed pipe']);
  });

  it('is found by its key until it is over, and then made anew', async () => {
    const pipes = new Map<string, Shared<number>>();
    const closed: number[] = [];
    let made = 0;
    const use = () =>
      sharedIn(
        pipes,
        'there',
        async () => (made += 1),
        (value) => closed.push(value),
      ).use();
    const uses = await Promise.all([use(), use()]);
    expect(uses.map(({ value }) => value)).toEqual([1, 1]);
    for (const { release } of uses) release();
    expect((await use()).value).toBe(2);
    expect(closed).toEqual([1]);
  });

  it('that could not be made fails all who wait for it, and is made anew for the next', async () => {
    const pipes = new Map<string, Shared<string>>();
    const use = (make: () => Promise<string>) => sharedIn(pipes, 'there', make, () => undefined).use();
    const failing = async () => {
      throw new Error('the worker has died');
    };
    const asked = [use(failing), use(failing)];
    for (const asking of asked) await expect(asking).rejects.toThrow('the worker has died');
    expect((await use(async () => 'pipe')).value).toBe('pipe');
  });
});
