import { describe, expect, it } from 'vitest';
import { CLOSE, ended, LENGTHS, nextDeadlineMs, problem, refusal, type MediaSessionId } from './index.js';
import { playing, publication, Transcript, type Phase } from './testing/transcript.js';

const session = (settings = {}) => new Transcript(settings).connects();

describe('a session', () => {
  it('is established by connection, getUserData and getVersion in this order', () => {
    const client = new Transcript().opens();
    client.says('connection', {
      appKey: 'defaultApp',
      mediaProviders: ['WebRTC', 'MSE'],
      clientVersion: '2.0',
      clientOSVersion: '5.0 (X11)',
      clientBrowserVersion: 'Mozilla/5.0',
      msePacketizationVersion: 2,
      custom: { token: 'secret' },
    });
    expect(client.takes()).toEqual(['authorise-connection']);
    client.given({ tag: 'connection-decided', decision: { allowed: true } });
    expect(client.takes()).toEqual(['S getUserData', 'S getVersion']);
    expect(client.sent('getUserData')).toEqual([
      {
        message: 'getUserData',
        data: [
          {
            useWsTunnel: false,
            useWsTunnelPacketization2: false,
            useBase64BinaryEncoding: false,
            appKey: 'defaultApp',
            mediaProviders: ['WebRTC', 'MSE'],
            authToken: '/203.0.113.9:50066/198.51.100.2:8443',
            status: 'ESTABLISHED',
            clientVersion: '2.0',
            clientOSVersion: '5.0 (X11)',
            clientBrowserVersion: 'Mozilla/5.0',
            msePacketizationVersion: 2,
            forceLogger: false,
            keepAlive: false,
          },
        ],
      },
    ]);
    expect(client.sent('getVersion')).toEqual([{ message: 'getVersion', data: ['5.2.0-weir'] }]);
  });

  it('is refused with a fail and the decided close code, before any getUserData', () => {
    const client = new Transcript().opens().says('connection', { appKey: 'nobody' });
    client.takes();
    client.given({
      tag: 'connection-decided',
      decision: { allowed: false, code: CLOSE.unknownApplication, info: 'No such application' },
    });
    expect(client.takes()).toEqual(['S fail connect "No such application"', 'close 4404 "No such application"']);
    expect(client.state.tag).toBe('closed');
  });

  it('is closed when access is not decided in time', () => {
    const client = new Transcript().opens().says('connection').waits(16_000);
    expect(client.takes()).toEqual([
      'authorise-connection',
      'S ping',
      'S ping',
      'S ping',
      'S fail connect "Access could not be decided in time"',
      'close 4503 "Access could not be decided in time"',
    ]);
  });

  it('is closed when no connection message comes within 10 s', () => {
    const client = new Transcript().opens().waits(9_999);
    expect(client.takes()).toEqual([]);
    expect(client.waits(1).takes()).toEqual([
      'S fail connect "No connection message came in time"',
      'close 4408 "No connection message came in time"',
    ]);
  });

  it('answers a second connection with a fail and goes on', () => {
    const client = session().publishes('live');
    client.takes();
    expect(client.says('connection', { appKey: 'other' }).takes()).toEqual([
      'S fail connect "Session is already connected"',
    ]);
    expect(client.state).toMatchObject({ tag: 'established', streams: { size: 1 } });
    const waiting = new Transcript().opens().says('connection').says('connection');
    expect(waiting.takes()).toEqual(['authorise-connection', 'S fail connect "Session is already connected"']);
  });

  it.each([
    ['publishStream', publication, 'S notifyStreamStatusEvent FAILED "Session does not exist"'],
    ['playStream', playing, 'S notifyStreamStatusEvent FAILED "Session does not exist"'],
    ['availableStream', { mediaSessionId: 'a', name: 'x' }, 'S availableStream "false" "Session does not exist"'],
    ['sendData', { operationId: 'a' }, 'S DataStatusEvent FAILED "Session does not exist"'],
    ['stopStream', { mediaSessionId: 'a' }, 'S fail stopStream "Session does not exist"'],
    ['publishStream', {}, 'S notifyStreamStatusEvent FAILED "MediaSessionId is null"'],
    ['whatever', {}, 'S fail whatever "Unknown message"'],
  ])('answers %s before connection and closes', (message, data, answer) => {
    expect(new Transcript().opens().says(message, data).takes()).toEqual([
      answer,
      'close 4400 "The first message must be connection"',
    ]);
  });

  it.each([
    ['publishStream', publication, 'S notifyStreamStatusEvent FAILED "Session not ready"'],
    ['playStream', playing, 'S notifyStreamStatusEvent FAILED "Session not ready"'],
    ['availableStream', { mediaSessionId: 'a', name: 'x' }, 'S availableStream "false" "Session not ready"'],
    ['snapshot', { mediaSessionId: 'a', name: 'x' }, 'S notifyStreamEvent snapshotFailed "Session not ready"'],
    ['sendData', { operationId: 'a' }, 'S DataStatusEvent FAILED "Session not ready"'],
    ['unPublishStream', { mediaSessionId: 'a' }, 'S fail unPublishStream "Session not ready"'],
  ])('answers %s with "Session not ready" while access is being decided', (message, data, answer) => {
    const client = new Transcript().opens().says('connection');
    client.takes();
    expect(client.says(message, data).takes()).toEqual([answer]);
    expect(client.state.tag).toBe('authorising');
  });

  it('closes a socket for media over WebSocket', () => {
    const client = new Transcript().opens().says('connectMediaTransport', { authToken: '/a:1/b:2' });
    expect(client.takes().at(-1)).toBe('close 4415 "Media over WebSocket is not supported"');
  });

  it('answers a ping in every state, with an empty array', () => {
    const client = new Transcript().opens();
    expect(client.says('ping').takes()).toEqual(['S pong']);
    client.says('connection').takes();
    expect(client.says('ping').takes()).toEqual(['S pong']);
    client.given({ tag: 'connection-decided', decision: { allowed: true } }).takes();
    expect(client.says('ping').takes()).toEqual(['S pong']);
    expect(client.sent('pong')[0]).toEqual({ message: 'pong', data: [] });
  });

  it('pings every 5 s and ends the session after 10 unanswered pings', () => {
    const client = session();
    expect(client.waits(50_000).takes()).toEqual(Array.from({ length: 10 }, () => 'S ping'));
    expect(client.waits(4_999).takes()).toEqual([]);
    expect(client.waits(1).takes()).toEqual(['close 4408 "Pings were not answered"']);
  });

  it('lives on when the ninth ping is answered, by a pong or by anything else', () => {
    for (const answer of ['pong', 'pushLogs']) {
      const client = session().waits(45_000).says(answer, null).waits(50_000);
      expect(client.takes()).toHaveLength(19);
      expect(client.state.tag).toBe('established');
    }
  });

  it.each(['pushLogs', 'submitBugReport', 'webRTCMetricsClientDescription', 'webRTCMetricsBatch', 'pong'])(
    'takes %s and says nothing',
    (message) => {
      expect(session().says(message, { logs: 'x' }).takes()).toEqual([]);
    },
  );

  it('answers sessionDebug', () => {
    const client = session().says('sessionDebug', { command: 'start' });
    expect(client.sent('notifySessionDebugEvent')).toEqual([
      { message: 'notifySessionDebugEvent', data: [{ status: 'start' }] },
    ]);
  });

  it('refuses calls so that the SDK lets the call go', () => {
    const client = session().says('call', { callId: 'c1', callee: '100' });
    expect(client.sent('finish')).toEqual([
      { message: 'finish', data: [{ callId: 'c1', status: 'FAILED', info: 'Calls are not supported' }] },
    ]);
    client.takes();
    expect(client.says('hangup', { callId: 'c1' }).takes()).toEqual(['S fail hangup "Calls are not supported"']);
  });

  it('says of an unknown message that it is unknown and goes on', () => {
    expect(session().says('pauseStream', {}).takes()).toEqual(['S fail pauseStream "Unknown message"']);
  });

  it('says of each malformed frame what is wrong, and closes at the tenth', () => {
    const client = session();
    client.given({ tag: 'frame', text: 'hello' });
    client.given({ tag: 'frame', text: '{"data":[]}' });
    client.given({ tag: 'frame', text: ' '.repeat(LENGTHS.frame + 1) });
    client.given({ tag: 'binary-frame', byteLength: 12 });
    expect(client.takes()).toEqual([
      'S fail frame "Frame is not JSON"',
      'S fail frame "Frame is not a message"',
      'S fail frame "Frame is too long"',
      'S fail frame "Binary frames are not supported"',
    ]);
    for (let count = 0; count < 6; count++) client.given({ tag: 'frame', text: '{' });
    expect(client.takes().at(-1)).toBe('close 4400 "Too many malformed frames"');
  });

  it('closes a session that floods, and lets a burst pass that comes after a pause', () => {
    const client = session({ frameBurst: 20, framesPerSecond: 10 });
    for (let count = 0; count < 18; count++) client.says('pong');
    expect(client.state.tag).toBe('established');
    client.waits(2_000);
    for (let count = 0; count < 19; count++) client.says('pong');
    expect(client.state.tag).toBe('established');
    client.takes();
    client.says('pong').says('pong');
    expect(client.takes()).toEqual(['S fail connect "Too many frames"', 'close 4429 "Too many frames"']);
  });

  it('counts long frames as many and log lines as a tenth', () => {
    const long = session({ frameBurst: 20, framesPerSecond: 0 });
    long.says('submitBugReport', 'x'.repeat(20 * 4_096));
    expect(long.state.tag).toBe('closed');
    const chatty = session({ frameBurst: 40, framesPerSecond: 0 });
    for (let count = 0; count < 300; count++) chatty.says('pushLogs', { logs: 'x' });
    expect(chatty.state.tag).toBe('established');
  });

  it('does nothing more once it is closed', () => {
    const client = session().given({ tag: 'socket-closed' });
    client.takes();
    client.says('publishStream', publication).says('connection').waits(60_000);
    client.given({ tag: 'terminate', code: CLOSE.terminated, info: 'x' }).given({ tag: 'socket-closed' });
    expect(client.takes()).toEqual([]);
    expect(nextDeadlineMs(client.state)).toBe(Infinity);
  });

  it('ended by an operator, tells the client and closes its streams', () => {
    const client = session().publishes('live');
    client.takes();
    client.given({ tag: 'terminate', code: CLOSE.terminated, info: 'Stopped by rest /terminate' });
    expect(client.takes()).toEqual([
      'S fail connect "Stopped by rest /terminate"',
      'close 4440 "Stopped by rest /terminate"',
      'close-session node disconnected',
    ]);
  });
});

