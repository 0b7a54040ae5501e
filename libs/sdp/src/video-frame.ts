/** Pixels of the picture as it is to be shown. */
export interface VideoDimensions {
  width: number;
  height: number;
}

/** What one RTP payload tells about the frame it belongs to. */
export interface FrameHint {
  isKeyFrame: boolean;
  dimensions?: VideoDimensions;
}
