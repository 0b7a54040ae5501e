import { bundleDevice } from '@weir/device/bundle';
import type { Call, Device } from '@weir/device';
import { strongestHz } from './browser.js';

/** What a device needs of a page, as all libraries that drive browsers have it. */
export interface DevicePage {
  goto(url: string): Promise<unknown>;
  addScriptTag(script: { readonly type: string; readonly content: string }): Promise<unknown>;
  waitForFunction(condition: string): Promise<unknown>;
  evaluate(script: string): Promise<unknown>;
  evaluate<T, A = void>(run: (argument: A) => T, argument?: A): Promise<Awaited<T>>;
}

/** What a page sends in its calls. */
export interface Sending {
  /** A colour of CSS; no picture without it. */
  readonly colour?: string;
  /** No sound without it. */
  readonly toneHz?: number;
}

export interface DevicePageOptions extends Sending {
  readonly pageUrl: string;
  readonly serverUrl: string;
  readonly token: string;
  /** Its media may leave only by the TURN server, over this transport. */
  readonly relayedBy?: 'udp' | 'tcp';
  /** The only codecs that it has for pictures, such as `video/VP8`. */
  readonly videoCodecs?: readonly string[];
}

interface DevicePageWindow {
  readonly device: Device;
  /** `Name` of each message, with the text of a pushed one. */
  readonly messages: string[];
  /** The newest call. */
  call?: Call;
  missing?: readonly string[];
  analyser?: AnalyserNode;
  readonly strongestHz: typeof strongestHz;
}

const START = `
  window.messages = [];
  window.connections = [];
  window.startDevice = async ({ serverUrl, token, colour, toneHz, relayedBy, videoCodecs }) => {
    const relayed = ({ iceServers, ...config }) => ({
      ...config,
      iceTransportPolicy: 'relay',
      iceServers: iceServers
        .map(({ urls, ...server }) => ({ ...server, urls: urls.filter((url) => url.endsWith('transport=' + relayedBy)) }))
        .filter(({ urls }) => urls.length > 0),
    });
    class PageConnection extends RTCPeerConnection {
      constructor(config) {
        super(relayedBy === undefined ? config : relayed(config));
        window.connections.push(this);
      }
      addTransceiver(track, init) {
        const transceiver = super.addTransceiver(track, init);
        if (videoCodecs !== undefined && (track === 'video' || track.kind === 'video'))
          transceiver.setCodecPreferences(
            RTCRtpReceiver.getCapabilities('video').codecs.filter(({ mimeType }) => videoCodecs.includes(mimeType)),
          );
        return transceiver;
      }
    }
    const stream = new MediaStream();
    if (colour !== undefined) {
      const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
      const drawing = canvas.getContext('2d');
      let tick = 0;
      setInterval(() => {
        drawing.fillStyle = colour;
        drawing.fillRect(0, 0, 320, 240);
        drawing.fillStyle = '#888888';
        drawing.fillRect((tick++ * 3) % 320, 230, 10, 10);
      }, 40);
      for (const track of canvas.captureStream(25).getTracks()) stream.addTrack(track);
    }
    const audio = new AudioContext();
    if (toneHz !== undefined) {
      const tone = new OscillatorNode(audio, { frequency: toneHz });
      const output = audio.createMediaStreamDestination();
      tone.connect(output);
      tone.start();
      for (const track of output.stream.getTracks()) stream.addTrack(track);
    }
    const device = new weir.Device({
      serverUrl,
      localMedia: async () => stream.clone(),
      RTCPeerConnection: PageConnection,
    });
    const video = Object.assign(document.createElement('video'), { autoplay: true });
    document.body.append(video);
    device.on('call', (call) => {
      window.call = call;
      window.missing = [];
      call.on('notCarried', ({ way, message }) => window.missing.push(way + ' ' + message));
      call.on('track', () => {
        video.srcObject = call.remoteStream;
        if (call.remoteStream.getAudioTracks().length === 0 || window.analysed === call) return;
        window.analysed = call;
        window.analyser = new AnalyserNode(audio, { fftSize: 8192 });
        audio.createMediaStreamSource(call.remoteStream).connect(window.analyser);
      });
    });
    device.setCloudMessageListener(({ Name, Message }) => {
      window.messages.push(Name === 'PopMessage' ? Name + ' ' + atob(Message) : Name + ' ' + Message);
    });
    window.device = device;
    await device.startCloudService(token);
  };`;