describe('publishing', () => {
  it('goes from publishStream through setRemoteSDP to PUBLISHING when the media is up', () => {
    const client = session().says('publishStream', publication);
    expect(client.takes()).toEqual(['authorise publishStream']);
    expect(client.decides().takes()).toEqual(['publish test']);
    expect(client.answers().takes()).toEqual(['S setRemoteSDP']);
    expect(client.sent('setRemoteSDP')).toEqual([{ message: 'setRemoteSDP', data: ['p1', 'v=0 answer', true] }]);
    expect(client.media({ tag: 'connected' }).takes()).toEqual(['S notifyStreamStatusEvent PUBLISHING']);
    expect(client.effects).toContainEqual({ tag: 'joined', direction: 'publish', elapsedMs: 0 });
  });

  it.each(['publishes', 'plays'] as const)('%s all the same when media flow before the answer comes', (act) => {
    const client = session()[act]('offering');
    client.takes();
    expect(client.media({ tag: 'connected' }).takes()).toEqual([]);
    expect(client.answers().takes()).toEqual(
      act === 'publishes'
        ? ['S setRemoteSDP', 'S notifyStreamStatusEvent PUBLISHING']
        : ['S notifyAudioCodec', 'S setRemoteSDP', 'S notifyStreamStatusEvent PLAYING'],
    );
  });

  it('sends the full status object of the original server', () => {
    const client = session().publishes('live');
    expect(client.sent('notifyStreamStatusEvent')).toEqual([
      {
        message: 'notifyStreamStatusEvent',
        data: [
          {
            mediaSessionId: 'p1',
            name: 'test',
            published: true,
            hasVideo: true,
            hasAudio: true,
            status: 'PUBLISHING',
            audioCodec: 'opus',
            videoCodec: 'H264',
            record: false,
            width: 0,
            height: 0,
            bitrate: 0,
            minBitrate: 300,
            maxBitrate: 1500,
            quality: 0,
            createDate: client.nowMs,
            streamInfo: {
              nodeId: null,
              appKey: null,
              sessionId: null,
              mediaSessionId: 'p1',
              name: 'test',
              samplingTime: null,
              recordTimestamp: null,
              recordStarted: false,
            },
            mediaProvider: 'WebRTC',
            mediaType: 'publish',
            audioState: { muted: false },
            videoState: { muted: false },
          },
        ],
      },
    ]);
  });

  describe('with record: true', () => {
    const recording = { id: 'r1', active: true, startedMs: 1_700_000_000_500, fileName: 'r1.mp4' };
    const statusOf = (client: Transcript) => client.sent('notifyStreamStatusEvent').at(-1)?.data[0];
    const asking = () => {
      const client = session().publishes('connecting', { record: true });
      client.takes();
      return client.media({ tag: 'connected' });
    };

    it('is recorded as soon as media flow, and PUBLISHING names the file', () => {
      const client = asking();
      expect(client.takes()).toEqual(['record test']);
      client.given({ tag: 'recording-changed', streamId: client.streamId, recording });
      expect(client.takes()).toEqual(['S notifyStreamStatusEvent PUBLISHING']);
      expect(statusOf(client)).toMatchObject({
        ...{ record: true, recordName: 'r1.mp4' },
        streamInfo: { recordStarted: true, recordTimestamp: 1_700_000_000_500 },
      });
      client.says('unPublishStream', publication);
      expect(statusOf(client)).toMatchObject({ status: 'UNPUBLISHED', record: true, recordName: 'r1.mp4' });
    });

    const told = (client: Transcript) =>
      client.effects.flatMap((effect) => (effect.tag === 'recording-told' ? [effect.recording] : []));

    it('reports the beginning and the end of its recording once', () => {
      const client = asking();
      for (let i = 0; i < 2; i++) client.given({ tag: 'recording-changed', streamId: client.streamId, recording });
      expect(told(client)).toEqual([recording]);
      const ended = { ...recording, active: false };
      for (let i = 0; i < 2; i++)
        client.given({ tag: 'recording-changed', streamId: client.streamId, recording: ended });
      client.says('unPublishStream', publication);
      expect(told(client)).toEqual([recording, ended]);
    });

    it.each([
      ['its client stops it', (client: Transcript) => client.says('unPublishStream', publication)],
      ['the socket is lost', (client: Transcript) => client.given({ tag: 'socket-closed' })],
    ])('reports the end of its recording when %s', (_when, end) => {
      const client = asking();
      client.given({ tag: 'recording-changed', streamId: client.streamId, recording });
      end(client);
      expect(told(client)).toEqual([recording, { ...recording, active: false }]);
    });

    it('is recorded under the name that a hook chose', () => {
      const client = session().says('publishStream', { ...publication, record: true });
      client.decides({ allowed: true, streamName: 'renamed' }).answers().media({ tag: 'connected' });
      expect(client.takes().at(-1)).toBe('record renamed');
    });

    it('goes on without a recording that is refused, and says so', () => {
      const client = asking();
      client.given({ tag: 'recording-refused', streamId: client.streamId });
      expect(client.takes()).toEqual(['record test', 'S notifyStreamStatusEvent PUBLISHING']);
      const status = statusOf(client);
      expect(status).toMatchObject({ record: false, streamInfo: { recordStarted: false, recordTimestamp: null } });
      expect(status).not.toHaveProperty('recordName');
    });

    it('waits three seconds for the recording, and reports one that begins after that at its end', () => {
      const client = asking().waits(2_999);
      expect(client.takes()).toEqual(['record test']);
      expect(client.waits(1).takes()).toEqual(['S notifyStreamStatusEvent PUBLISHING']);
      expect(statusOf(client)).toMatchObject({ record: false });
      client.given({ tag: 'recording-changed', streamId: client.streamId, recording });
      expect(client.takes()).toEqual([]);
      client.says('unPublishStream', publication);
      expect(statusOf(client)).toMatchObject({ status: 'UNPUBLISHED', record: true, recordName: 'r1.mp4' });
    });

    it('keeps mutes while it waits for the recording, and may end then', () => {
      const client = asking().says('sendStreamEvent', { mediaSessionId: 'p1', type: 'audioMuted' });
      client.says('unPublishStream', publication);
      expect(client.takes()).toEqual([
        'record test',
        'close-session node client',
        'S notifyStreamStatusEvent UNPUBLISHED "Stopped by publisher stop"',
      ]);
      expect(statusOf(client)).toMatchObject({ audioState: { muted: true } });
      client.given({ tag: 'recording-changed', streamId: client.streamId, recording });
      client.given({ tag: 'recording-refused', streamId: client.streamId });
      expect(client.takes()).toEqual([]);
    });

    it('is not recorded any more when its recording ends, but goes on when an earlier one ends', () => {
      const client = asking();
      const { streamId } = client;
      client.given({ tag: 'recording-changed', streamId, recording });
      const second = { ...recording, id: 'r2', fileName: 'r2.mp4' };
      client.given({ tag: 'recording-changed', streamId, recording: second });
      client.given({ tag: 'recording-changed', streamId, recording: { ...recording, active: false } });
      const stream = () => client.state.tag === 'established' && client.state.streams.get('p1' as MediaSessionId);
      expect(stream()).toMatchObject({ recording: second });
      client.given({ tag: 'recording-changed', streamId, recording: { ...second, active: false } });
      client.says('unPublishStream', publication);
      expect(statusOf(client)).toMatchObject({
        record: false,
        recordName: 'r2.mp4',
        streamInfo: { recordStarted: false },
      });
    });
  });

  it('ignores record: true of a player', () => {
    const client = session().plays('live', { record: true });
    expect(client.takes()).not.toContain('record test');
    expect(client.sent('notifyStreamStatusEvent').at(-1)?.data[0]).toMatchObject({ status: 'PLAYING', record: false });
  });

  it('asks the media core in bit/s, for TCP when the client wants it', () => {
    const client = session().publishes('offering', { transport: 'TCP', custom: { room: 1 } });
    expect(client.effects).toContainEqual({
      tag: 'publish',
      streamId: client.streamId,
      streamName: 'test',
      offerSdp: 'v=0 offer',
      tcpOnly: true,
      minBps: 300_000,
      maxBps: 1_500_000,
    });
  });

  it('ends with UNPUBLISHED "Stopped by publisher stop" and the last size', () => {
    const client = session().publishes('live').media({ tag: 'video-size', width: 320, height: 240 });
    client.takes();
    client.says('unPublishStream', { ...publication, status: 'PUBLISHING' });
    expect(client.takes()).toEqual([
      'close-session node client',
      'S notifyStreamStatusEvent UNPUBLISHED "Stopped by publisher stop"',
    ]);
    expect(client.sent('notifyStreamStatusEvent').at(-1)?.data[0]).toMatchObject({ width: 320, height: 240 });
  });

  it('uses the name that a hook chose, and shows the client its own', () => {
    const client = session().says('publishStream', publication);
    client.decides({ allowed: true, streamName: 'renamed' });
    expect(client.takes().at(-1)).toBe('publish renamed');
    client.answers().media({ tag: 'connected' });
    expect(client.sent('notifyStreamStatusEvent')[0]?.data[0]).toMatchObject({ name: 'test' });
  });

  it.each([
    ['already-exists', 'Stream name is already in use'],
    ['no-common-codecs', 'No common codecs'],
    ['unavailable', 'Failed to add stream to proxy'],
    ['deadline', 'Failed to add stream to proxy'],
    ['invalid', 'Failed by error'],
    ['internal', 'Failed by error'],
  ] as const)('fails with %s as "%s"', (code, info) => {
    const client = session().publishes('offering');
    client.takes();
    client.given({ tag: 'refused', ref: client.ref, code });
    expect(client.takes()).toEqual([`S notifyStreamStatusEvent FAILED "${info}"`]);
  });

  it('refused by a token fails with a status, refused by a hook with a fail', () => {
    const client = session().publishes('deciding');
    client.takes();
    client.decides({ allowed: false, by: 'access', cause: refusal('forbidden') });
    expect(client.takes()).toEqual(['S notifyStreamStatusEvent FAILED "Restricted access"']);
    client.publishes('deciding');
    client.takes();
    client.decides({ allowed: false, by: 'hook', cause: { tag: 'denied', info: 'Not today' } });
    expect(client.takes()).toEqual(['S fail StreamStatusEvent "Not today"']);
    expect(client.sent('fail')[0]?.data[0]).toMatchObject({ id: 'p1', status: 'FAILED' });
    expect(client.state).toMatchObject({ streams: { size: 0 } });
  });

  it.each([
    [{ mediaSessionId: undefined }, 'MediaSessionId is null'],
    [{ mediaSessionId: null }, 'MediaSessionId is null'],
    [{ name: '' }, 'Stream name is null'],
    [{ name: 'x'.repeat(257) }, 'Stream name is not valid'],
    [{ sdp: 'x'.repeat(LENGTHS.sdp + 1) }, 'SDP is not valid'],
    [{ custom: 'x'.repeat(LENGTHS.custom + 1) }, 'Custom is not valid'],
    [{ mediaProvider: 'MSE' }, 'Media provider MSE is not supported'],
    [{ mediaProvider: 'WSPlayer' }, 'Media provider WSPlayer is not supported'],
    [{ rtmpUrl: 'rtmp://example.org/live' }, 'Failed by RTMP writer error'],
  ])('with %.60j fails with "%s"', (change, info) => {
    expect(session().publishes('deciding', change).takes()).toEqual([`S notifyStreamStatusEvent FAILED "${info}"`]);
  });

  it('refuses a mediaSessionId that is in use and keeps the stream that has it', () => {
    const client = session().publishes('live');
    client.takes();
    expect(client.says('playStream', { ...playing, mediaSessionId: 'p1' }).takes()).toEqual([
      'S notifyStreamStatusEvent FAILED "MediaSessionId is already in use"',
    ]);
    expect(client.state).toMatchObject({ streams: { size: 1 } });
  });

  it('refuses one stream more than a session may have', () => {
    const client = session({ maxStreams: 2 });
    for (const mediaSessionId of ['a', 'b', 'c']) client.says('playStream', { ...playing, mediaSessionId });
    expect(client.takes()).toEqual([
      'authorise playStream',
      'authorise playStream',
      'S notifyStreamStatusEvent FAILED "Too many streams"',
    ]);
  });

  it('can be published again under the same id and name once it has ended', () => {
    const client = session().publishes('live').says('unPublishStream', publication);
    const before = client.streamId;
    client.publishes('live');
    expect(client.takes().at(-1)).toBe('S notifyStreamStatusEvent PUBLISHING');
    expect(client.streamId).not.toBe(before);
  });

  it('shows the server’s receive rate, only once it is live and only with video', () => {
    const stats = {
      tag: 'stats' as const,
      videoBps: 704_856,
      videoFps: 30.6,
      nackCount: 1,
      pliCount: 2,
      lostPackets: 3,
      width: 640,
      height: 360,
    };
    const client = session().publishes('connecting').media(stats);
    expect(client.sent('inboundVideoRate')).toEqual([]);
    client.media({ tag: 'connected' }).media(stats);
    expect(client.sent('inboundVideoRate')).toEqual([
      {
        message: 'inboundVideoRate',
        data: [
          {
            mediaSessionId: 'p1',
            videoRate: 704_856,
            fps: 31,
            nack: 1,
            pli: 2,
            lostPackets: 3,
            width: 640,
            height: 360,
          },
        ],
      },
    ]);
    const player = session().plays('live').media(stats);
    expect(player.sent('outboundVideoRate')).toHaveLength(1);
    const audioOnly = session().publishes('offering').answers({ audio: 'opus', video: '' });
    audioOnly.media({ tag: 'connected' }).media(stats);
    expect(audioOnly.sent('inboundVideoRate')).toEqual([]);
  });
});

