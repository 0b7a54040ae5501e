import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const ARGUMENTS = [
  ...['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-quic', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update'],
  // With these, a page in the background publishes and plays like one in the foreground.
  ...['--disable-background-timer-throttling', '--disable-renderer-backgrounding'],
  '--disable-backgrounding-occluded-windows',
  ...['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream'],
  ...['--autoplay-policy=no-user-gesture-required', '--allow-loopback-in-peer-connection'],
];

/** Starts Debian's Chromium with a fake camera (a green clock face) and a fake microphone (a beep every second). */
export const startBrowser = (executablePath = process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium'): Promise<Browser> =>
  chromium.launch({ executablePath, args: ARGUMENTS });

/** What all RTCPeerConnections of a page together have received so far. */
export interface Received {
  framesDecoded: number;
  audioSamples: number;
  audioEnergy: number;
  videoBytes: number;
}

const COUNT_CONNECTIONS = `
  window.connections = [];
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...args) { super(...args); window.connections.push(this); }
  };`;

/** Opens a page whose RTCPeerConnections can be inspected. */
export async function openPage(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  await page.addInitScript(COUNT_CONNECTIONS);
  await page.goto(url);
  return page;
}

export const received = (page: Page): Promise<Received> =>
  page.evaluate(async () => {
    const { connections } = window as unknown as { connections: RTCPeerConnection[] };
    const total = { framesDecoded: 0, audioSamples: 0, audioEnergy: 0, videoBytes: 0 };
    for (const connection of connections)
      for (const report of (await connection.getStats()).values() as Iterable<Record<string, number | string>>) {
        if (report['type'] !== 'inbound-rtp') continue;
        if (report['kind'] === 'video') {
          total.framesDecoded += Number(report['framesDecoded'] ?? 0);
          total.videoBytes += Number(report['bytesReceived'] ?? 0);
        } else {
          total.audioSamples += Number(report['totalSamplesReceived'] ?? 0);
          total.audioEnergy += Number(report['totalAudioEnergy'] ?? 0);
        }
      }
    return total;
  });

/** The strongest frequency of a sound, in Hz; 0 in silence. A page gets it as the text of this function. */
export const strongestHz = (analyser: AnalyserNode): number => {
  const spectrum = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(spectrum);
  const peak = spectrum.reduce((best, level, index) => (level > (spectrum[best] ?? -Infinity) ? index : best), 0);
  return (spectrum[peak] ?? -Infinity) > -60 ? (peak * analyser.context.sampleRate) / analyser.fftSize : 0;
};

/** The colour in the middle of a page's first matching video, as [red, green, blue]; empty without a picture. */
export const middlePixel = (page: Page, selector: string): Promise<number[]> =>
  page.evaluate((videoSelector) => {
    const video = document.querySelector<HTMLVideoElement>(videoSelector);
    if (video === null || video.videoWidth === 0) return [];
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    const drawing = canvas.getContext('2d');
    drawing?.drawImage(video, 0, 0);
    const { data } = drawing?.getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1) ?? { data: [] };
    return Array.from(data).slice(0, 3);
  }, selector);
