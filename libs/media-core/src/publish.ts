import type { AudioCodecName, PublishSection, VideoCodecName } from './negotiation.js';
import type { Offer } from './offer.js';
import { NoCommonCodecsError } from './sdp-error.js';

export interface PublishPreferences {
  /** Best first. A codec that isn't named is not accepted. */
  videoCodecs?: readonly VideoCodecName[];
  audioCodecs?: readonly AudioCodecName[];
}

export const DEFAULT_VIDEO_CODECS: readonly VideoCodecName[] = ['H264', 'VP8', 'VP9', 'AV1'];
export const DEFAULT_AUDIO_CODECS: readonly AudioCodecName[] = ['opus', 'PCMU', 'PCMA', 'G722'];

/**
 * One section per m-line, in order. At most one audio and one video section are received.
 * @throws NoCommonCodecsError when none can be.
 */
export function negotiatePublish(offer: Offer, _preferences: PublishPreferences = {}): { sections: PublishSection[] } {
  throw new NoCommonCodecsError('media', [], [`${offer.media.length}`]);
}