describe('playing', () => {
  it('goes through notifyAudioCodec, setRemoteSDP and PLAYING to both forms of the size', () => {
    const client = session().says('playStream', playing);
    expect(client.takes()).toEqual(['authorise playStream']);
    expect(client.decides().takes()).toEqual(['find test']);
    expect(client.finds().takes()).toEqual(['play test']);
    client.given({
      tag: 'answered',
      streamId: client.streamId,
      nodeId: 'node',
      sdp: 'v=0 answer',
      codecs: { audio: 'opus', video: 'VP8' },
      notCarried: [],
      stream: { audioMuted: true, videoMuted: false, width: 640, height: 480 },
    });
    expect(client.takes()).toEqual(['S notifyAudioCodec', 'S setRemoteSDP']);
    expect(client.sent('notifyAudioCodec')).toEqual([{ message: 'notifyAudioCodec', data: ['v1', { name: 'opus' }] }]);
    expect(client.media({ tag: 'connected' }).takes()).toEqual([
      'S notifyStreamStatusEvent PLAYING',
      'S notifyVideoFormat',
      'S notifyStreamEvent resize',
    ]);
    expect(client.sent('notifyStreamStatusEvent')[0]?.data[0]).toMatchObject({
      published: false,
      videoCodec: 'VP8',
      audioState: { muted: true },
      videoState: { muted: false },
    });
    const size = { streamerVideoWidth: 640, streamerVideoHeight: 480 };
    expect(client.sent('notifyVideoFormat')[0]?.data).toEqual([{ mediaSessionId: 'v1', status: 'RESIZE', ...size }]);
    expect(client.sent('notifyStreamEvent')[0]?.data).toEqual([
      { mediaSessionId: 'v1', type: 'resize', payload: size },
    ]);
  });

  it('reports a size that becomes known later, and each change', () => {
    const client = session().plays('live');
    client.takes();
    client.media({ tag: 'video-size', width: 320, height: 240 });
    expect(client.takes()).toEqual(['S notifyVideoFormat', 'S notifyStreamEvent resize']);
    client.media({ tag: 'video-size', width: 320, height: 240 });
    expect(client.takes()).toEqual([]);
    client.media({ tag: 'video-size', width: 640, height: 480 });
    expect(client.takes()).toHaveLength(2);
  });

  it('plays a stream that is being published but not yet ready', () => {
    const client = session().plays('finding');
    client.takes();
    expect(client.finds(false).takes()).toEqual(['play test']);
  });

  it('fails with "Stream not found" when there is no such stream', () => {
    const client = session().plays('finding');
    client.takes();
    client.given({ tag: 'found', ref: client.ref, stream: undefined });
    expect(client.takes()).toEqual(['S notifyStreamStatusEvent FAILED "Stream not found"']);
  });

  it('fails when the registry cannot be asked', () => {
    const client = session().plays('finding');
    client.takes();
    client.given({ tag: 'refused', ref: client.ref, code: 'unavailable' });
    expect(client.takes()).toEqual(['S notifyStreamStatusEvent FAILED "Failed to connect to origin stream"']);
  });

  it('ends with STOPPED "Stopped by user"', () => {
    const client = session().plays('live');
    client.takes();
    expect(client.says('stopStream', playing).takes()).toEqual([
      'close-session node client',
      'S notifyStreamStatusEvent STOPPED "Stopped by user"',
    ]);
  });

  it('is told when its publisher has gone', () => {
    const client = session().plays('live');
    client.takes();
    expect(client.media({ tag: 'ended', reason: 'stream-ended' }).takes()).toEqual([
      'S notifyStreamStatusEvent FAILED "Stopped by publisher stop"',
    ]);
  });

  it('hears what the publisher says, under its own id', () => {
    const client = session().plays('live');
    client.takes();
    client.media({ tag: 'signal', signal: { tag: 'audio-muted', muted: true } });
    client.media({ tag: 'signal', signal: { tag: 'video-muted', muted: true } });
    client.media({ tag: 'signal', signal: { tag: 'video-muted', muted: false } });
    client.media({ tag: 'signal', signal: { tag: 'data', json: '{"count":1}' } });
    client.media({ tag: 'signal', signal: { tag: 'data', json: 'no json' } });
    expect(client.takes()).toEqual([
      'S notifyStreamEvent audioMuted',
      'S notifyStreamEvent videoMuted',
      'S notifyStreamEvent videoUnmuted',
      'S notifyStreamEvent data',
      'S notifyStreamEvent data',
    ]);
    expect(client.sent('notifyStreamEvent').slice(-2)).toEqual([
      { message: 'notifyStreamEvent', data: [{ mediaSessionId: 'v1', type: 'data', payload: { count: 1 } }] },
      { message: 'notifyStreamEvent', data: [{ mediaSessionId: 'v1', type: 'data', payload: 'no json' }] },
    ]);
  });

  it('puts a mute that came while it was connecting into PLAYING', () => {
    const client = session().plays('connecting');
    client.media({ tag: 'signal', signal: { tag: 'video-muted', muted: true } });
    client.takes();
    client.media({ tag: 'connected' });
    expect(client.takes()).toEqual(['S notifyStreamStatusEvent PLAYING']);
    expect(client.sent('notifyStreamStatusEvent')[0]?.data[0]).toMatchObject({ videoState: { muted: true } });
  });

  it('is told in PLAYING what of the stream it doesn’t get', () => {
    const client = session().says('playStream', playing).decides().finds();
    const notCarried = ["video H264: the player doesn't take it"];
    client.answers({ audio: 'opus', video: '' }, notCarried).media({ tag: 'connected' });
    expect(client.sent('notifyStreamStatusEvent').at(-1)?.data[0]).toMatchObject({ hasVideo: false, notCarried });
    const another = session().plays('live');
    expect(another.sent('notifyStreamStatusEvent').at(-1)?.data[0]).not.toHaveProperty('notCarried');
  });

  it('is told of missing bandwidth as a string with a slash', () => {
    const client = session().plays('live');
    client.media({ tag: 'not-enough-bandwidth', neededBps: 900_000, availableBps: 400_000 });
    expect(client.sent('notifyStreamEvent')).toEqual([
      {
        message: 'notifyStreamEvent',
        data: [{ mediaSessionId: 'v1', type: 'notEnoughBandwidth', payload: { info: '900000/400000' } }],
      },
    ]);
  });
});

