import { create } from '@bufbuild/protobuf';
import { IceTransport, PlayRequestSchema, PublishRequestSchema } from '@weir/contracts';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import type { WebRtc } from '../src/webrtc.js';

/** Where pages are opened and whom they publish to and play from. */
export interface Stage {
  context: BrowserContext;
  webRtc: WebRtc;
}

export const startChromium = (): Promise<Browser> =>
  chromium.launch({
    executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
      ...['--autoplay-policy=no-user-gesture-required', '--allow-loopback-in-peer-connection'],
      ...['--disable-background-timer-throttling', '--disable-renderer-backgrounding'],
    ],
  });

export interface PeerOptions {
  bundlePolicy?: 'balanced' | 'max-compat' | 'max-bundle';
  /** Moves the video codec of this name to the front of the offer. */
  prefer?: string;
  /** Gives Opus another payload type than the publisher does. */
  renumber?: boolean;
  /** Offers a transport of its own for each medium. */
  unbundle?: boolean;
}

/** A page that publishes: left half red, right half blue, with a tone; or a picture that soon stands still, without one. */
export async function publish(
  { context, webRtc }: Stage,
  sessionId: string,
  options: PeerOptions & {
    tcp?: boolean;
    streamName?: string;
    still?: boolean;
    /** How long the session outlives its owner. */
    orphanMs?: number;
    /** The stream that the page gets on the same connection. */
    hears?: string;
    /** With `hears`: the page sends nothing itself. */
    isWatching?: boolean;
  } = {},
) {
  const page = await context.newPage();
  await page.goto('about:blank');
  const offerSdp = await page.evaluate(async ({ bundlePolicy, prefer, still, hears, isWatching }) => {
    const canvas = document.createElement('canvas');
    canvas.width = 320;
    canvas.height = 240;
    const drawing = canvas.getContext('2d');
    let tick = 0;
    setInterval(() => {
      if (drawing === null || (still === true && tick > 150)) return;
      drawing.fillStyle = '#ff0000';
      drawing.fillRect(0, 0, 160, 240);
      drawing.fillStyle = '#0000ff';
      drawing.fillRect(160, 0, 160, 240);
      drawing.fillStyle = '#ffffff';
      drawing.fillRect((tick++ * 3) % 320, 230, 10, 10);
    }, 33);
    const audio = new AudioContext();
    const tone = audio.createOscillator();
    const output = audio.createMediaStreamDestination();
    tone.connect(output);
    tone.start();
    const stream = canvas.captureStream(30);
    const [toneTrack] = output.stream.getAudioTracks();
    if (toneTrack !== undefined && still !== true) stream.addTrack(toneTrack);
    const pc = new RTCPeerConnection({ bundlePolicy: bundlePolicy ?? 'max-compat' });
    const direction = hears === undefined ? 'sendonly' : isWatching === true ? 'recvonly' : 'sendrecv';
    for (const track of stream.getTracks())
      pc.addTransceiver(isWatching === true ? track.kind : track, { direction, streams: [stream] });
    const video = document.createElement('video');
    video.autoplay = true;
    document.body.append(video);
    pc.addEventListener('track', (event) => {
      video.srcObject = event.streams[0] ?? null;
    });
    if (prefer !== undefined)
      for (const transceiver of pc.getTransceivers()) {
        if (transceiver.sender.track?.kind !== 'video') continue;
        const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
        transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === `video/${prefer}`));
      }
    const offer = await pc.createOffer();
    await pc.setLocalDescription(offer);
    Object.assign(window, { pc, video });
    return offer.sdp ?? '';
  }, options);
  const answer = await webRtc.publish(
    create(PublishRequestSchema, {
      tenant: 'demo',
      streamName: options.streamName ?? 'cam',
      sessionId,
      ownerId: 'owner',
      offerSdp,
      iceTransport: options.tcp === true ? IceTransport.TCP : IceTransport.ANY,
      orphanMs: options.orphanMs ?? 0,
      ...(options.hears === undefined ? {} : { heardStreamName: options.hears, videoCodecs: ['VP8', 'H264'] }),
    }),
  );
  await setAnswer(page, answer.answerSdp);
  return { page, answer, offerSdp };
}

