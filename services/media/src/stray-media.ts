import { setLogEventListeners, types as mediasoup } from 'mediasoup';

/** Media that came to a worker with an SSRC that no producer has. */
export interface StrayMedia {
  ssrc: number;
  payloadType: number;
}

type StrayListener = (media: StrayMedia) => void;

/** mediasoup reports it only in its log: `[pid:12] … no suitable Producer … [ssrc:5, payloadType:96]`. */
const STRAY = /^\[pid:(\d+)\] .*no suitable Producer .*\[ssrc:(\d+), payloadType:(\d+)\]/;

const listenersByPid = new Map<number, Set<StrayListener>>();

setLogEventListeners({
  onwarn: (_namespace, line) => {
    const [, pid, ssrc, payloadType] = STRAY.exec(line) ?? [];
    for (const listener of listenersByPid.get(Number(pid)) ?? [])
      listener({ ssrc: Number(ssrc), payloadType: Number(payloadType) });
  },
});

/** The worker logs these packets only while it has a listener. */
function listenForStrays(worker: mediasoup.Worker, listener: StrayListener): () => void {
  const { pid } = worker;
  const listeners = listenersByPid.get(pid) ?? new Set();
  listenersByPid.set(pid, listeners);
  listeners.add(listener);
  if (listeners.size === 1) speakOf(worker, ['rtp']);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    listenersByPid.delete(pid);
    speakOf(worker, []);
  };
}

function speakOf(worker: mediasoup.Worker, logTags: mediasoup.WorkerLogTag[]): void {
  // The request fails only when the worker has died, with everything on it.
  worker.updateSettings({ logLevel: 'warn', logTags }).catch(() => undefined);
}

/**
 * A producer that gets no packet within this time probably has the SSRC of another client's media. But the client may
 * send only one picture a second, so each further trial of an SSRC takes twice as long.
 */
const FIRST_TRIAL_MS = 500;
const MAX_TRIAL_MS = 8_000;
const LOOK_EVERY_MS = 50;
/** The most SSRCs to remember, so that media of other clients can't fill the memory. */
const MAX_REMEMBERED = 1_000;

/**
 * Makes the producer of media that carry no mid and whose offer names no SSRC. mediasoup finds a packet's producer only
 * by these two, so the SSRC must be known first: packets with the right payload type tell it (RFC 8843 §9.2). The log
 * covers all transports of a worker, so this tries each SSRC. An SSRC brings packets only on its own transport.
 * @returns when the first packets have come
 * @throws when the transport is closed before
 */
export async function produceStray(
  worker: mediasoup.Worker,
  transport: mediasoup.WebRtcTransport,
  options: mediasoup.ProducerOptions,
): Promise<mediasoup.Producer> {
  const payloadType = options.rtpParameters.codecs[0]?.payloadType;
  const heard = new Set<number>();
  const trials = new Map<number, number>();
  let wake: (() => void) | undefined;
  const stop = listenForStrays(worker, (media) => {
    if (media.payloadType !== payloadType || heard.size >= MAX_REMEMBERED) return;
    heard.add(media.ssrc);
    wake?.();
  });
  transport.observer.once('close', () => wake?.());
  try {
    while (!transport.closed) {
      const [ssrc] = [...heard].toSorted((a, b) => (trials.get(a) ?? 0) - (trials.get(b) ?? 0));
      if (ssrc === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      heard.delete(ssrc);
      if (trials.size >= MAX_REMEMBERED) trials.clear();
      const trial = trials.get(ssrc) ?? 0;
      trials.set(ssrc, trial + 1);
      const encodings = [{ ...options.rtpParameters.encodings?.[0], ssrc }];
      const producer = await transport.produce({ ...options, rtpParameters: { ...options.rtpParameters, encodings } });
      if (await bringsPackets(producer, Math.min(FIRST_TRIAL_MS * 2 ** trial, MAX_TRIAL_MS))) return producer;
      producer.close();
    }
    throw new Error('the transport was closed before any of its media had come');
  } finally {
    stop();
  }
}

async function bringsPackets(producer: mediasoup.Producer, withinMs: number): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < withinMs; waitedMs += LOOK_EVERY_MS) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    if (producer.closed) return false;
    const [stats] = await producer.getStats();
    if (stats !== undefined && stats.packetCount > 0) return true;
  }
  return false;
}
