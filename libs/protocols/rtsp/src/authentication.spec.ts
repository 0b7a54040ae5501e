import { describe, expect, it } from 'vitest';
import {
  type AccountSecret,
  answerChallenge,
  type Challenge,
  type DigestChallenge,
  formatChallenge,
  parseAuthorization,
  parseChallenges,
  strongestChallenge,
  verifyCredentials,
} from './authentication.js';
import { hashHex } from './digest.js';

/** RFC 7616, 3.9.1. */
const RFC_7616 = {
  realm: 'http-auth@example.org',
  nonce: '7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v',
  opaque: 'FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS',
};
const MUFASA = {
  method: 'GET',
  uri: '/dir/index.html',
  username: 'Mufasa',
  password: 'Circle of Life',
  cnonce: 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ',
  nonceCount: 1,
};

function responseOf(authorization: string): string | undefined {
  return /response="([0-9a-f]+)"/.exec(authorization)?.[1];
}

describe('Digest', () => {
  it('gives the responses of the RFCs', () => {
    const challenges = parseChallenges([
      `Digest realm="${RFC_7616.realm}", qop="auth, auth-int", algorithm=SHA-256, nonce="${RFC_7616.nonce}", opaque="${RFC_7616.opaque}"`,
      `Digest realm="${RFC_7616.realm}", qop="auth, auth-int", algorithm=MD5, nonce="${RFC_7616.nonce}", opaque="${RFC_7616.opaque}"`,
    ]);
    expect(challenges.map((challenge) => responseOf(answerChallenge(challenge, MUFASA)))).toEqual([
      '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1',
      '8ca523f5e9506fed4657c9700eebdbec',
    ]);
    const [old] = parseChallenges([
      'Digest realm="testrealm@host.com", qop="auth", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"',
    ]);
    const account = { ...MUFASA, password: 'Circle Of Life', cnonce: '0a4f113b' };
    expect(old && responseOf(answerChallenge(old, account))).toBe('6629fae49393a05397450978507c4ef1');
  });

  const url = 'rtsp://h/live';
  const account = { method: 'DESCRIBE', url, realm: 'weir', username: 'bot' };
  const secret: AccountSecret = { tag: 'password', password: 'pass' };
  const answer = { method: 'DESCRIBE', uri: url, username: 'bot', password: 'pass', cnonce: 'c', nonceCount: 1 };
  const challenge: DigestChallenge = {
    scheme: 'digest',
    realm: 'weir',
    nonce: 'n',
    algorithm: 'MD5',
    algorithmNamed: true,
    qop: 'auth',
    opaque: 'o',
    stale: false,
  };
  const verify = (
    from: Challenge,
    changes: Partial<typeof answer> = {},
    as: Partial<Parameters<typeof verifyCredentials>[1]> = {},
  ): boolean => {
    const credentials = parseAuthorization(answerChallenge(from, { ...answer, ...changes }));
    return credentials !== undefined && verifyCredentials(credentials, { ...account, secret, ...as });
  };

  it.each(['MD5', 'SHA-256', 'MD5-sess', 'SHA-256-sess'] as const)(
    'of %s is answered and verified, with qop and without',
    (algorithm) => {
      for (const qop of ['auth', undefined] as const) {
        expect(verify({ ...challenge, algorithm, qop })).toBe(true);
        expect(verify({ ...challenge, algorithm, qop }, { password: 'wrong' })).toBe(false);
        expect(verify({ ...challenge, algorithm, qop }, { method: 'ANNOUNCE' })).toBe(false);
        expect(verify({ ...challenge, algorithm, qop }, { username: 'other' })).toBe(false);
        expect(verify({ ...challenge, algorithm, qop, realm: 'other' })).toBe(false);
      }
    },
  );

  it('is verified against a stored hash of its algorithm and no other', () => {
    const md5: AccountSecret = { tag: 'digest', hash: 'md5', ha1: hashHex('md5', 'bot:weir:pass') };
    expect(verify(challenge, {}, { secret: md5 })).toBe(true);
    expect(verify({ ...challenge, algorithm: 'SHA-256' }, {}, { secret: md5 })).toBe(false);
    expect(verify({ scheme: 'basic', realm: 'weir' }, {}, { secret: md5 })).toBe(false);
  });

  it('is for the resource that was asked for, however the client writes it', () => {
    for (const uri of ['rtsp://h/live/', '/live', 'rtsp://other/live']) expect(verify(challenge, { uri })).toBe(true);
    for (const uri of ['rtsp://h/other', '/live/trackID=0', '*']) expect(verify(challenge, { uri })).toBe(false);
    const withQuery = { url: 'rtsp://h/live?a=1' };
    expect(verify(challenge, { uri: 'rtsp://h/live?a=2' }, withQuery)).toBe(false);
    expect(verify(challenge, { uri: '/live?a=1' }, withQuery)).toBe(true);
  });

  it('keeps quotes and backslashes of names apart from its own', () => {
    const username = 'a"b\\c, realm="x';
    expect(verify(challenge, { username }, { username })).toBe(true);
  });

  it('of a camera is answered in the form in which it was asked', () => {
    const [plain] = parseChallenges(['Digest realm="cam",nonce="n"']);
    expect(plain && answerChallenge(plain, answer)).toMatch(
      /^Digest username="bot", realm="cam", nonce="n", uri="rtsp:\/\/h\/live", response="[0-9a-f]{32}"$/,
    );
  });
});

