// A small client of the WCS protocol: one WebSocket, and one RTCPeerConnection per stream. Frames in both directions
// are {"message": string, "data": array}. Offers contain no candidates; the server's answer contains all of the
// server's.

const CONNECT_TIMEOUT_MS = 10_000;
/** The server reports after 15 s that no media arrives; this is for a server that reports nothing. */
const MEDIA_TIMEOUT_MS = 25_000;

/** Why a session or a stream couldn't be opened, or was lost. */
export class WcsError extends Error {
  /** @param {'unreachable' | 'refused' | 'lost'} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'WcsError';
    this.code = code;
  }
}

/**
 * A session with the server. Fires `close` once, when the socket closes for any reason.
 */
export class WcsSession extends EventTarget {
  #socket;
  #custom;
  #streams = new Map();

  /**
   * Resolves when the server has accepted the session.
   * @param {{ url: string, appKey: string, token?: string }} options
   * @returns {Promise<WcsSession>}
   */
  static connect({ url, appKey, token }) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      const session = new WcsSession(socket, token);
      let opened = false;
      const timer = setTimeout(() => {
        reject(new WcsError('unreachable', 'The server did not answer in time.'));
        socket.close();
      }, CONNECT_TIMEOUT_MS);
      socket.addEventListener('open', () => {
        opened = true;
        session.#send('connection', {
          appKey,
          mediaProviders: ['WebRTC'],
          clientVersion: '2.0',
          clientOSVersion: navigator.userAgent,
          clientBrowserVersion: navigator.userAgent,
          keepAlive: false,
          ...session.#custom,
        });
      });
      socket.addEventListener('message', ({ data }) => {
        if (session.#receive(data) !== 'getUserData') return;
        clearTimeout(timer);
        resolve(session);
      });
      socket.addEventListener('close', () => {
        clearTimeout(timer);
        reject(
          opened
            ? new WcsError('refused', 'The server refused the session.')
            : new WcsError('unreachable', 'The server can’t be reached.'),
        );
        session.#closed();
      });
    });
  }

  constructor(socket, token) {
    super();
    this.#socket = socket;
    this.#custom = token ? { custom: { token } } : {};
  }

  /**
   * Publishes the tracks of a MediaStream under a name.
   * @param {string} name @param {MediaStream} media
   */
  async publish(name, media) {
    const stream = new WcsStream(this, name, true);
    for (const track of media.getTracks()) {
      stream.peer.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    }
    await this.#offer(stream, 'publishStream', {
      hasVideo: media.getVideoTracks().length > 0,
      hasAudio: media.getAudioTracks().length > 0,
    });
    return stream;
  }

  /** Plays a stream by its name; its tracks arrive in `stream.media`. @param {string} name */
  async play(name) {
    const stream = new WcsStream(this, name, false);
    stream.peer.addTransceiver('audio', { direction: 'recvonly' });
    stream.peer.addTransceiver('video', { direction: 'recvonly' });
    stream.peer.addEventListener('track', ({ track }) => stream.media.addTrack(track));
    await this.#offer(stream, 'playStream', { hasVideo: true, hasAudio: true, width: 0, height: 0, quality: 0 });
    return stream;
  }

  close() {
    this.#socket.close();
  }

  /** For streams: sends one message about one of them. */
  sendAbout(stream, message, fields) {
    this.#send(message, { mediaSessionId: stream.id, name: stream.name, published: stream.published, ...fields });
  }

  /** For streams: this stream gets no more messages. */
  forget(stream) {
    this.#streams.delete(stream.id);
  }

  async #offer(stream, message, fields) {
    this.#streams.set(stream.id, stream);
    const offer = await stream.peer.createOffer();
    await stream.peer.setLocalDescription(offer);
    this.sendAbout(stream, message, {
      status: 'PENDING',
      record: false,
      mediaProvider: 'WebRTC',
      sdp: offer.sdp,
      bitrate: 0,
      minBitrate: 0,
      maxBitrate: 0,
      ...fields,
      ...this.#custom,
    });
  }

  #send(message, ...data) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ message, data }));
  }

  /** Acts on a frame; returns its name. */
  #receive(frame) {
    if (typeof frame !== 'string') return undefined;
    const { message, data } = JSON.parse(frame);
    switch (message) {
      case 'ping':
        this.#send('pong', null);
        break;
      case 'setRemoteSDP':
        this.#streams.get(data[0])?.answer(data[1]);
        break;
      case 'notifyStreamStatusEvent':
        this.#streams.get(data[0].mediaSessionId)?.report(data[0]);
        break;
      case 'fail':
        this.#streams.get(data[0].id)?.report(data[0]);
        break;
      case 'notifyStreamEvent':
        this.#streams.get(data[0].mediaSessionId)?.notice(data[0]);
        break;
      default:
        // The server may send more than this page shows.
        break;
    }
    return message;
  }

  #closed() {
    for (const stream of [...this.#streams.values()]) {
      stream.report({ status: 'FAILED', info: 'Connection lost' });
    }
    this.dispatchEvent(new Event('close'));
  }
}

