import { describe, expect, it } from 'vitest';
import { expiryOf, uploadUrlProblem, wantsBlobType, type UploadUrlRules } from './upload-url.js';

const NOW_MS = Date.parse('2026-11-30T12:00:00Z');
const rules: UploadUrlRules = { nowMs: NOW_MS, minValidMs: 600_000, requireHttps: true };
const trapOf = (url: string, changes: Partial<UploadUrlRules> = {}) =>
  uploadUrlProblem(url, { ...rules, ...changes })?.trap;

/** As the AWS SDK signs it. */
const s3 = (changes: Record<string, string | undefined> = {}): string => {
  const url = new URL('https://bucket.s3.eu-central-1.amazonaws.com/file.webm');
  const query = {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Content-Sha256': 'UNSIGNED-PAYLOAD',
    'X-Amz-Credential': 'AKIA/20261130/eu-central-1/s3/aws4_request',
    'X-Amz-Date': '20261130T115900Z',
    'X-Amz-Expires': '3600',
    'X-Amz-Signature': 'secret-signature',
    'X-Amz-SignedHeaders': 'host',
    'x-id': 'PutObject',
    ...changes,
  };
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
  return url.href;
};

describe('an upload URL', () => {
  it.each([
    ['as the AWS SDK signs it when it needs no checksum', s3()],
    ['with a signed content type', s3({ 'X-Amz-SignedHeaders': 'content-type;host' })],
    [
      'with a signed header whose value is in the query',
      s3({ 'X-Amz-SignedHeaders': 'host;x-amz-acl', 'x-amz-acl': 'private' }),
    ],
    ['of S3, version 2', `https://b.example/f?AWSAccessKeyId=A&Expires=${NOW_MS / 1000 + 3600}&Signature=s`],
    [
      'of Google',
      'https://storage.googleapis.com/b/f?X-Goog-Date=20261130T115900Z&X-Goog-Expires=3600&X-Goog-SignedHeaders=host&X-Goog-Signature=s',
    ],
    ['of Azure', 'https://a.blob.core.windows.net/c/f?sv=2024-11-04&se=2026-11-30T13%3A00%3A00Z&sp=cw&sr=b&sig=s'],
    ['without a signature', 'https://files.example/inbox/f.webm'],
    ['whose Expires has another meaning', 'https://files.example/f.webm?expires=1'],
  ])('%s is accepted', (_what, url) => {
    expect(uploadUrlProblem(url, rules)).toBeUndefined();
  });

  it.each([
    ['crc32', 'AAAAAA=='],
    ['crc32c', 'AAAAAA=='],
    ['crc64nvme', 'AAAAAAAAAAA='],
    ['sha1', '2jmj7l5rSw0yVb/vlWAYkK/YBwk='],
    ['sha256', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='],
  ])('that is signed with the %s of an empty body is refused, and the error says how to avoid it', (kind, value) => {
    const problem = uploadUrlProblem(
      s3({ [`x-amz-checksum-${kind}`]: value, 'x-amz-sdk-checksum-algorithm': 'X' }),
      rules,
    );
    expect(problem?.trap).toBe('empty-body-checksum');
    expect(problem?.text).toContain('WHEN_REQUIRED');
    expect(problem?.text).toContain(`x-amz-checksum-${kind}`);
  });

  it('that is signed with the hash of a body is refused', () => {
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(trapOf(s3({ 'X-Amz-Content-Sha256': empty }))).toBe('empty-body-checksum');
    expect(trapOf(s3({ 'x-amz-checksum-crc32': 'y0Q5Jg==' }))).toBe('fixed-checksum');
  });

  it.each(['x-amz-server-side-encryption', 'x-amz-checksum-crc32', 'content-length', 'content-md5'])(
    'that is signed with the header %s, which an upload doesn’t send, is refused',
    (name) => {
      const problem = uploadUrlProblem(s3({ 'X-Amz-SignedHeaders': `host;${name}` }), rules);
      expect(problem?.trap).toBe('signed-header');
      expect(problem?.text).toContain(name);
    },
  );

  it('that has expired or expires too soon is refused', () => {
    expect(trapOf(s3({ 'X-Amz-Expires': '60' }))).toBe('expired');
    expect(trapOf(s3({ 'X-Amz-Expires': '600' }))).toBe('expires-soon');
    expect(trapOf(s3({ 'X-Amz-Expires': '660' }))).toBeUndefined();
    expect(trapOf(s3({ 'X-Amz-Date': '20261130T130000Z' }))).toBe('not-yet-valid');
    expect(trapOf(`https://b.example/f?AWSAccessKeyId=A&Expires=${NOW_MS / 1000}&Signature=s`)).toBe('expired');
    expect(trapOf('https://s.example/f?X-Goog-Date=20261130T110000Z&X-Goog-Expires=60&X-Goog-Signature=s')).toBe(
      'expired',
    );
    expect(trapOf('https://a.example/f?sv=1&se=2026-11-30T12%3A05Z&sp=w&sig=s')).toBe('expires-soon');
  });

  it('that permits no writing is refused', () => {
    expect(trapOf('https://a.example/f?sv=1&se=2026-12-30&sp=r&sig=s')).toBe('no-write-permission');
  });

  it('must be https, unless the platform allows http', () => {
    expect(trapOf('http://files.example/f')).toBe('scheme');
    expect(trapOf('http://files.example/f', { requireHttps: false })).toBeUndefined();
    for (const requireHttps of [true, false]) expect(trapOf('ftp://files.example/f', { requireHttps })).toBe('scheme');
  });

  it.each([
    ['malformed', 'files.example/f'],
    ['credentials', 'https://user:secret@files.example/f'],
    ['fragment', 'https://files.example/f#1'],
  ])('is refused if it is wrong: %s', (trap, url) => {
    expect(trapOf(url)).toBe(trap);
  });

  it('is never repeated by an error, because whoever has it can write', () => {
    for (const url of [
      s3({ 'X-Amz-Expires': '60' }),
      s3({ 'x-amz-checksum-crc32': 'AAAAAA==' }),
      'https://a:secret-signature@b/',
    ])
      expect(uploadUrlProblem(url, rules)?.text).not.toContain('secret-signature');
  });

  it('shows until when it is valid', () => {
    expect(expiryOf(s3())).toBe(Date.parse('2026-11-30T12:59:00Z'));
    expect(expiryOf('https://files.example/f')).toBeUndefined();
    expect(expiryOf('no url')).toBeUndefined();
  });

  it('of Azure needs to be told the kind of blob', () => {
    expect(wantsBlobType(new URL('https://a.example/f?sv=1&se=2026-12-30&sp=w&sig=s'))).toBe(true);
    expect(wantsBlobType(new URL(s3()))).toBe(false);
  });
});