const kinds = [
  ['publisher', 'p1', 'unPublishStream', 'UNPUBLISHED "Stopped by publisher stop"'],
  ['player', 'v1', 'stopStream', 'STOPPED "Stopped by user"'],
] as const;
const phases: Phase[] = ['deciding', 'offering', 'connecting', 'live'];
const cases = kinds.flatMap((kind) => phases.map((phase) => [...kind, phase] as const));

const inPhase = (kind: 'publisher' | 'player', phase: Phase): Transcript => {
  const client = session();
  if (kind === 'publisher') client.publishes(phase);
  else client.plays(phase);
  client.takes();
  return client;
};

/** Whether the node of the stream is known in this phase. */
const nodeKnown = (kind: 'publisher' | 'player', phase: Phase) =>
  phase === 'connecting' || phase === 'live' || (phase === 'offering' && kind === 'player');

describe.each(cases)('a %s (%s, %s -> %s) that is %s', (kind, mediaSessionId, stopMessage, status, phase) => {
  const closing = nodeKnown(kind, phase);

  it('is stopped at once when its client stops it', () => {
    const client = inPhase(kind, phase).says(stopMessage, { mediaSessionId });
    expect(client.takes()).toEqual([
      ...(closing ? ['close-session node client'] : []),
      `S notifyStreamStatusEvent ${status}`,
    ]);
  });

  it('is let go without a word when the socket is lost', () => {
    const client = inPhase(kind, phase).given({ tag: 'socket-closed' });
    expect(client.takes()).toEqual(closing ? ['close-session node disconnected'] : []);
    expect(client.effects.at(-1)).toMatchObject({
      tag: 'status-changed',
      status: { info: 'Stopped by session disconnect' },
    });
  });

  it('has failed 31 s after it began unless it is live, and within 15 s of its permission', () => {
    const client = inPhase(kind, phase).waits(phase === 'deciding' ? 16_000 : 15_000);
    const failed = client.takes().filter((line) => line.includes('FAILED'));
    expect(failed).toHaveLength(phase === 'live' ? 0 : 1);
    if (phase === 'connecting') expect(failed[0]).toContain('"Failed by ICE timeout"');
  });

  it('stays as it is when everything that happened to it happens again', () => {
    const client = inPhase(kind, phase);
    if (phase === 'deciding') return;
    client.decides();
    if (phase === 'offering') client.finds();
    else client.finds().answers();
    if (phase === 'live') client.media({ tag: 'connected' });
    expect(client.takes()).toEqual([]);
  });

  it('is not revived by what comes after its end', () => {
    const client = inPhase(kind, phase).says(stopMessage, { mediaSessionId });
    client.takes();
    client.decides().finds().answers().media({ tag: 'connected' }).media({ tag: 'ended', reason: 'ice-lost' });
    client.given({ tag: 'refused', ref: client.ref, code: 'internal' });
    // A late answer means that an unwanted session was opened.
    expect(client.takes()).toEqual(['close-session node client']);
  });

  it('is closed on its node when the answer comes after the socket was lost', () => {
    const client = inPhase(kind, phase).given({ tag: 'socket-closed' });
    client.takes();
    expect(client.answers().takes()).toEqual(['close-session node disconnected']);
  });

  it('fails with "Stopped by rest /terminate" when an operator ends it', () => {
    const client = inPhase(kind, phase);
    client.given({ tag: 'terminate-stream', streamId: client.streamId, cause: ended('terminated') });
    expect(client.takes()).toEqual([
      ...(closing ? ['close-session node terminated'] : []),
      'S notifyStreamStatusEvent FAILED "Stopped by rest /terminate"',
    ]);
  });

  it.each([
    ['ice-timeout', 'FAILED "Failed by ICE timeout"'],
    ['dtls-failed', 'FAILED "Failed by DTLS error"'],
    ['node-lost', 'FAILED "Stream failed"'],
  ] as const)('ends as the media core says: %s', (reason, expected) => {
    const client = inPhase(kind, phase).media({ tag: 'ended', reason });
    expect(client.takes()).toEqual([`S notifyStreamStatusEvent ${expected}`]);
  });
});

