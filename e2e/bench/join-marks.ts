import type { Page } from 'playwright-core';

/** The moments of one join, in milliseconds since the application called `publish()` or `play()`. */
export interface JoinMarks {
  /** The client has sent `publishStream` or `playStream`; camera, microphone and offer take the time until then. */
  asked: number;
  /** The client has received the server's SDP. */
  answered: number;
  /** ICE and DTLS are up on the client's side. */
  connected: number;
  /** The application has received PUBLISHING or PLAYING. */
  told: number;
  /** The first picture has left the decoder; for players only. */
  decoded: number | undefined;
}

export interface MarkedWindow {
  /** By `performance.now()`. */
  joinMarks: Record<string, number>;
  MediaStreamTrackProcessor: new (init: { track: MediaStreamTrack }) => {
    readable: ReadableStream<{ close(): void }>;
  };
}

/**
 * Runs in a page before its scripts. Records when the page uses certain functions of the browser, without changing
 * them.
 */
export function installJoinMarks(): void {
  const page = window as unknown as MarkedWindow;
  page.joinMarks = {};
  const mark = (name: string) => {
    page.joinMarks[name] ??= performance.now();
  };
  const markFirstPicture = async (track: MediaStreamTrack) => {
    const reader = new page.MediaStreamTrackProcessor({ track }).readable.getReader();
    const { value } = await reader.read();
    if (value === undefined) return;
    mark('decoded');
    value.close();
    await reader.cancel();
  };
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      this.addEventListener('connectionstatechange', () => {
        if (this.connectionState === 'connected') mark('connected');
      });
      this.addEventListener('track', ({ track }) => {
        if (track.kind === 'video') void markFirstPicture(track);
      });
    }

    override setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
      mark('answered');
      return super.setRemoteDescription(description);
    }
  };
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (this: WebSocket, data) {
    const asks = /"(publish|play)Stream"|"type":"(open|join)"/;
    if (typeof data === 'string' && asks.test(data.slice(0, 60))) mark('asked');
    send.call(this, data);
  };
}

interface SdkStream {
  on(status: string, listener: (stream: { getInfo(): unknown }) => void): SdkStream;
  publish(): void;
  play(): void;
  stop(): void;
}

/**
 * Measures one join of the WebSDK and ends it: `publish()` until PUBLISHING, or `play()` until PLAYING and a decoded
 * picture. The page must have an open session.
 */
export const measureJoin = (page: Page, kind: 'publish' | 'play', name: string): Promise<JoinMarks> =>
  page.evaluate(
    async ([verb, streamName]) => {
      const marked = window as unknown as MarkedWindow & { session: { createStream(options: object): SdkStream } };
      const [joined, ended, display] =
        verb === 'publish' ? ['PUBLISHING', 'UNPUBLISHED', 'local'] : ['PLAYING', 'STOPPED', 'remote'];
      const stream = marked.session.createStream({
        name: streamName,
        display: document.getElementById(display),
        cacheLocalResources: false,
      });
      const status = (wanted: string) =>
        new Promise<number>((resolve, reject) => {
          stream.on(wanted, () => resolve(performance.now()));
          stream.on('FAILED', (failed) => reject(new Error(`${verb} failed: ${String(failed.getInfo())}`)));
          setTimeout(() => reject(new Error(`no ${wanted} within 20 s`)), 20_000);
        });
      const told = status(joined);
      marked.joinMarks = {};
      const startMs = performance.now();
      stream[verb]();
      const toldMs = await told;
      const awaited = verb === 'play' ? ['connected', 'decoded'] : ['connected'];
      while (awaited.some((name) => marked.joinMarks[name] === undefined)) {
        if (performance.now() - startMs > 20_000) throw new Error(`not ${awaited.join(' and ')} within 20 s`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const stopped = status(ended);
      stream.stop();
      await stopped;
      const since = (ms: number | undefined) => (ms ?? NaN) - startMs;
      const { asked, answered, connected, decoded } = marked.joinMarks;
      return {
        asked: since(asked),
        answered: since(answered),
        connected: since(connected),
        told: since(toldMs),
        decoded: decoded === undefined ? undefined : since(decoded),
      };
    },
    [kind, name] as const,
  );
