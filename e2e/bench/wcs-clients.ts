import type { Page } from 'playwright-core';

/** What one player has received since it began. */
export interface Reception {
  bytes: number;
  packets: number;
  lostPackets: number;
  framesDecoded: number;
  keyFramesDecoded: number;
}

/**
 * WCS clients in a page, each with a socket and an RTCPeerConnection, but without an element that shows the picture.
 */
interface WcsClients {
  publish(wsUrl: string, name: string, bitrateKbps: number): Promise<void>;
  play(wsUrl: string, name: string): Promise<void>;
  received(): Promise<Reception[]>;
  closeAll(): void;
}

/** Chromium's API for a track whose pictures a page makes. */
interface BreakoutBox {
  MediaStreamTrackGenerator: new (init: {
    kind: 'video';
  }) => MediaStreamTrack & { writable: WritableStream<VideoFrame> };
}

type ClientsWindow = Window & { clients: WcsClients };

/**
 * Runs in a page: defines `window.clients`. The publisher sends noise, which uses the full bit rate at any picture size:
 * a small picture costs twenty decoders little, but costs the server as much as a large one of the same bit rate.
 */
function installClients(): void {
  const closers: (() => void)[] = [];
  const players: RTCPeerConnection[] = [];

  const join = async (
    wsUrl: string,
    connection: RTCPeerConnection,
    request: { message: 'publishStream' | 'playStream'; name: string; bitrateKbps: number },
  ): Promise<void> => {
    const socket = new WebSocket(wsUrl);
    closers.push(() => {
      socket.close();
      connection.close();
    });
    const send = (message: string, data: unknown) => socket.send(JSON.stringify({ message, data: [data] }));
    const mediaSessionId = crypto.randomUUID();
    const ask = async () => {
      await connection.setLocalDescription();
      send(request.message, {
        mediaSessionId,
        name: request.name,
        published: request.message === 'publishStream',
        ...{ hasVideo: true, hasAudio: true, status: 'PENDING', record: false, mediaProvider: 'WebRTC' },
        sdp: connection.localDescription?.sdp,
        ...{ bitrate: 0, minBitrate: request.bitrateKbps, maxBitrate: request.bitrateKbps },
      });
    };
    await new Promise<void>((resolve, reject) => {
      const refuse = (why: string) => reject(new Error(`${request.message} of ${request.name}: ${why}`));
      setTimeout(() => refuse('no media within 20 s'), 20_000);
      socket.onclose = () => refuse('the socket was closed');
      socket.onopen = () =>
        send('connection', { appKey: 'defaultApp', mediaProviders: ['WebRTC'], clientVersion: '2.0' });
      socket.onmessage = (event: MessageEvent<string>) => {
        const { message, data } = JSON.parse(event.data) as { message: string; data: [never, ...never[]] };
        if (message === 'ping') send('pong', null);
        else if (message === 'getUserData') ask().catch(reject);
        else if (message === 'setRemoteSDP')
          connection.setRemoteDescription({ type: 'answer', sdp: data[1] ?? '' }).catch(reject);
        else if (message === 'notifyStreamStatusEvent') {
          const { status, info } = data[0] as { status: string; info?: string };
          if (status === 'PUBLISHING' || status === 'PLAYING') resolve();
          else if (status === 'FAILED') refuse(info ?? status);
        }
      };
    });
  };

  const noise = (): MediaStream => {
    const [width, height] = [320, 180];
    // Grey with grain. With more grain the encoder would drop pictures, or take each one for a new scene.
    const pictures = Array.from({ length: 12 }, () =>
      Uint8Array.from({ length: (width * height * 3) / 2 }, (_, index) =>
        index < width * height ? 64 + ((index % width) >> 1) + (Math.random() - 0.5) * 50 : 128,
      ),
    );
    const video = new (window as unknown as BreakoutBox).MediaStreamTrackGenerator({ kind: 'video' });
    const writer = video.writable.getWriter();
    let count = 0;
    const timer = setInterval(() => {
      const picture = pictures[count++ % pictures.length] ?? new Uint8Array();
      const timestamp = Math.round(performance.now() * 1_000);
      void writer.write(new VideoFrame(picture, { format: 'I420', codedWidth: width, codedHeight: height, timestamp }));
    }, 1_000 / 30);
    const audio = new AudioContext();
    const tone = audio.createOscillator();
    const output = audio.createMediaStreamDestination();
    tone.connect(output);
    tone.start();
    closers.push(() => {
      clearInterval(timer);
      video.stop();
      void audio.close();
    });
    return new MediaStream([...output.stream.getTracks(), video]);
  };

  const receptionOf = async (connection: RTCPeerConnection): Promise<Reception> => {
    const total = { bytes: 0, packets: 0, lostPackets: 0, framesDecoded: 0, keyFramesDecoded: 0 };
    for (const report of (await connection.getStats()).values() as Iterable<Record<string, number | string>>) {
      if (report['type'] !== 'inbound-rtp') continue;
      total.bytes += Number(report['bytesReceived'] ?? 0);
      total.packets += Number(report['packetsReceived'] ?? 0);
      total.lostPackets += Number(report['packetsLost'] ?? 0);
      total.framesDecoded += Number(report['framesDecoded'] ?? 0);
      total.keyFramesDecoded += Number(report['keyFramesDecoded'] ?? 0);
    }
    return total;
  };

  const clients: WcsClients = {
    publish: (wsUrl, name, bitrateKbps) => {
      const connection = new RTCPeerConnection({ bundlePolicy: 'max-compat' });
      const stream = noise();
      for (const track of stream.getTracks()) connection.addTrack(track, stream);
      return join(wsUrl, connection, { message: 'publishStream', name, bitrateKbps });
    },
    play: async (wsUrl, name) => {
      const connection = new RTCPeerConnection({ bundlePolicy: 'max-compat' });
      connection.addTransceiver('audio', { direction: 'recvonly' });
      connection.addTransceiver('video', { direction: 'recvonly' });
      await join(wsUrl, connection, { message: 'playStream', name, bitrateKbps: 0 });
      players.push(connection);
    },
    received: () => Promise.all(players.map(receptionOf)),
    closeAll: () => {
      for (const close of closers.splice(0)) close();
      players.length = 0;
    },
  };
  Object.assign(window, { clients });
}

/** A page of WCS clients. */
export class ClientsPage {
  private constructor(private readonly page: Page) {}

  static async install(page: Page): Promise<ClientsPage> {
    await page.evaluate(installClients);
    return new ClientsPage(page);
  }

  /** Resolves when media flows. */
  publish(wsUrl: string, name: string, bitrateKbps: number): Promise<void> {
    return this.page.evaluate(
      ([url, streamName, kbps]) => (window as unknown as ClientsWindow).clients.publish(url, streamName, kbps),
      [wsUrl, name, bitrateKbps] as const,
    );
  }

  play(wsUrl: string, name: string): Promise<void> {
    return this.page.evaluate(
      ([url, streamName]) => (window as unknown as ClientsWindow).clients.play(url, streamName),
      [wsUrl, name] as const,
    );
  }

  /** What each player has received, audio and video together. */
  received(): Promise<Reception[]> {
    return this.page.evaluate(() => (window as unknown as ClientsWindow).clients.received());
  }

  closeAll(): Promise<void> {
    return this.page.evaluate(() => (window as unknown as ClientsWindow).clients.closeAll());
  }
}
