import { describe, expect, it } from 'vitest';
import { formatRtpInfo, formatSession, parseMethods, parseRtpInfo, parseSession } from './header-values.js';
import { RtspHeaders } from './headers.js';
import { formatTransport, parseTransport } from './transport-header.js';

describe('headers', () => {
  it('are found without regard to case, all of a name or the first', () => {
    const headers = RtspHeaders.of([
      ['WWW-Authenticate', 'Digest'],
      ['CSeq', '1'],
      ['www-authenticate', 'Basic'],
    ]);
    expect(headers.get('WWW-AUTHENTICATE')).toBe('Digest');
    expect(headers.all('WWW-Authenticate')).toEqual(['Digest', 'Basic']);
    expect(headers.with('Www-Authenticate', 'None').entries).toEqual([
      ['CSeq', '1'],
      ['Www-Authenticate', 'None'],
    ]);
  });
});

describe('Transport', () => {
  it.each([
    [
      'RTP/AVP/TCP;unicast;interleaved=0-1;mode=record',
      { lower: 'tcp', interleaved: { rtp: 0, rtcp: 1 }, mode: 'record' },
    ],
    ['RTP/AVP;unicast;client_port=5000-5001', { lower: 'udp', clientPorts: { rtp: 5000, rtcp: 5001 } }],
    ['rtp/avp/udp; unicast; client_port=5000', { lower: 'udp', clientPorts: { rtp: 5000, rtcp: 5001 } }],
    ['RTP/AVP;unicast;mode="PLAY"', { mode: 'play' }],
    ['RTP/AVP/TCP;unicast;mode=receive', { mode: 'record' }],
    [
      'RTP/AVPF/UDP;unicast;server_port=6-7;ssrc=DEADBEEF',
      { profile: 'RTP/AVPF', ssrc: 0xdeadbeef, serverPorts: { rtp: 6, rtcp: 7 } },
    ],
    ['RTP/AVP;multicast;destination=224.0.0.1;port=5000-5001;ttl=1', { multicast: true, destination: '224.0.0.1' }],
    ['RTP/AVP;unicast;source=10.0.0.1;layers=1;append', { source: '10.0.0.1' }],
  ])('is read: %s', (header, expected) => {
    const specs = parseTransport(header);
    expect(specs).toHaveLength(1);
    expect(specs[0]).toMatchObject(expected);
  });

  it('drops what makes no sense, and keeps the rest', () => {
    const header = 'RTP/AVP/TCP;unicast;interleaved=0-256;client_port=a-b;ssrc=xyz;mode=dance;';
    expect(parseTransport(header)).toEqual([{ lower: 'tcp', profile: 'RTP/AVP', multicast: false }]);
  });

  it('has its alternatives in order, without those of other kinds', () => {
    const header = 'RAW/RAW/UDP;unicast,RTP/AVP;multicast,,MP2T/H2221/UDP;unicast, RTP/AVP/TCP;unicast';
    expect(parseTransport(header).map(({ lower }) => lower)).toEqual(['udp', 'tcp']);
    expect(parseTransport('RTP/AVP;unicast,'.repeat(1000)).length).toBeLessThanOrEqual(16);
  });

  it('is written as it is read', () => {
    const header =
      'RTP/AVP;unicast;source=10.0.0.1;client_port=5000-5001;server_port=6000-6001;ssrc=0000ABCD;mode=play';
    expect(parseTransport(header).map(formatTransport)).toEqual([header]);
  });
});

describe('Session', () => {
  it.each([
    ['12345678', { id: '12345678', timeoutS: undefined }],
    ['+.GQ6csbCnFIDj5P;timeout=2', { id: '+.GQ6csbCnFIDj5P', timeoutS: 2 }],
    [' 1 ; Timeout = 60 ; x', { id: '1', timeoutS: 60 }],
    ['1;timeout=0', { id: '1', timeoutS: undefined }],
    ['1;timeout=soon', { id: '1', timeoutS: undefined }],
  ])('is read: %s', (header, expected) => {
    expect(parseSession(header)).toEqual(expected);
  });

  it('has an id', () => {
    expect(parseSession('')).toBeUndefined();
    expect(parseSession(';timeout=3')).toBeUndefined();
    expect(parseSession('a b')).toBeUndefined();
  });

  it('is written', () => {
    expect(formatSession({ id: 'a', timeoutS: 60 })).toBe('a;timeout=60');
    expect(formatSession({ id: 'a', timeoutS: undefined })).toBe('a');
  });
});

describe('RTP-Info', () => {
  it.each([
    [
      'url=rtsp://h/a;seq=1;rtptime=2,url=b;rtptime=3',
      [
        ['rtsp://h/a', 1, 2],
        ['b', undefined, 3],
      ],
    ],
    [
      'url=rtsp://h/a;seq=1;rtptime=2, url=rtsp://h/b',
      [
        ['rtsp://h/a', 1, 2],
        ['rtsp://h/b', undefined, undefined],
      ],
    ],
    ['url="rtsp://h/a;x=1,2";seq=1', [['rtsp://h/a;x=1,2', 1, undefined]]],
    ['url=a;seq=70000;rtptime=', [['a', undefined, undefined]]],
    ['seq=1;rtptime=2', []],
    ['', []],
  ])('is read: %s', (header, expected) => {
    expect(parseRtpInfo(header).map(({ url, sequence, timestamp }) => [url, sequence, timestamp])).toEqual(expected);
  });

  it('is written as it is read', () => {
    const header = 'url=rtsp://h/a;seq=1;rtptime=2,url=rtsp://h/b';
    expect(formatRtpInfo(parseRtpInfo(header))).toBe(header);
  });
});

it('Public is a set of methods', () => {
  expect(parseMethods(' OPTIONS, play ,,GET_PARAMETER')).toEqual(new Set(['OPTIONS', 'PLAY', 'GET_PARAMETER']));
});
