import { hash } from '@node-rs/argon2';
import { ErrorCode } from '@weir/contracts';
import { expect, test } from 'vitest';
import { Passwords } from './passwords.js';

const passwords = await Passwords.create();

test('hashes with argon2id, 19 MiB and 2 passes, with a new salt each time', async () => {
  const [one, two] = await Promise.all([passwords.hash('correct horse'), passwords.hash('correct horse')]);
  expect(one).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  expect(one).not.toBe(two);
  expect(passwords.isCurrent(one)).toBe(true);
});

test('verifies the right password and no other', async () => {
  const stored = await passwords.hash('correct horse');
  expect(await passwords.verify(stored, 'correct horse')).toBe(true);
  expect(await passwords.verify(stored, 'Correct horse')).toBe(false);
  expect(await passwords.verify(stored, '')).toBe(false);
});

test('no password is right for a user that does not exist', async () => {
  expect(await passwords.verify(undefined, 'correct horse')).toBe(false);
});

test('recognises a hash with older parameters', async () => {
  const old = await hash('correct horse', { memoryCost: 8192, timeCost: 1 });
  expect(passwords.isCurrent(old)).toBe(false);
  expect(await passwords.verify(old, 'correct horse')).toBe(true);
});

test('makes a crowd wait in turn and refuses what exceeds the queue', async () => {
  const stored = await hash('correct horse', { memoryCost: 8, timeCost: 1 });
  const results = await Promise.allSettled(
    Array.from({ length: 203 }, () => passwords.verify(stored, 'correct horse')),
  );
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(202);
  const refused = results.filter((result) => result.status === 'rejected');
  expect(refused.map(({ reason }) => reason.code)).toEqual([ErrorCode.UNAVAILABLE]);
  expect(await passwords.verify(stored, 'correct horse')).toBe(true);
});
