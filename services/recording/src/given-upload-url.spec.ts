import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { expect, it } from 'vitest';
import { givenUrlProblem } from './given-upload-url.js';

const config = { WEIR_RECORDING_UPLOAD_HTTP: false, WEIR_RECORDING_UPLOAD_MIN_VALID_MS: 600_000 };
const names = new Map([
  ['public.example', '93.184.215.14'],
  ['inner.example', '10.0.0.7'],
]);
const resolve = async (host: string) => {
  const address = names.get(host);
  if (address === undefined) throw new Error('no such name');
  return [{ address, family: 4 }];
};
const guard = new OutboundGuard({ resolve });

it.each([
  ['https://public.example/f.webm', undefined],
  ['https://not-yet.example/f.webm', undefined],
  ['https://inner.example/f.webm', 'forbidden-address'],
  ['https://127.0.0.1/f.webm', 'forbidden-address'],
  ['https://public.example:22/f.webm', 'forbidden-address'],
  ['http://public.example/f.webm', 'scheme'],
  ['https://public.example/f?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60', 'expired'],
])('%s: %s', async (url, trap) => {
  expect((await givenUrlProblem(url, guard, config))?.trap).toBe(trap);
});

it('an address that the operator allows is no problem, and http only if the operator allows it', async () => {
  const open = new OutboundGuard({ resolve, allow: parseAllowList('inner.example') });
  expect(await givenUrlProblem('https://inner.example/f', open, config)).toBeUndefined();
  const http = { ...config, WEIR_RECORDING_UPLOAD_HTTP: true };
  expect(await givenUrlProblem('http://inner.example/f', open, http)).toBeUndefined();
});
