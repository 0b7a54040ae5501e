import type { RtpCodecCapability } from '@weir/sdp';

/**
 * Names what makes two routers interchangeable: mediasoup can't rewrite payload types towards a player, so players
 * whose offers number the stream's codecs alike share a router. Independent of the order of the codecs and of their
 * parameters.
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
