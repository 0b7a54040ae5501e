/** Pixels of the picture as it is to be shown. */
export interface VideoDimensions {
  readonly width: number;
  readonly height: number;
}

/** What one RTP payload tells about the frame it belongs to. */
export interface FrameHint {
  readonly isKeyFrame: boolean;
  readonly dimensions?: VideoDimensions;
}

/** Nearly every packet says just this. */
export const NO_KEY_FRAME: FrameHint = { isKeyFrame: false };

export const keyFrameHint = (dimensions: VideoDimensions | undefined): FrameHint =>
  dimensions ? { isKeyFrame: true, dimensions } : { isKeyFrame: true };
