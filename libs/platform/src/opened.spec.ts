import { expect, it } from 'vitest';
import { openInOrder, type Opened } from './opened.js';

const errors: string[] = [];
const log = { error: (fields: object) => void errors.push(JSON.stringify(fields)) };

const noting = (opened: Opened, closed: string[], ...names: string[]) => {
  for (const name of names) opened.onClose(name, () => void closed.push(name));
};

it('closes parts in the reverse order, and each once', async () => {
  const closed: string[] = [];
  const parts = await openInOrder(log, async (opened) => {
    noting(opened, closed, 'database', 'streams', 'sockets');
    return { answer: 42 };
  });
  await Promise.all([parts.close(), parts.close()]);
  expect([parts.answer, closed]).toEqual([42, ['sockets', 'streams', 'database']]);
});

it('waits for one part before it closes the next', async () => {
  const closed: string[] = [];
  const parts = await openInOrder(log, async (opened) => {
    noting(opened, closed, 'database');
    opened.add('streams', {
      close: async () => {
        await Promise.resolve();
        closed.push('streams');
      },
    });
    return {};
  });
  await parts.close();
  expect(closed).toEqual(['streams', 'database']);
});

it('closes the others although one cannot be closed, and says which', async () => {
  const closed: string[] = [];
  const parts = await openInOrder(log, async (opened) => {
    noting(opened, closed, 'database');
    opened.onClose('streams', () => Promise.reject(new Error('planned')));
    return {};
  });
  await parts.close();
  expect(closed).toEqual(['database']);
  expect(errors).toEqual([expect.stringContaining('"part":"streams"')]);
});

it('closes what was opened before a part that cannot be opened', async () => {
  const closed: string[] = [];
  const opening = openInOrder(log, async (opened) => {
    noting(opened, closed, 'database', 'streams');
    throw new Error('no port');
  });
  await expect(opening).rejects.toThrow('no port');
  expect(closed).toEqual(['streams', 'database']);
});