/** Opens a page that is a device. */
export async function openDevicePage<P extends DevicePage>(
  context: { newPage(): Promise<P> },
  { pageUrl, ...options }: DevicePageOptions,
): Promise<P> {
  const page = await context.newPage();
  await page.goto(pageUrl);
  const url = `data:text/javascript;base64,${Buffer.from(await bundleDevice()).toString('base64')}`;
  await page.addScriptTag({
    type: 'module',
    content: `import * as weir from ${JSON.stringify(url)}; window.weir = weir;`,
  });
  await page.waitForFunction('window.weir !== undefined');
  await page.evaluate(`window.strongestHz = ${strongestHz}`);
  await page.evaluate(START);
  await page.evaluate(`window.startDevice(${JSON.stringify(options)})`);
  return page;
}

/** Opens the URL of another device. Resolves with the error's code if that is refused. */
export const openCall = (
  page: DevicePage,
  url: string,
  options: { readonly record?: boolean } = {},
): Promise<number | undefined> =>
  page.evaluate(
    async ([target, wishes]) => {
      try {
        await (window as unknown as DevicePageWindow).device.open(target, wishes);
        return undefined;
      } catch (error) {
        return (error as { code?: number }).code ?? 0;
      }
    },
    [url, options] as const,
  );

export const closeCall = (page: DevicePage): Promise<void> =>
  page.evaluate(() => (window as unknown as DevicePageWindow).call?.close());

export const messagesOf = (page: DevicePage): Promise<string[]> =>
  page.evaluate(() => (window as unknown as DevicePageWindow).messages);

/** What the newest call of a page shows and plays. */
export interface Heard {
  readonly state: string;
  /** Why it ended; empty as long as it goes on. */
  readonly cause: string;
  readonly callId: string;
  readonly framesDecoded: number;
  /** The strongest frequency of the other side's sound; 0 while it is silent. */
  readonly toneHz: number;
  /** [red, green, blue] in the middle of the picture; empty without one. */
  readonly colour: readonly number[];
  readonly peerMuted: string;
  /** What does not reach its side: `sent` or `received`, and the words. */
  readonly missing: readonly string[];
}

export const heard = (page: DevicePage): Promise<Heard> =>
  page.evaluate(async () => {
    const { call, analyser, strongestHz: strongest, missing = [] } = window as unknown as DevicePageWindow;
    const video = document.querySelector('video');
    const colour: number[] = [];
    if (video !== null && video.videoWidth > 0) {
      const canvas = document.createElement('canvas');
      canvas.width = canvas.height = 1;
      const drawing = canvas.getContext('2d');
      drawing?.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
      colour.push(...Array.from(drawing?.getImageData(0, 0, 1, 1).data ?? []).slice(0, 3));
    }
    const toneHz = analyser === undefined ? 0 : strongest(analyser);
    let framesDecoded = 0;
    if (call !== undefined && call.state.tag !== 'ended')
      for (const report of (await call.peerConnection.getStats()).values() as Iterable<Record<string, unknown>>)
        if (report['type'] === 'inbound-rtp' && report['kind'] === 'video')
          framesDecoded = Number(report['framesDecoded'] ?? 0);
    return {
      ...{ state: call?.state.tag ?? '', callId: call?.callId ?? '', framesDecoded, toneHz, colour },
      cause: call?.state.tag === 'ended' ? call.state.cause : '',
      peerMuted: JSON.stringify(call?.peerMuted ?? null),
      missing,
    };
  });
