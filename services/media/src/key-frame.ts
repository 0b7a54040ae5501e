import { ErrorCode, WeirError } from '@weir/contracts';
import { createFrameAssembler, type VideoFrame } from '@weir/frames';
import type { Track } from './track.js';

const KEY_FRAME_REQUEST_INTERVAL_MS = 1_000;

/**
 * Asks the source for a key frame and waits for the track's next complete one.
 * @throws WeirError UNAVAILABLE when none comes in time, and the signal's reason when the stream ends
 */
export async function nextKeyFrame(
  track: Track,
  codec: 'H264' | 'H265' | 'VP8' | 'VP9',
  timeoutMs: number,
  ending: AbortSignal,
): Promise<VideoFrame> {
  const { clockRate, parameters } = track.description;
  const assembler = createFrameAssembler({ codec, clockRate, parameters });
  let settle: { resolve(frame: VideoFrame): void; reject(error: Error): void } | undefined;
  const found = new Promise<VideoFrame>((resolve, reject) => {
    settle = { resolve, reject };
  });
  const stopListening = await track.listen({
    onRtp: (packet) => {
      const frame = assembler.pushPacket(packet).find(({ isKeyFrame, complete }) => isKeyFrame && complete);
      if (frame?.kind === 'video') settle?.resolve(frame);
    },
  });
  const end = () => settle?.reject(asError(ending.reason));
  ending.addEventListener('abort', end);
  if (ending.aborted) end();
  const timer = setTimeout(
    () => settle?.reject(new WeirError(ErrorCode.UNAVAILABLE, 'the source sent no key frame in time')),
    timeoutMs,
  );
  const requests = setInterval(() => track.requestKeyFrame(), KEY_FRAME_REQUEST_INTERVAL_MS);
  track.requestKeyFrame();
  try {
    return await found;
  } finally {
    clearInterval(requests);
    clearTimeout(timer);
    ending.removeEventListener('abort', end);
    stopListening();
  }
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));
