export {
  MediaClient,
  type Answered,
  type FeedRequest,
  type IngestRequest,
  type Ingested,
  type Located,
  type Played,
  type PlayRequest,
  type Published,
  type PublishedStream,
  type PublishRequest,
  type Renegotiated,
  type Source,
  type StreamListener,
  type StreamName,
  type TapRequest,
  type WebRtcOffer,
} from './media-client.js';
export type { Ended, Ending, MediaSession, SessionEvent } from './media-session.js';
export type { FedTrack, Feed, FeedPath } from './feed.js';
export type { MediumKind, Tap, Tapped } from './tap.js';
export { bindUdp, receiveBuffer } from './udp-socket.js';
