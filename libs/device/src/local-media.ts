import type { LocalMedia } from './call.js';

export const NO_MEDIA: LocalMedia = { tracks: [], release: () => undefined };

/** Tracks that the application keeps. */
export const givenMedia = (stream: MediaStream | readonly MediaStreamTrack[]): LocalMedia => ({
  tracks: 'getTracks' in stream ? stream.getTracks() : stream,
  release: () => undefined,
});

/** Camera and microphone, or one of them; nothing where there are none, or the user allows none. */
export const capturedMedia = async (): Promise<LocalMedia> => {
  const devices = typeof navigator === 'undefined' ? undefined : navigator.mediaDevices;
  if (devices === undefined) return NO_MEDIA;
  for (const wanted of [{ audio: true, video: true }, { audio: true }, { video: true }]) {
    // Not there or not allowed: what is left is tried.
    const stream = await devices.getUserMedia(wanted).catch(() => undefined);
    if (stream === undefined) continue;
    const tracks = stream.getTracks();
    return { tracks, release: () => tracks.forEach((track) => track.stop()) };
  }
  return NO_MEDIA;
};