export async function play(
  { context, webRtc }: Stage,
  sessionId: string,
  options: PeerOptions & { streamName?: string; tcp?: boolean } = {},
) {
  const page = await context.newPage();
  await page.goto('about:blank');
  const offerSdp = await page.evaluate(async ({ renumber, bundlePolicy }) => {
    const pc = new RTCPeerConnection({ bundlePolicy: bundlePolicy ?? 'max-compat' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    pc.addTransceiver('video', { direction: 'recvonly' });
    const video = document.createElement('video');
    video.autoplay = true;
    document.body.append(video);
    pc.addEventListener('track', (event) => {
      video.srcObject = event.streams[0] ?? null;
    });
    const offer = await pc.createOffer();
    let sdp = offer.sdp ?? '';
    if (renumber === true) {
      // A payload type for Opus that differs from the publisher's.
      sdp = sdp
        .replaceAll(/a=(rtpmap|fmtp|rtcp-fb):111 /g, 'a=$1:119 ')
        .replace(/(m=audio [^\r]*) 111( |\r)/, '$1 119$2')
        .replace(/ 111\/111/g, ' 119/119');
    }
    await pc.setLocalDescription({ type: 'offer', sdp });
    Object.assign(window, { pc, video });
    return sdp;
  }, options);
  const sent =
    options.unbundle === true
      ? offerSdp.replace(/a=group:BUNDLE[^\r]*\r\n/, '').replaceAll('a=bundle-only\r\n', '')
      : offerSdp;
  const answer = await webRtc.play(
    create(PlayRequestSchema, {
      tenant: 'demo',
      streamName: options.streamName ?? 'cam',
      sessionId,
      ownerId: 'owner',
      offerSdp: sent,
      iceTransport: options.tcp === true ? IceTransport.TCP : IceTransport.ANY,
    }),
  );
  await setAnswer(page, answer.answerSdp);
  return { page, answer, offerSdp };
}

const setAnswer = (page: Page, sdp: string) =>
  page.evaluate(
    (answer) =>
      (window as unknown as { pc: RTCPeerConnection }).pc.setRemoteDescription({ type: 'answer', sdp: answer }),
    sdp,
  );

export interface Seen {
  framesDecoded: number;
  audioEnergy: number;
  width: number;
  height: number;
  left: number[];
  right: number[];
  srtpCipher: string;
  protocol: string;
  codec: string;
}

/** What a player's page shows: its decoder's counters and two pixels. */
export const see = (page: Page): Promise<Seen> =>
  page.evaluate(async () => {
    const { pc, video } = window as unknown as { pc: RTCPeerConnection; video: HTMLVideoElement };
    const reports = [...(await pc.getStats()).values()] as Record<string, never>[];
    const inbound = (kind: string) =>
      reports.find((report) => report['type'] === ('inbound-rtp' as never) && report['kind'] === (kind as never));
    const transport = reports.find((report) => report['type'] === ('transport' as never));
    const pair = reports.find((report) => report['id'] === transport?.['selectedCandidatePairId']);
    const local = reports.find((report) => report['id'] === pair?.['localCandidateId']);
    const codec = reports.find((report) => report['id'] === inbound('video')?.['codecId']);
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth || 1;
    canvas.height = video.videoHeight || 1;
    const drawing = canvas.getContext('2d');
    drawing?.drawImage(video, 0, 0);
    const pixel = (share: number) =>
      Array.from(
        drawing?.getImageData(Math.floor(canvas.width * share), Math.floor(canvas.height / 2), 1, 1).data ?? [],
      );
    return {
      framesDecoded: inbound('video')?.['framesDecoded'] ?? 0,
      audioEnergy: inbound('audio')?.['totalAudioEnergy'] ?? 0,
      width: video.videoWidth,
      height: video.videoHeight,
      left: pixel(0.25),
      right: pixel(0.75),
      srtpCipher: transport?.['srtpCipher'] ?? '',
      protocol: local?.['protocol'] ?? '',
      codec: codec?.['mimeType'] ?? '',
    };
  });
