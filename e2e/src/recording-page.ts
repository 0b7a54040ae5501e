import { colouredFilm, waitFor, type FilmColour } from '@weir/testing';
import type { BrowserContext, Page } from 'playwright-core';
import { openPage, strongestHz } from './browser.js';

/** A message of the server, as the page has it. */
export interface Told {
  readonly type: string;
  readonly client_id: string;
  readonly rec_id?: string;
  readonly session_id?: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Recording {
  readonly socket: WebSocket;
  readonly connection: RTCPeerConnection;
  readonly ids: object;
  readonly told: Told[];
  /** Cameras that see one colour, by their colours. */
  readonly cameras: Map<FilmColour, RTCRtpTransceiver>;
  /** Of the sound that comes from the server. */
  hearing?: AnalyserNode;
}

type RecordingWindow = Window & {
  recording: Recording;
  film: typeof colouredFilm;
  strongestHz: typeof strongestHz;
};

/** A page without a session. */
export interface Joining {
  readonly token: string;
  readonly clientId: string;
  /** The `session_id` or `recording_id` that REST returned. */
  readonly id: string;
  readonly endpoint: string;
  readonly iceServers: readonly RTCIceServer[];
}

/** The strongest frequency that the page hears, in Hz; 0 while there is silence. */
export const heardHz = (page: Page): Promise<number> =>
  page.evaluate(() => {
    const { recording, strongestHz: strongest } = window as unknown as RecordingWindow;
    return recording.hearing === undefined ? 0 : strongest(recording.hearing);
  });

/** The last message from the server of this type for which `holds`. */
export const told = (page: Page, type: string, holds: (message: Told) => boolean = () => true): Promise<Told> =>
  waitFor(
    async () => {
      const messages = await page.evaluate(() => (window as unknown as RecordingWindow).recording.told);
      return messages.findLast((message) => message.type === type && holds(message));
    },
    { what: `a message ${type}`, timeoutMs: 30_000 },
  );

export const say = (page: Page, type: string, data?: object): Promise<void> =>
  page.evaluate(
    ([what, content]) => {
      const { socket, ids } = (window as unknown as RecordingWindow).recording;
      socket.send(JSON.stringify({ type: what, ...ids, ...(content !== undefined && { data: content }) }));
    },
    [type, data] as const,
  );

/** Resolves when the page's first camera has sent that many more pictures. */
export async function sendPictures(page: Page, count: number): Promise<void> {
  const sent = () =>
    page.evaluate(async () => {
      const { connection } = (window as unknown as RecordingWindow).recording;
      const reports = [...(await connection.getStats()).values()] as Record<string, unknown>[];
      return Number(reports.find(({ type, kind }) => type === 'outbound-rtp' && kind === 'video')?.['framesSent'] ?? 0);
    });
  const before = await sent();
  await waitFor(async () => (await sent()) >= before + count, { what: `${count} pictures`, timeoutMs: 60_000 });
}

/** How a page takes part in a session of the second generation. */
export interface SecondGeneration extends Joining {
  readonly webhookUrl: string;
  /** The session that the page watches as a supervisor. It then publishes nothing. */
  readonly monitored?: string;
  /** The tone that the page says as a supervisor; without it, it only watches. */
  readonly talkHz?: number;
  /** Whether it takes sound where it sends its own, as browsers do by default. */
  readonly hears?: boolean;
  /** What the page's cameras see. Without them it has one, the browser's. */
  readonly cameras?: readonly FilmColour[];
}

/** Starts a session as a client of the second generation does: candidates trickle, the answer comes by `sdp_update`. */
export async function joinSession(context: BrowserContext, url: string, joining: SecondGeneration): Promise<Page> {
  const page = await openPage(context, url);
  await page.evaluate(`window.film = ${colouredFilm}; window.strongestHz = ${strongestHz}`);
  await page.evaluate(
    async ({ token, clientId, id, endpoint, iceServers, webhookUrl, monitored, talkHz, hears, cameras: colours }) => {
      const connection = new RTCPeerConnection({ iceServers: [...iceServers] });
      const socket = new WebSocket(`${endpoint}?auth_token=${token}`);
      const ids = { client_id: clientId, session_id: id };
      const received: Told[] = [];
      const cameras = new Map<FilmColour, RTCRtpTransceiver>();
      const { film } = window as unknown as RecordingWindow;
      const recording: Recording = { socket, connection, ids, told: received, cameras };
      (window as unknown as RecordingWindow).recording = recording;
      const sound = new AudioContext();
      await new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = reject;
      });
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(String(data)) as Told;
        received.push(message);
        if (message.type === 'sdp_update') void described(message.data['sdp'] as RTCSessionDescriptionInit);
        if (message.type === 'candidate') void connection.addIceCandidate(message.data['candidate'] as RTCIceCandidate);
      };
      const described = async (sdp: RTCSessionDescriptionInit) => {
        await connection.setRemoteDescription(sdp);
        if (sdp.type !== 'offer') return;
        await connection.setLocalDescription();
        socket.send(JSON.stringify({ type: 'sdp_update', ...ids, data: { sdp: connection.localDescription } }));
      };
      connection.onicecandidate = ({ candidate }) =>
        socket.send(JSON.stringify({ type: 'candidate', ...ids, data: { candidate } }));
      connection.ontrack = ({ track, streams }) => {
        if (track.kind !== 'video') {
          const heard = new MediaStream([track]);
          // Chromium decodes a sound for an analyser only while an element plays it too.
          void Object.assign(new Audio(), { muted: true, srcObject: heard }).play();
          recording.hearing = new AnalyserNode(sound, { fftSize: 8192 });
          sound.createMediaStreamSource(heard).connect(recording.hearing);
          return;
        }
        const video = document.createElement('video');
        video.muted = true;
        video.autoplay = true;
        video.srcObject = streams[0] ?? new MediaStream([track]);
        document.querySelector('#remote')?.append(video);
      };
      if (monitored === undefined) {
        const video = colours === undefined && { width: 640, height: 360 };
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video });
        for (const track of stream.getTracks()) connection.addTrack(track, stream);
        if (hears === false) for (const transceiver of connection.getTransceivers()) transceiver.direction = 'sendonly';
        for (const colour of colours ?? [])
          cameras.set(colour, connection.addTransceiver(film(colour), { direction: 'sendonly' }));
      } else {
        const tone = new OscillatorNode(sound, { frequency: talkHz ?? 0 });
        const output = sound.createMediaStreamDestination();
        tone.connect(output);
        tone.start();
        const [voice] = output.stream.getTracks();
        if (voice !== undefined && talkHz !== undefined) connection.addTransceiver(voice);
        else connection.addTransceiver('audio', { direction: 'recvonly' });
        connection.addTransceiver('video', { direction: 'recvonly' });
      }
      await connection.setLocalDescription();
      const start = { sdp: connection.localDescription, webhook_url: webhookUrl };
      socket.send(
        JSON.stringify(
          monitored === undefined
            ? { type: 'session_start', ...ids, data: start }
            : { type: 'supervisor_join_session', ...ids, data: { ...start, session_id_to_monitor: monitored } },
        ),
      );
    },
    joining,
  );
  await told(page, 'sdp_update');
  return page;
}

