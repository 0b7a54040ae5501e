import { isDeepStrictEqual } from 'node:util';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { Offer } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';

/** A transport, and what is known of the client's side of it. */
interface Link {
  transport: mediasoup.WebRtcTransport;
  dtls: Offer['transports'][number]['dtlsParameters'];
  /** It changes when the client restarts ICE. */
  usernameFragment: string;
  mediaIndexes: Set<number>;
}

/** A later offer as this session can answer it. */
export interface LinkedOffer {
  readonly offer: Offer;
  /** The session's transport for each transport of the offer; undefined for one that has carried no media so far. */
  readonly transports: readonly (mediasoup.WebRtcTransport | undefined)[];
}

/** The transports of one client, over all its offers. */
export class ClientLinks {
  readonly #links: readonly Link[];

  /** @param opened the transport for each transport of the first offer; undefined for one without media */
  constructor(offer: Offer, opened: readonly (mediasoup.WebRtcTransport | undefined)[]) {
    this.#links = offer.transports.flatMap(({ iceParameters, dtlsParameters, mediaIndexes }, index) => {
      const transport = opened[index];
      if (transport === undefined) return [];
      const { usernameFragment } = iceParameters;
      return [{ transport, dtls: dtlsParameters, usernameFragment, mediaIndexes: new Set(mediaIndexes) }];
    });
  }

  /** @throws WeirError INVALID if the client has another certificate */
  onLinks(parsed: Offer): LinkedOffer {
    const links = parsed.transports.map(({ mediaIndexes, dtlsParameters }) => {
      const link = this.#linkOf(mediaIndexes);
      if (link !== undefined && !isDeepStrictEqual(link.dtls.fingerprints, dtlsParameters.fingerprints))
        throw new WeirError(ErrorCode.INVALID, 'The offer has another certificate; open a new session instead');
      return link;
    });
    // A DTLS association keeps its roles, although the client may again offer both.
    const transports = parsed.transports.map((each, index) => ({
      ...each,
      dtlsParameters: links[index]?.dtls ?? each.dtlsParameters,
    }));
    return { offer: { ...parsed, transports }, transports: links.map((link) => link?.transport) };
  }

  transportOf(mediaIndexes: readonly number[]): mediasoup.WebRtcTransport | undefined {
    return this.#linkOf(mediaIndexes)?.transport;
  }

  /** Restarts ICE where the client has offered new credentials. */
  async restartIce({ transports }: Offer): Promise<void> {
    for (const { mediaIndexes, iceParameters } of transports) {
      const link = this.#linkOf(mediaIndexes);
      if (link === undefined || iceParameters.usernameFragment === link.usernameFragment) continue;
      await link.transport.restartIce();
      link.usernameFragment = iceParameters.usernameFragment;
    }
  }

  /** The offer was accepted: its media belong to their transports from now on. */
  accepted({ transports }: Offer): void {
    for (const { mediaIndexes } of transports) {
      const link = this.#linkOf(mediaIndexes);
      for (const mediaIndex of mediaIndexes) link?.mediaIndexes.add(mediaIndex);
    }
  }

  async limitBitrate(maxBps: number): Promise<void> {
    await Promise.all(this.#links.map(({ transport }) => transport.setMaxIncomingBitrate(maxBps)));
  }

  #linkOf(mediaIndexes: readonly number[]): Link | undefined {
    return this.#links.find((link) => mediaIndexes.some((index) => link.mediaIndexes.has(index)));
  }
}
