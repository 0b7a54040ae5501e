import type { RtpCodecCapability } from '@weir/sdp';

/**
 * A key that is equal for interchangeable routers. mediasoup can't rewrite payload types for a player, so players share
 * a router when their offers give the stream's codecs the same numbers. The order of the codecs and of their parameters
 * doesn't matter.
 */
export function dialectKey(codecs: readonly RtpCodecCapability[]): string {
  return codecs
    .map((codec) => {
      const parameters = Object.entries(codec.parameters)
        .map(([key, value]) => `${key}=${value}`)
        .sort();
      return [
        codec.preferredPayloadType,
        `${codec.mimeType.toLowerCase()}/${codec.clockRate}/${codec.channels ?? 1}`,
        ...parameters,
      ].join(';');
    })
    .sort()
    .join('|');
}