describe('stopping what is not there', () => {
  it('is answered with the status that stopping leads to', () => {
    const client = session().says('unPublishStream', { mediaSessionId: 'x' });
    client.says('stopStream', { mediaSessionId: 'x' }).says('stopStream', {});
    expect(client.takes()).toEqual([
      'S notifyStreamStatusEvent UNPUBLISHED "Stream not found"',
      'S notifyStreamStatusEvent STOPPED "Stream not found"',
      'S fail stopStream "MediaSessionId is null"',
    ]);
  });
});

describe('sendStreamEvent', () => {
  it('of a live publisher goes to the media core', () => {
    const client = session().publishes('live');
    client.says('sendStreamEvent', { mediaSessionId: 'p1', type: 'audioMuted' });
    client.says('sendStreamEvent', { mediaSessionId: 'p1', type: 'data', payload: { a: [1] } });
    const spoken = client.effects.flatMap((effect) => (effect.tag === 'signal' ? [effect.signal] : []));
    expect(spoken).toEqual([
      { tag: 'audio-muted', muted: true },
      { tag: 'data', json: '{"a":[1]}' },
    ]);
  });

  it('before PUBLISHING is kept for a mute and refused for data', () => {
    const client = session().publishes('connecting');
    client.takes();
    client.says('sendStreamEvent', { mediaSessionId: 'p1', type: 'videoMuted' });
    client.says('sendStreamEvent', { mediaSessionId: 'p1', type: 'data', payload: 1 });
    expect(client.takes()).toEqual(['S fail sendStreamEvent "Publish stream is not ready"']);
    expect(client.media({ tag: 'connected' }).takes()).toEqual([
      'S notifyStreamStatusEvent PUBLISHING',
      'signal video-muted',
    ]);
  });

  it('of a player or for an unknown stream is refused', () => {
    const client = session().plays('live');
    client.takes();
    client.says('sendStreamEvent', { mediaSessionId: 'v1', type: 'data', payload: 1 });
    client.says('sendStreamEvent', { mediaSessionId: 'zzz', type: 'audioMuted' });
    client.says('sendStreamEvent', { mediaSessionId: 'v1', type: 'resize' });
    expect(client.takes()).toEqual([
      'S fail sendStreamEvent "Restricted access"',
      'S fail sendStreamEvent "Stream not found"',
      'S fail sendStreamEvent "Message is not valid"',
    ]);
  });
});

