export interface OriginalAnswerOptions {
  readonly direction: 'recvonly' | 'sendonly';
  readonly usernameFragment?: string;
  readonly password?: string;
  readonly fingerprint?: string;
  readonly address?: string;
  readonly ports?: { readonly audio: number; readonly video: number };
  readonly ssrcs?: { readonly audio: number; readonly video: number };
}

/**
 * The original server's answer, as its documentation records it: no BUNDLE, a port for each m-line, one user fragment,
 * no `a=setup`, `RTP/SAVPF`, feedback for all codecs at once. Tests choose only the values.
 */
export const originalAnswer = ({
  direction,
  usernameFragment = '90e14ad0-fdb2-11e8-bce2-a3f72476fb49cfmkh1cug233q2',
  password = '40u9aoieitv0u62tol3pr1g3h4',
  fingerprint = '33:7A:40:CF:1C:42:03:20:EE:E9:F9:95:24:2A:95:85:D6:25:A9:68:C6:CF:40:09:82:74:B4:11:22:33:44:55',
  address = '188.40.244.249',
  ports = { audio: 31_686, video: 31_920 },
  ssrcs = { audio: 1_734_923_542, video: 1_329_233_369 },
}: OriginalAnswerOptions): string => {
  const transport = (port: number, kind: 'audio' | 'video') => [
    `a=ice-pwd:${password}`,
    `a=ice-ufrag:${usernameFragment}`,
    `a=fingerprint:SHA-256 ${fingerprint}`,
    `a=candidate:1 1 udp 2130706431 ${address} ${port} typ host`,
    `a=candidate:1 2 udp 2130706431 ${address} ${port} typ host`,
    'a=end-of-candidates',
    'a=rtcp-mux',
    `a=rtcp:${port} IN IP4 ${address}`,
    `a=${direction}`,
    ...(direction === 'sendonly' ? [`a=ssrc:${ssrcs[kind]} cname:rtp/${kind}/${usernameFragment}`] : []),
  ];
  const h264 = (payloadType: number, mode: number, profile: string) => [
    `a=rtpmap:${payloadType} H264/90000`,
    `a=fmtp:${payloadType} level-asymmetry-allowed=1;packetization-mode=${mode};profile-level-id=${profile}`,
  ];
  return [
    ...['v=0', `o=Flashphoner 0 1544579813187 IN IP4 ${address}`, 's=Flashphoner/1.0', `c=IN IP4 ${address}`, 't=0 0'],
    ...[`m=audio ${ports.audio} RTP/SAVPF 111 8 9`, `c=IN IP4 ${address}`, 'a=mid:audio'],
    ...['a=rtpmap:111 opus/48000/2', 'a=rtpmap:8 PCMA/8000', 'a=rtpmap:9 G722/8000', 'a=ptime:20'],
    ...transport(ports.audio, 'audio'),
    ...[`m=video ${ports.video} RTP/SAVPF 100 127 102 125 96`, `c=IN IP4 ${address}`, 'a=mid:video'],
    ...h264(100, 1, '42001f'),
    ...h264(127, 1, '42e01f'),
    ...h264(102, 0, '42001f'),
    ...h264(125, 0, '42e01f'),
    'a=rtpmap:96 VP8/90000',
    ...['a=rtcp-fb:* ccm fir', 'a=rtcp-fb:* nack', 'a=rtcp-fb:* nack pli', 'a=rtcp-fb:* goog-remb'],
    ...transport(ports.video, 'video'),
  ]
    .map((line) => `${line}\r\n`)
    .join('');
};
