import { describe, expect, it } from 'vitest';
import { formatCallUrl, parseCallUrl } from './index.js';

const TOKEN = '1003469_3222536192_1493481600_5574318032e39b62063d98e6bff50069';
const URL_TEXT = `topvdn://203.195.157.248:80?protocolType=1&token=${TOKEN}`;
const url = { host: '203.195.157.248', port: 80, token: TOKEN };

describe('the URL of a device', () => {
  it("of the vendor's example is read and written", () => {
    expect(parseCallUrl(URL_TEXT)).toMatchObject({ tag: 'url', url, token: { cid: 1003469, control: 3222536192 } });
    expect(formatCallUrl(url)).toBe(URL_TEXT);
  });

  it.each([
    `topvdn://203.195.157.248:80?token=${TOKEN}&protocolType=1`,
    `topvdn://203.195.157.248:80?protocolType=1 &token=${TOKEN}`,
    `topvdn://203.195.157.248:80?protocolType=1& token=${TOKEN}`,
    ` topvdn://203.195.157.248:80?protocolType=1&token=${TOKEN}\r\n`,
    `TOPVDN://203.195.157.248:80?protocolType=1&token=${TOKEN}`,
    `topvdn://203.195.157.248:80/?protocolType=1&token=${TOKEN}`,
    `topvdn://203.195.157.248:80?connectType=2&protocolType=1&mode=&token=${TOKEN}`,
  ])('may be written as %j', (text) => {
    expect(parseCallUrl(text)).toMatchObject({ tag: 'url', url });
  });

  it('has a host name or an IPv6 address as well', () => {
    for (const host of ['calls.example.com', '2001:db8::1', 'localhost']) {
      const text = formatCallUrl({ ...url, host });
      expect(parseCallUrl(text)).toMatchObject({ tag: 'url', url: { ...url, host } });
    }
  });

  it.each([
    ['', 'not-a-topvdn-url'],
    ['topvdn:', 'not-a-topvdn-url'],
    [`http://203.195.157.248:80?protocolType=1&token=${TOKEN}`, 'not-a-topvdn-url'],
    [`javascript:topvdn://203.195.157.248:80?protocolType=1&token=${TOKEN}`, 'not-a-topvdn-url'],
    [`topvdn://203.195.157.248?protocolType=1&token=${TOKEN}`, 'not-a-topvdn-url'],
    [`topvdn://user:secret@203.195.157.248:80?protocolType=1&token=${TOKEN}`, 'not-a-topvdn-url'],
    [`topvdn://a b:80?protocolType=1&token=${TOKEN}`, 'not-a-topvdn-url'],
    [`topvdn://203.195.157.248:0?protocolType=1&token=${TOKEN}`, 'wrong-port'],
    [`topvdn://203.195.157.248:65536?protocolType=1&token=${TOKEN}`, 'wrong-port'],
    [`topvdn://203.195.157.248:80`, 'unexpected-part'],
    [`topvdn://203.195.157.248:80/path?protocolType=1&token=${TOKEN}`, 'unexpected-part'],
    [`topvdn://203.195.157.248:80?protocolType=1&token=${TOKEN}#fragment`, 'unexpected-part'],
    [`topvdn://203.195.157.248:80?protocolType=1&token=${TOKEN}%00`, 'unexpected-part'],
    [`topvdn://203.195.157.248:80?protocolType=1&token=${TOKEN}\u0000`, 'unexpected-part'],
    [`topvdn://203.195.157.248:80?protocolType=1&&token=${TOKEN}`, 'unexpected-part'],
    [`topvdn://203.195.157.248:80?protocolType=1&token=${TOKEN}&token=${TOKEN}`, 'repeated-parameter'],
    [`topvdn://203.195.157.248:80?protocolType=1&protocolType=2&token=${TOKEN}`, 'repeated-parameter'],
    [`topvdn://0.0.0.0:1935?protocolType=2&connectType=1&token=${TOKEN}&mode=2`, 'wrong-protocol-type'],
    [`topvdn://203.195.157.248:80?protocolType=01&token=${TOKEN}`, 'wrong-protocol-type'],
    [`topvdn://203.195.157.248:80?token=${TOKEN}`, 'wrong-protocol-type'],
    ['topvdn://203.195.157.248:80?protocolType=1', 'no-token'],
    ['topvdn://203.195.157.248:80?protocolType=1&token=', 'no-token'],
    ['topvdn://203.195.157.248:80?protocolType=1&token=x', 'malformed-token'],
    [`${URL_TEXT}&x=${'y'.repeat(1_100)}`, 'too-long'],
  ])('is not %j: %s', (text, reason) => {
    expect(parseCallUrl(text)).toEqual({ tag: 'refused', reason });
  });
});
