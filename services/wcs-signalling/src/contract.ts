import {
  EndReason as ContractEndReason,
  ErrorCode,
  isWeirError,
  type StreamSignal as ContractSignal,
} from '@weir/contracts';
import type { SessionEvent } from '@weir/media-client';
import type { EndReason, MediaEvent, RefusalCode, StreamSignal } from '@weir/protocol-wcs';

/** Translates between the contract's terms and the protocol's, in both directions. */

export const endReasonOf = (reason: ContractEndReason): EndReason => {
  switch (reason) {
    case ContractEndReason.UNSPECIFIED:
      return 'unknown';
    case ContractEndReason.CLIENT:
      return 'client';
    case ContractEndReason.DISCONNECTED:
      return 'disconnected';
    case ContractEndReason.OWNER_LOST:
      return 'owner-lost';
    case ContractEndReason.TERMINATED:
      return 'terminated';
    case ContractEndReason.ICE_TIMEOUT:
      return 'ice-timeout';
    case ContractEndReason.ICE_LOST:
      return 'ice-lost';
    case ContractEndReason.DTLS_FAILED:
      return 'dtls-failed';
    case ContractEndReason.NO_MEDIA:
      return 'no-media';
    case ContractEndReason.STREAM_ENDED:
    case ContractEndReason.SOURCE_FAILED:
    case ContractEndReason.SOURCE_TIMEOUT:
      return 'stream-ended';
    case ContractEndReason.NODE_LOST:
      return 'node-lost';
    case ContractEndReason.NODE_SHUTDOWN:
      return 'node-shutdown';
    case ContractEndReason.REPLACED:
      return 'replaced';
    default:
      // A newer node may send reasons that this instance doesn't know.
      reason satisfies never;
      return 'unknown';
  }
};

export const contractReason = (reason: 'client' | 'disconnected' | 'terminated' | 'ice-timeout'): ContractEndReason => {
  switch (reason) {
    case 'client':
      return ContractEndReason.CLIENT;
    case 'disconnected':
      return ContractEndReason.DISCONNECTED;
    case 'terminated':
      return ContractEndReason.TERMINATED;
    case 'ice-timeout':
      return ContractEndReason.ICE_TIMEOUT;
    default:
      return reason satisfies never;
  }
};

export const refusalCodeOf = (error: unknown): RefusalCode => {
  if (!isWeirError(error)) return 'internal';
  switch (error.code) {
    case ErrorCode.INVALID:
      return 'invalid';
    case ErrorCode.UNAUTHENTICATED:
      return 'unauthenticated';
    case ErrorCode.FORBIDDEN:
      return 'forbidden';
    case ErrorCode.NOT_FOUND:
      return 'not-found';
    case ErrorCode.ALREADY_EXISTS:
      return 'already-exists';
    case ErrorCode.NO_COMMON_CODECS:
      return 'no-common-codecs';
    case ErrorCode.EXHAUSTED:
      return 'exhausted';
    case ErrorCode.UNAVAILABLE:
      return 'unavailable';
    case ErrorCode.DEADLINE:
      return 'deadline';
    case ErrorCode.UNSPECIFIED:
    case ErrorCode.INTERNAL:
      return 'internal';
    default:
      error.code satisfies never;
      return 'internal';
  }
};

/** Undefined for an unknown signal, which a newer node may pass on, and for what no WCS client has. */
export const mediaEventOf = (change: SessionEvent): MediaEvent | undefined => {
  switch (change.case) {
    case 'connected':
      return { tag: 'connected' };
    case 'videoSize':
      return { tag: 'video-size', width: change.value.width, height: change.value.height };
    case 'stats': {
      const { value } = change;
      return {
        tag: 'stats',
        videoBps: Number(value.videoBps),
        videoFps: value.videoFps,
        nackCount: Number(value.nackCount),
        pliCount: Number(value.pliCount),
        lostPackets: Number(value.lostPackets),
        width: value.width,
        height: value.height,
      };
    }
    case 'signal':
      return signalEventOf(change.value.kind);
    case 'notEnoughBandwidth':
      return {
        tag: 'not-enough-bandwidth',
        neededBps: Number(change.value.neededBps),
        availableBps: Number(change.value.availableBps),
      };
    case 'offer':
    case 'notCarried':
      return undefined; // only for players of several streams
    default:
      return change satisfies never;
  }
};

const signalEventOf = (kind: ContractSignal['kind']): MediaEvent | undefined => {
  switch (kind.case) {
    case 'audioMuted':
      return { tag: 'signal', signal: { tag: 'audio-muted', muted: kind.value } };
    case 'videoMuted':
      return { tag: 'signal', signal: { tag: 'video-muted', muted: kind.value } };
    case 'dataJson':
      return { tag: 'signal', signal: { tag: 'data', json: kind.value } };
    case undefined:
      return undefined;
    default:
      return kind satisfies never;
  }
};

export const contractSignal = (signal: StreamSignal) => {
  switch (signal.tag) {
    case 'audio-muted':
      return { kind: { case: 'audioMuted' as const, value: signal.muted } };
    case 'video-muted':
      return { kind: { case: 'videoMuted' as const, value: signal.muted } };
    case 'data':
      return { kind: { case: 'dataJson' as const, value: signal.json } };
    default:
      return signal satisfies never;
  }
};