const TERMINAL = new Set(['FAILED', 'STOPPED', 'UNPUBLISHED']);

/**
 * One stream, published or played. Fires `status` whenever `status` or `info` changes, and `muted` when the publisher
 * mutes or unmutes. FAILED, STOPPED and UNPUBLISHED are final; the connection is then closed.
 */
export class WcsStream extends EventTarget {
  status = 'PENDING';
  info = '';
  media = new MediaStream();
  peer = new RTCPeerConnection();
  /** What the publisher has muted. */
  muted = { audio: false, video: false };
  #session;
  #timer;

  constructor(session, name, published) {
    super();
    this.#session = session;
    this.id = newId();
    this.name = name;
    this.published = published;
    this.#timer = setTimeout(() => this.report({ status: 'FAILED', info: 'No answer' }), MEDIA_TIMEOUT_MS);
    this.peer.addEventListener('connectionstatechange', () => {
      if (this.peer.connectionState === 'failed') this.report({ status: 'FAILED', info: 'Failed by ICE error' });
    });
  }

  get ended() {
    return TERMINAL.has(this.status);
  }

  /** Ends the stream; the server confirms with a final status. */
  stop() {
    if (this.ended) return;
    this.#session.sendAbout(this, this.published ? 'unPublishStream' : 'stopStream', {
      hasVideo: true,
      hasAudio: true,
      status: this.status,
      record: false,
    });
    this.peer.close();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.report({ status: this.published ? 'UNPUBLISHED' : 'STOPPED', info: '' }),
      2_000,
    );
  }

  /** Mutes or unmutes a published track and tells the players. @param {'audio' | 'video'} kind */
  mute(kind, muted) {
    for (const sender of this.peer.getSenders()) {
      if (sender.track?.kind === kind) sender.track.enabled = !muted;
    }
    this.#session.sendAbout(this, 'sendStreamEvent', { type: `${kind}${muted ? 'Muted' : 'Unmuted'}` });
  }

  /** Applies the server's answer to the offer. */
  async answer(sdp) {
    try {
      if (this.peer.signalingState === 'have-local-offer')
        await this.peer.setRemoteDescription({ type: 'answer', sdp });
    } catch (error) {
      this.stop();
      this.report({ status: 'FAILED', info: `The browser refused the server's answer: ${error.message}` });
    }
  }

  /** Takes a status of the stream, from the server or from this client in its place. */
  report({ status, info = '', audioState, videoState }) {
    if (this.ended || (status !== 'PUBLISHING' && status !== 'PLAYING' && !TERMINAL.has(status))) return;
    if (audioState !== undefined) this.muted.audio = audioState.muted === true;
    if (videoState !== undefined) this.muted.video = videoState.muted === true;
    clearTimeout(this.#timer);
    this.status = status;
    this.info = info;
    if (this.ended) {
      this.peer.close();
      this.#session.forget(this);
    }
    this.dispatchEvent(new Event('status'));
  }

  /** Takes an event of the publisher. */
  notice({ type }) {
    const change = /^(audio|video)(Muted|Unmuted)$/.exec(type);
    if (change === null) return;
    this.muted[change[1]] = change[2] === 'Muted';
    this.dispatchEvent(new Event('muted'));
  }
}

/** A UUID. `crypto.randomUUID` is missing on pages that aren't secure. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
