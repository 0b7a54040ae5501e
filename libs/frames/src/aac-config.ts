import { BitReader } from './bit-reader.js';

/** The parts of an MPEG-4 AudioSpecificConfig (ISO 14496-3 §1.6.2.1) that HLS and RTP need. */
export interface AacConfig {
  /** 2 is AAC-LC, 5 and 29 are HE-AAC. The CODECS string carries it as mp4a.40.<objectType>. */
  objectType: number;
  /** Sample rate of the core coder. With explicit HE-AAC signalling, the output has `outputSampleRate` instead. */
  sampleRate: number;
  outputSampleRate: number;
  channels: number;
  /** Samples of the core coder in an access unit: 1024 or 960. */
  frameSamples: number;
}

const SAMPLE_RATES = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
];

export function parseAacConfig(config: Uint8Array): AacConfig | undefined {
  const reader = new BitReader(config);
  const objectType = readObjectType(reader);
  const sampleRate = readSampleRate(reader);
  const channelConfiguration = reader.bits(4);
  let outputSampleRate = sampleRate;
  if (objectType === 5 || objectType === 29) {
    outputSampleRate = readSampleRate(reader);
    readObjectType(reader);
  }
  const frameSamples = reader.bit() ? 960 : 1024;
  if (reader.exhausted || !sampleRate || !outputSampleRate || channelConfiguration > 7) return undefined;
  const channels = objectType === 29 ? 2 : channelConfiguration === 7 ? 8 : channelConfiguration;
  return { objectType, sampleRate, outputSampleRate, channels: channels || 2, frameSamples };
}

function readObjectType(reader: BitReader): number {
  const type = reader.bits(5);
  return type === 31 ? 32 + reader.bits(6) : type;
}

function readSampleRate(reader: BitReader): number | undefined {
  const index = reader.bits(4);
  return index === 15 ? reader.bits(24) : SAMPLE_RATES[index];
}