/** Adds a camera, by a new offer. */
export const addCamera = async (page: Page, colour: FilmColour): Promise<void> => {
  const isAnswered = await page.evaluate(async (added) => {
    const { film } = window as unknown as RecordingWindow;
    const { connection, socket, ids, cameras } = (window as unknown as RecordingWindow).recording;
    cameras.set(added, connection.addTransceiver(film(added), { direction: 'sendonly' }));
    await connection.setLocalDescription();
    socket.send(JSON.stringify({ type: 'sdp_update', ...ids, data: { sdp: connection.localDescription } }));
    return new Promise<boolean>((resolve) =>
      connection.addEventListener('signalingstatechange', () => resolve(connection.signalingState === 'stable')),
    );
  }, colour);
  if (!isAnswered) throw new Error('the offer of another camera was not answered');
};

/** The colour in the middle of each picture that the page shows: [red, green, blue]. */
export const shownPixels = (page: Page): Promise<number[][]> =>
  page.evaluate(() =>
    [...document.querySelectorAll<HTMLVideoElement>('#remote video')].map((video) => {
      if (video.videoWidth === 0) return [];
      const canvas = document.createElement('canvas');
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      const drawing = canvas.getContext('2d');
      drawing?.drawImage(video, 0, 0);
      const { data } = drawing?.getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1) ?? { data: [] };
      return Array.from(data).slice(0, 3);
    }),
  );

/** Where the first generation's SDK is told to take a recording. */
export interface FirstGeneration {
  readonly endpoint: string;
  readonly token: string;
  readonly clientId: string;
  readonly uploadUrl: string;
  readonly webhookUrl: string;
}

/**
 * Records as the first generation's SDK does: one video track without a stream, everything in `recording_start`, and
 * candidates, some of them before it. @returns the page and the recording's id
 */