describe('availableStream', () => {
  const asks = (extra = {}) => session().says('availableStream', { mediaSessionId: 'a', name: 'test', ...extra });

  it.each([
    ['is ready', { nodeId: 'node', ready: true }, { id: 'a', status: 'true' }],
    [
      'is not ready',
      { nodeId: 'node', ready: false },
      { id: 'a', status: 'false', info: 'Publish stream is not ready' },
    ],
    ['is not there', undefined, { id: 'a', status: 'false', info: 'Stream not found' }],
  ])('of a stream that %s is answered with strings', (_what, stream, answer) => {
    const client = asks().decides();
    client.given({ tag: 'found', ref: client.ref, stream });
    expect(client.sent('availableStream')).toEqual([{ message: 'availableStream', data: [answer] }]);
    expect(client.state).toMatchObject({ queries: { size: 0 } });
  });

  it('is answered with the reason when it is refused, unusable or undecided', () => {
    expect(
      asks()
        .decides({ allowed: false, by: 'access', cause: refusal('forbidden') })
        .takes(),
    ).toContain('S availableStream "false" "Restricted access"');
    expect(asks({ name: null }).takes()).toEqual(['S availableStream "false" "Stream name is null"']);
    expect(asks({ mediaSessionId: null }).takes()).toEqual(['S fail availableStream "MediaSessionId is null"']);
    expect(asks().waits(16_000).takes()).toContain('S availableStream "false" "Failed to connect to origin stream"');
  });

  it('is refused when too many requests are under way', () => {
    const client = session({ maxQueries: 1 });
    client.says('availableStream', { mediaSessionId: 'a', name: 'x' });
    client.says('availableStream', { mediaSessionId: 'b', name: 'x' });
    expect(client.takes()).toEqual(['authorise availableStream', 'S availableStream "false" "Too many requests"']);
  });
});

