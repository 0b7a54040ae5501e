import { randomInt } from 'node:crypto';
import { ErrorCode, isWeirError } from '@weir/contracts';
import {
  forwardedPacket,
  parameterSetsOf,
  parseRtcp,
  withParameterSets,
  writeSenderReport,
  type ParameterSets,
  type RtpHeader,
  type RtpPacket,
} from '@weir/frames';
import type { AnnouncedTrack } from '@weir/sdp';
import { nextKeyFrame } from './key-frame.js';
import type { Playback } from './rtsp-connection.js';
import type { Stream } from './stream.js';
import type { Track } from './track.js';

const FIRST_PAYLOAD_TYPE = 96;
const PARAMETER_SETS_TIMEOUT_MS = 3_000;

/** The tracks that DESCRIBE answers with, in the same order as in `playRtsp`. */
export const describeForRtsp = (stream: Stream, ending: AbortSignal): Promise<AnnouncedTrack[]> =>
  Promise.all(
    stream.source.tracks.map(async (track, index) => {
      const parameters = await parametersOf(track, stream.info.ready, ending);
      return { ...track.description, parameters, payloadType: FIRST_PAYLOAD_TYPE + index };
    }),
  );

/** For H.264 and H.265 it adds the stream's present parameter sets, and may have to wait for a key frame. */
async function parametersOf(track: Track, isFlowing: boolean, ending: AbortSignal): Promise<Record<string, string>> {
  const { codec, parameters } = track.description;
  if (codec !== 'H264' && codec !== 'H265') return { ...parameters };
  const packetization: Record<string, string> = codec === 'H264' ? { 'packetization-mode': '1' } : {};
  if (parameterSetsOf(codec, parameters) !== undefined) return { ...packetization, ...parameters };
  return withParameterSets(
    codec,
    { ...packetization, ...parameters },
    await nextParameterSets(track, codec, isFlowing, ending),
  );
}

/**
 * A camera's next key frame may be a minute away. If media flow, the function then returns undefined, and the player
 * finds the sets in the stream, before that key frame.
 */
async function nextParameterSets(
  track: Track,
  codec: 'H264' | 'H265',
  isFlowing: boolean,
  ending: AbortSignal,
): Promise<ParameterSets | undefined> {
  try {
    const frame = await nextKeyFrame(track, codec, PARAMETER_SETS_TIMEOUT_MS, ending);
    return 'nalUnits' in frame ? frame.parameterSets : undefined;
  } catch (error) {
    if (isFlowing && isWeirError(error, ErrorCode.UNAVAILABLE)) return undefined;
    throw error;
  }
}

/** Sends a stream's packets to one RTSP player, with the payload types of its description. */
export function playRtsp(stream: Stream): Playback {
  const stops: (() => void)[] = [];
  let stopped = false;
  return {
    start: (deliver) => {
      for (const [index, track] of stream.source.tracks.entries()) {
        const ssrc = randomInt(1, 2 ** 32);
        const counts = { packets: 0, bytes: 0 };
        const isWhole = track.description.kind === 'video' ? fromFirstPicture() : () => true;
        const listener = {
          onRtp: (packet: RtpPacket) => {
            if (!isWhole(packet)) return;
            counts.packets += 1;
            counts.bytes += packet.bytes.length;
            // The description names no header extensions, so they are left out.
            const { sequenceNumber, timestamp } = packet;
            const payloadType = FIRST_PAYLOAD_TYPE + index;
            deliver(index, 'rtp', forwardedPacket(packet.bytes, { payloadType, sequenceNumber, timestamp, ssrc }));
          },
          onRtcp: (packet: Buffer) => {
            for (const message of parseRtcp(packet))
              if (message.tag === 'sender-report')
                deliver(
                  index,
                  'rtcp',
                  writeSenderReport({ ...message, ssrc, packetCount: counts.packets, octetCount: counts.bytes }),
                );
          },
        };
        track.listen(listener).then(
          (stop) => {
            if (stopped) stop();
            else stops.push(stop);
            track.requestKeyFrame();
          },
          () => undefined, // the stream has ended; the connection tells the player
        );
      }
    },
    stop: () => {
      stopped = true;
      for (const stop of stops.splice(0)) stop();
    },
  };
}

/**
 * Returns a function that tells whether a packet belongs to a picture whose beginning has been seen. Without its
 * beginning a picture is no valid bitstream, and a recorder may stop on it. The last packet of a picture has the
 * marker, and the next picture has another timestamp (RFC 6184 §5.1; other payload formats do the same).
 */
export function fromFirstPicture(): (packet: Pick<RtpHeader, 'timestamp' | 'marker'>) => boolean {
  let hasBegun = false;
  let unfinished: number | undefined;
  return ({ timestamp, marker }) => {
    if (hasBegun) return true;
    if (unfinished !== undefined && unfinished !== timestamp) return (hasBegun = true);
    unfinished = timestamp;
    hasBegun = marker;
    return false;
  };
}
