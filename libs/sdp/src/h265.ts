import { nalRole, nalUnitsBegunIn, parseH265Sps } from '@weir/frames';
import type { FrameHint, VideoDimensions } from './video-frame.js';

/** An RTP payload of H.265 (RFC 7798): a key frame shows itself by its parameter sets or by an IRAP slice. */
export function readH265(payload: Uint8Array): FrameHint {
  let isKeyFrame = false;
  let dimensions: VideoDimensions | undefined;
  for (const { nalUnit, isWhole } of nalUnitsBegunIn('H265', payload)) {
    const role = nalRole('H265', nalUnit);
    if (role === 'key-slice' || role === 'sps') isKeyFrame = true;
    const sps = role === 'sps' && isWhole ? parseH265Sps(nalUnit) : undefined;
    if (sps !== undefined) dimensions = { width: sps.width, height: sps.height };
  }
  return dimensions ? { isKeyFrame, dimensions } : { isKeyFrame };
}
