import { type MediaTrack, referenceTimeBox, type TrackRun, writeInitSegment, writeMediaFragment } from '@weir/mp4';

import { concat } from './ebml.js';
import type { ContainerWriter, MediaSample } from './recorded-track.js';
import type { TrackConfig, VideoConfig } from './track-config.js';

/** Room on each track's timeline before its first sample, because decoding times come before presentation times. */
export const TIMELINE_START_S = 2;

/** What a header says of AV1 while no key frame has come: main profile, 8 bits, 4:2:0. */
const UNKNOWN_AV1 = Uint8Array.of(0x81, 0x08, 0x0c, 0);

/** Fragments that are written in one piece. */
export class Mp4Writer implements ContainerWriter {
  #fragments = 0;

  header(configs: readonly TrackConfig[], startedAtMs: number): Uint8Array {
    const startTicks = TIMELINE_START_S * configs[0]!.timescale;
    const start = { kind: 'input', unixMs: startedAtMs, mediaTimeTicks: startTicks } as const;
    return concat([writeInitSegment(configs.map(mediaTrackOf)), referenceTimeBox(1, start)]);
  }

  captured(configs: readonly TrackConfig[], fileMs: number, senderMs: number): Uint8Array {
    const mediaTimeTicks = Math.round((TIMELINE_START_S + fileMs / 1000) * configs[0]!.timescale);
    return referenceTimeBox(1, { kind: 'capture', unixMs: senderMs, mediaTimeTicks });
  }

  media(samples: readonly MediaSample[], configs: readonly TrackConfig[]): Uint8Array[] {
    if (samples.length === 0) return [];
    const runs = configs.flatMap(({ timescale }, index) => {
      const own = samples.filter(({ track }) => track === index);
      return own.length === 0 ? [] : [runOf(own, index + 1, TIMELINE_START_S * timescale)];
    });
    return [writeMediaFragment(++this.#fragments, runs)];
  }
}

function runOf(samples: readonly MediaSample[], trackId: number, startTicks: number): TrackRun {
  return {
    trackId,
    decodeTimeTicks: samples[0]!.dts + startTicks,
    samples: samples.map(({ pts, dts, durationTicks, isKeyFrame, bytes, chunks, hasNalLengths }, index) => {
      const next = samples[index + 1];
      return {
        durationTicks: next === undefined ? durationTicks : next.dts - dts,
        compositionOffsetTicks: pts - dts,
        ...{ isSync: isKeyFrame, bytes, chunks, hasNalLengths },
      };
    }),
  };
}

function mediaTrackOf(config: TrackConfig, index: number): MediaTrack {
  const base = { trackId: index + 1, timescale: config.timescale };
  if (config.kind === 'video') return videoTrackOf(config, base);
  const { codec, channels } = config;
  return codec === 'opus' ? { ...base, codec, channels } : { ...base, codec, channels, config: config.config! };
}

function videoTrackOf(config: VideoConfig, base: { trackId: number; timescale: number }): MediaTrack {
  const { width, height, nal, av1 } = config;
  if (config.codec === 'AV1') {
    return { ...base, codec: 'AV1', width, height, configuration: av1?.configuration ?? UNKNOWN_AV1 };
  }
  if (nal?.codec === 'H264') return { ...base, ...nal };
  if (nal?.codec === 'H265') return { ...base, ...nal };
  // No picture has come yet. The header is written again when the first one comes.
  const parameterSets = { vps: [], sps: [], pps: [] };
  const depth = { chromaFormatIdc: 1, bitDepthLuma: 8, bitDepthChroma: 8 };
  if (config.codec === 'H265') {
    const profile = { profileSpace: 0, tierFlag: 0, profileIdc: 1, compatibilityFlags: 0, levelIdc: 93 };
    const layers = { temporalLayers: 1, temporalIdNesting: 1, reorderFrames: 0 };
    const sps = { id: 0, ...profile, constraintFlags: new Uint8Array(6), ...layers, ...depth, width, height };
    return { ...base, codec: 'H265', parameterSets, sps };
  }
  const profile = { profileIdc: 66, constraintFlags: 0, levelIdc: 31, profileLevelId: '42001f' };
  const sps = { id: 0, ...profile, ...depth, width, height, frameRate: undefined, reorderFrames: 0 };
  return { ...base, codec: 'H264', parameterSets, sps };
}