describe('challenges', () => {
  it('are read from one line or several, with commas and without quotes', () => {
    const line = 'Digest realm="a, b", nonce=abc==, algorithm="md5", stale=TRUE, Basic realm="c"';
    expect(parseChallenges([line, 'Bearer', 'basic realm=d'])).toMatchObject([
      { scheme: 'digest', realm: 'a, b', nonce: 'abc==', algorithm: 'MD5', stale: true, qop: undefined },
      { scheme: 'basic', realm: 'c' },
      { scheme: 'basic', realm: 'd' },
    ]);
  });

  it('are written as they are read', () => {
    const line = 'Digest realm="we\\"ir", nonce="n", algorithm=SHA-256, qop="auth", opaque="o", stale=true';
    expect(parseChallenges([line]).map(formatChallenge)).toEqual([line]);
    expect(parseChallenges(['Basic realm="weir"']).map(formatChallenge)).toEqual(['Basic realm="weir"']);
  });

  it.each([
    'Digest realm="a"',
    'Digest realm="a", nonce="n", algorithm=SHA-512-256',
    'Digest realm="a", nonce="n", qop="auth-int"',
    'Negotiate abc==',
    '"',
    '',
  ])('that cannot be answered are left out: %s', (line) => {
    expect(parseChallenges([line])).toEqual([]);
  });

  it('are answered by the strongest', () => {
    const challenges = parseChallenges([
      'Basic realm="a"',
      'Digest realm="a",nonce="n"',
      'Digest realm="a",nonce="n",algorithm=SHA-256',
    ]);
    expect(strongestChallenge(challenges)).toMatchObject({ algorithm: 'SHA-256' });
    expect(strongestChallenge(challenges.slice(0, 2))).toMatchObject({ algorithm: 'MD5' });
    expect(strongestChallenge([])).toBeUndefined();
  });
});

describe('Basic', () => {
  it('is answered and verified, even with a colon in the password', () => {
    const header = answerChallenge({ scheme: 'basic', realm: 'weir' }, { ...MUFASA, password: 'a:b ü' });
    const credentials = parseAuthorization(header);
    expect(credentials).toEqual({ scheme: 'basic', username: 'Mufasa', password: 'a:b ü' });
    const verify = (password: string): boolean =>
      credentials !== undefined &&
      verifyCredentials(credentials, {
        method: 'GET',
        url: '*',
        realm: 'weir',
        username: 'Mufasa',
        secret: { tag: 'password', password },
      });
    expect(verify('a:b ü')).toBe(true);
    expect(verify('a:b u')).toBe(false);
  });

  it.each(['Basic', 'Basic !', 'Basic YWJj', 'Bearer x', 'Digest username="a"', ''])('is not %j', (header) => {
    expect(parseAuthorization(header)).toBeUndefined();
  });
});
