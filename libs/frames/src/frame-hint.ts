/** Size of the picture as it is shown, in pixels. */
export interface VideoDimensions {
  readonly width: number;
  readonly height: number;
}

/** What one RTP payload tells about the frame that it belongs to. */
export interface FrameHint {
  readonly isKeyFrame: boolean;
  readonly dimensions?: VideoDimensions;
}

/** The hint of nearly every packet. */
export const NO_KEY_FRAME: FrameHint = { isKeyFrame: false };

export const keyFrameHint = (dimensions: VideoDimensions | undefined): FrameHint =>
  dimensions ? { isKeyFrame: true, dimensions } : { isKeyFrame: true };
