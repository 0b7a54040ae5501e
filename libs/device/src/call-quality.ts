import type { PathQuality, Quality } from '@weir/protocol-topvdn/channel';

/** What a report of WebRTC statistics may have; the names are WebRTC's. */
interface Stats {
  readonly type?: unknown;
  readonly nominated?: unknown;
  readonly currentRoundTripTime?: unknown;
  readonly bytesSent?: unknown;
  readonly bytesReceived?: unknown;
  readonly packetsSent?: unknown;
  readonly packetsReceived?: unknown;
  readonly packetsLost?: unknown;
}

interface Totals {
  readonly packets: number;
  readonly lost: number;
  readonly bytes: number;
}

/** Sums of one moment; the quality is what changed between two of them. */
export interface QualitySample {
  readonly atMs: number;
  readonly rttMs: number | undefined;
  readonly sent: Totals;
  readonly received: Totals;
}

const numberIn = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

const sumOf = (reports: readonly Stats[], pick: (report: Stats) => unknown): number =>
  reports.reduce((sum, report) => sum + numberIn(pick(report)), 0);

export const qualitySample = (reports: readonly Stats[], atMs: number): QualitySample => {
  const of = (type: string) => reports.filter((report) => report.type === type);
  const pair = of('candidate-pair').find(({ nominated, currentRoundTripTime }) => nominated && currentRoundTripTime);
  return {
    atMs,
    rttMs: pair === undefined ? undefined : Math.round(numberIn(pair.currentRoundTripTime) * 1_000),
    sent: {
      packets: sumOf(of('outbound-rtp'), (report) => report.packetsSent),
      bytes: sumOf(of('outbound-rtp'), (report) => report.bytesSent),
      lost: sumOf(of('remote-inbound-rtp'), (report) => report.packetsLost),
    },
    received: {
      packets: sumOf(of('inbound-rtp'), (report) => report.packetsReceived),
      bytes: sumOf(of('inbound-rtp'), (report) => report.bytesReceived),
      lost: sumOf(of('inbound-rtp'), (report) => report.packetsLost),
    },
  };
};

/** Losses can shrink when late packets arrive, and counters begin again with a new sender. */
const grown = (before: number, after: number): number => Math.max(0, after - before);

export const qualityBetween = (before: QualitySample, after: QualitySample): Quality => {
  const seconds = Math.max(0.001, (after.atMs - before.atMs) / 1_000);
  const path = (direction: 'sent' | 'received'): PathQuality => {
    const packets = grown(before[direction].packets, after[direction].packets);
    const lost = grown(before[direction].lost, after[direction].lost);
    // Those that were sent include those that were lost; those that were received don't.
    const all = direction === 'sent' ? packets : packets + lost;
    return {
      loss: all === 0 ? 0 : Math.min(1, lost / all),
      bitrate_bps: Math.round((grown(before[direction].bytes, after[direction].bytes) * 8) / seconds),
      ...(after.rttMs !== undefined && { rtt_ms: after.rttMs }),
    };
  };
  return { sent: path('sent'), received: path('received') };
};