export async function recordFirstGeneration(
  context: BrowserContext,
  url: string,
  recording: FirstGeneration,
): Promise<{ page: Page; recordingId: string }> {
  const page = await openPage(context, url);
  const recordingId = await page.evaluate(async ({ endpoint, token, clientId, uploadUrl, webhookUrl }) => {
    // A text as the body: the browser says text/plain.
    const response = await fetch(`${endpoint}/api/session`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}` },
      body: JSON.stringify({ client_id: clientId }),
    });
    const { recording_id, ice_credentials, ws_endpoint } = await response.json();
    const connection = new RTCPeerConnection(ice_credentials);
    const socket = new WebSocket(`${ws_endpoint.replace(/^https:\/\//, 'wss://')}?auth_token=${token}`);
    const ids = { client_id: clientId, rec_id: recording_id };
    const received: Told[] = [];
    const cameras = new Map<FilmColour, RTCRtpTransceiver>();
    (window as unknown as RecordingWindow).recording = { socket, connection, ids, told: received, cameras };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(String(data)) as Told;
      received.push(message);
      if (message.type === 'sdp_update')
        void connection.setRemoteDescription(message.data['sdp'] as RTCSessionDescriptionInit);
      if (message.type === 'candidate') void connection.addIceCandidate(message.data['candidate'] as RTCIceCandidate);
    };
    const someCandidate = new Promise<void>((resolve) => {
      connection.onicecandidate = ({ candidate }) => {
        socket.send(JSON.stringify({ type: 'candidate', ...ids, data: { candidate } }));
        resolve();
      };
    });
    await new Promise((opened) => {
      socket.onopen = opened;
    });
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } });
    const [track] = stream.getVideoTracks();
    if (track !== undefined) connection.addTrack(track);
    const offer = await connection.createOffer();
    await connection.setLocalDescription(offer);
    await someCandidate;
    const data = { sdp: { type: offer.type, sdp: offer.sdp }, upload_url: uploadUrl, webhook_url: webhookUrl };
    socket.send(JSON.stringify({ type: 'recording_start', ...ids, data }));
    return String(recording_id);
  }, recording);
  await told(page, 'sdp_update');
  return { page, recordingId };
}

/** Leaves as the first generation's SDK does: one message, and everything closes at once. */
export const stopFirstGeneration = async (page: Page): Promise<void> => {
  await say(page, 'recording_stop');
  await page.evaluate(() => {
    const { socket, connection } = (window as unknown as RecordingWindow).recording;
    socket.close();
    connection.close();
  });
};

/** Another camera with another size, without a new offer. */
export const switchStream = (page: Page, width: number, height: number): Promise<void> =>
  page.evaluate(
    async ([w, h]) => {
      const { connection } = (window as unknown as RecordingWindow).recording;
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: w, height: h } });
      const [track] = stream.getVideoTracks();
      const sender = connection.getSenders().find((it) => it.track?.kind === 'video');
      await sender?.replaceTrack(track ?? null);
    },
    [width, height] as const,
  );

/** The first generation's SDK, as its page uses it. */
interface Sdk {
  connect(token: string, endpoint: string): void;
  startRecording(stream: MediaStream, clientId: string, uploadUrl: string, webhookUrl: string): Promise<string>;
  stopRecording(): void;
  switchStream(stream: MediaStream): Promise<void>;
}

type SdkWindow = Window & { global: Window; eyeson: { default: Sdk }; connections: RTCPeerConnection[] };

/** Records with the vendor's SDK from `sdkFile`, and switches to a smaller camera. @returns the recording's id */
export async function recordWithSdk(
  context: BrowserContext,
  url: string,
  sdkFile: string,
  recording: FirstGeneration,
): Promise<string> {
  const page = await openPage(context, url);
  // Bundlers of its time provide this name.
  await page.evaluate(() => void Object.assign(window, { global: window }));
  await page.addScriptTag({ path: sdkFile });
  const recordingId = await page.evaluate(async ({ endpoint, token, clientId, uploadUrl, webhookUrl }) => {
    const sdk = (window as unknown as SdkWindow).eyeson.default;
    sdk.connect(token, endpoint);
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } });
    return sdk.startRecording(stream, clientId, uploadUrl, webhookUrl);
  }, recording);
  const framesSent = () =>
    page.evaluate(async () => {
      const [connection] = (window as unknown as SdkWindow).connections;
      const reports = [...((await connection?.getStats())?.values() ?? [])] as Record<string, unknown>[];
      return Number(reports.find(({ type }) => type === 'outbound-rtp')?.['framesSent'] ?? 0);
    });
  const sent = async (count: number) => {
    const before = await framesSent();
    await waitFor(async () => (await framesSent()) >= before + count, { what: `${count} pictures`, timeoutMs: 60_000 });
  };
  await sent(60);
  await page.evaluate(async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
    await (window as unknown as SdkWindow).eyeson.default.switchStream(stream);
  });
  await sent(30);
  await page.evaluate(() => (window as unknown as SdkWindow).eyeson.default.stopRecording());
  return recordingId;
}
