import {
  cloudMessageOf,
  ERROR_CODE,
  type CallNews,
  type CallRefusal,
  type DeviceEvent,
  type ErrorCode,
  type IceServers,
} from '@weir/protocol-topvdn';

/** A request that waits for its answer. */
export interface Asked {
  readonly type: 'open' | 'join' | 'restart';
  readonly ref: string | undefined;
}

export interface NewsContext {
  readonly callId: string;
  /** The other device, or 0. */
  readonly other: number;
  /** What the device has asked, if the news may be the answer. */
  readonly asked: Asked | undefined;
  readonly iceServers: IceServers;
}

const ANSWERS = { open: 'opened', join: 'joined', restart: 'restarted' } as const;

/** What a device gets for what its call tells it; undefined for what no frame tells. */
export const eventOf = (news: CallNews, { callId, other, asked, iceServers }: NewsContext): DeviceEvent | undefined => {
  const ref = asked?.ref === undefined ? {} : { ref: asked.ref };
  switch (news.tag) {
    case 'opened':
      return { type: ANSWERS[asked?.type ?? 'open'], ...ref, call_id: callId, sdp: news.sdp };
    case 'accepted': {
      const message = { call_id: callId, cid: news.callee, ice_servers: iceServers };
      return cloudMessageOf('ConnectionAcceptted', JSON.stringify(message), news.callee);
    }
    case 'media':
      return cloudMessageOf('StartPopData', JSON.stringify({ call_id: callId }), other);
    case 'closed':
      return cloudMessageOf('ConnectionClosed', JSON.stringify({ call_id: callId, cause: news.cause }), other);
    case 'other-muted':
      return { type: 'muted', call_id: callId, ...news.muted };
    case 'rings':
      return { type: 'ringing', cid: news.cid };
    case 'stopped-ringing':
      return { type: 'stopped-ringing', cid: news.cid, cause: news.cause };
    case 'refused': {
      const { code, message } = wordsOf(news.refusal);
      return { type: 'error', ...ref, call_id: callId, code, message };
    }
    case 'other-away':
    case 'other-back':
      return undefined; // media go on, so the device has nothing to do
    default:
      return news satisfies never;
  }
};

const wordsOf = (refusal: CallRefusal): { readonly code: ErrorCode; readonly message: string } => {
  switch (refusal.tag) {
    case 'busy':
      return { code: ERROR_CODE.busy, message: 'One of the two devices is in another call' };
    case 'answered-elsewhere':
      return { code: ERROR_CODE.answeredElsewhere, message: 'Another device has answered the call' };
    case 'already-open':
      return { code: ERROR_CODE.done, message: 'This device is in the call already' };
    case 'no-such-call':
      return NO_SUCH_CALL;
    case 'media':
      return { code: ERROR_CODE.media, message: refusal.message };
    default:
      return refusal satisfies never;
  }
};

export const NO_SUCH_CALL = { code: ERROR_CODE.notFound, message: 'There is no such call, or it has ended' } as const;