describe('snapshot', () => {
  const asks = (connection = {}) =>
    new Transcript().connects(connection).says('snapshot', { mediaSessionId: 's', name: 'test' });

  it('is found, taken and sent in base64', () => {
    const client = asks();
    expect(client.decides().finds().takes()).toEqual(['authorise snapshot', 'find test', 'snapshot test']);
    client.given({ tag: 'snapshot-taken', queryId: client.queryId, pngBase64: 'iVBOR' });
    expect(client.sent('notifyStreamEvent')).toEqual([
      {
        message: 'notifyStreamEvent',
        data: [{ mediaSessionId: 's', type: 'snapshotCompleted', payload: { snapshot: 'iVBOR' } }],
      },
    ]);
  });

  it('reaches a client older than 2.0 as a status', () => {
    const client = asks({ clientVersion: '0.5.28' }).decides().finds();
    client.given({ tag: 'snapshot-taken', queryId: client.queryId, pngBase64: 'iVBOR' });
    expect(client.sent('notifyStreamStatusEvent')[0]?.data).toEqual([
      { mediaSessionId: 's', status: 'SNAPSHOT_COMPLETE', info: 'iVBOR' },
    ]);
  });

  it('fails with the reason', () => {
    const client = asks().decides();
    client.takes();
    client.given({ tag: 'found', ref: client.ref, stream: undefined });
    expect(client.takes()).toEqual(['S notifyStreamEvent snapshotFailed "Stream not found"']);
    const late = asks().decides().finds();
    late.given({ tag: 'refused', ref: late.ref, code: 'unavailable' });
    expect(late.takes().at(-1)).toBe('S notifyStreamEvent snapshotFailed "Failed to connect to origin stream"');
  });
});

describe('sendData', () => {
  it('is accepted or refused under its operationId', () => {
    const client = session()
      .says('sendData', { operationId: 'o1', payload: { a: 1 } })
      .decides();
    client.says('sendData', { operationId: 'o2', payload: 1 });
    client.decides({ allowed: false, by: 'hook', cause: problem('too-many-requests') });
    expect(client.sent('DataStatusEvent').map(({ data }) => data[0])).toEqual([
      { operationId: 'o1', status: 'ACCEPTED' },
      { operationId: 'o2', status: 'FAILED', info: 'Too many requests' },
    ]);
  });
});
