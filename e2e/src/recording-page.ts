import { waitFor } from '@weir/testing';
import type { BrowserContext, Page } from 'playwright-core';
import { openPage } from './browser.js';

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
}

type RecordingWindow = Window & { recording: Recording };

/** A page without a session. */
export interface Joining {
  readonly token: string;
  readonly clientId: string;
  /** Of the REST: `session_id` or `recording_id`. */
  readonly id: string;
  readonly endpoint: string;
  readonly iceServers: readonly RTCIceServer[];
}

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

/** Resolves when the page's first camera has sent so many more pictures. */
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
}

/** Starts a session as a client of the second generation does: candidates trickle, the answer comes by `sdp_update`. */
export async function joinSession(context: BrowserContext, url: string, joining: SecondGeneration): Promise<Page> {
  const page = await openPage(context, url);
  await page.evaluate(async ({ token, clientId, id, endpoint, iceServers, webhookUrl, monitored }) => {
    const connection = new RTCPeerConnection({ iceServers: [...iceServers] });
    const socket = new WebSocket(`${endpoint}?auth_token=${token}`);
    const ids = { client_id: clientId, session_id: id };
    const received: Told[] = [];
    (window as unknown as RecordingWindow).recording = { socket, connection, ids, told: received };
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(String(data)) as Told;
      received.push(message);
      if (message.type === 'sdp_update')
        void connection.setRemoteDescription(message.data['sdp'] as RTCSessionDescriptionInit);
      if (message.type === 'candidate') void connection.addIceCandidate(message.data['candidate'] as RTCIceCandidate);
    };
    connection.onicecandidate = ({ candidate }) =>
      socket.send(JSON.stringify({ type: 'candidate', ...ids, data: { candidate } }));
    connection.ontrack = ({ track, streams }) => {
      if (track.kind !== 'video') return;
      const video = document.createElement('video');
      video.muted = true;
      video.autoplay = true;
      video.srcObject = streams[0] ?? new MediaStream([track]);
      document.querySelector('#remote')?.append(video);
    };
    if (monitored === undefined) {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
      for (const track of stream.getTracks()) connection.addTrack(track, stream);
    } else for (const kind of ['audio', 'video'] as const) connection.addTransceiver(kind, { direction: 'recvonly' });
    await connection.setLocalDescription();
    const start = { sdp: connection.localDescription, webhook_url: webhookUrl };
    socket.send(
      JSON.stringify(
        monitored === undefined
          ? { type: 'session_start', ...ids, data: start }
          : { type: 'supervisor_join_session', ...ids, data: { ...start, session_id_to_monitor: monitored } },
      ),
    );
  }, joining);
  await told(page, 'sdp_update');
  return page;
}

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
 * candidates of which some go before it. @returns the page and the recording's id
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
    (window as unknown as RecordingWindow).recording = { socket, connection, ids, told: received };
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
