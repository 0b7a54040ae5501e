import type { TrackDescription } from '@weir/frames';

import { codecLines, descriptionOf, mediaLine, sessionLines } from './lines.js';

/** RTP of one medium that arrives at a port of this machine. */
export interface RtpInput {
  readonly port: number;
  readonly payloadType: number;
  readonly track: TrackDescription;
}

/** Describes what arrives at the ports, for a program such as ffmpeg that listens on them. */
export function describeRtpInputs(inputs: readonly RtpInput[]): string {
  return descriptionOf([
    ...sessionLines({ id: 0, version: 0, address: '127.0.0.1', hasConnection: true }),
    ...inputs.flatMap(({ port, payloadType, track }) => [
      mediaLine(track.kind, port, 'RTP/AVP', [payloadType]),
      ...codecLines({ ...track, payloadType, name: track.codec }),
    ]),
  ]);
}
