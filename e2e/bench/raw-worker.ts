import { routerCodecs, type Offer, type PlaySection, type TwoWaySection } from '@weir/sdp';
import { createWorker, types as mediasoup } from 'mediasoup';

export const MAX_BITRATE_BPS = 8_000_000;

/** One mediasoup worker behind one port, for the programs that weir is compared with. */
export class RawWorker {
  /** By dialect. They are never closed; there are only as many as clients have ways to number their codecs. */
  readonly #routers = new Map<string, Promise<mediasoup.Router>>();

  private constructor(
    private readonly worker: mediasoup.Worker,
    private readonly webRtcServer: mediasoup.WebRtcServer,
  ) {}

  static async start(): Promise<RawWorker> {
    const worker = await createWorker({ logLevel: 'warn' });
    const webRtcServer = await worker.createWebRtcServer({
      listenInfos: (['udp', 'tcp'] as const).map((protocol) => ({
        protocol,
        ip: '0.0.0.0',
        announcedAddress: '127.0.0.1',
      })),
    });
    return new RawWorker(worker, webRtcServer);
  }

  get pid(): number {
    return this.worker.pid;
  }

  routerFor(sections: readonly (TwoWaySection | PlaySection)[]): Promise<mediasoup.Router> {
    const codecs = routerCodecs(sections);
    const dialect = JSON.stringify(codecs);
    let router = this.#routers.get(dialect);
    if (router === undefined) {
      router = this.worker.createRouter({ mediaCodecs: codecs as mediasoup.RouterRtpCodecCapability[] });
      this.#routers.set(dialect, router);
    }
    return router;
  }

  async openTransport(router: mediasoup.Router, offer: Offer): Promise<mediasoup.WebRtcTransport> {
    const [offered] = offer.transports;
    if (offered === undefined || offer.transports.length > 1) throw new Error('only one transport is served');
    const transport = await router.createWebRtcTransport({
      webRtcServer: this.webRtcServer,
      enableUdp: true,
      enableTcp: true,
      preferUdp: true,
      initialAvailableOutgoingBitrate: 2_000_000,
    });
    await transport.connect({ dtlsParameters: offered.dtlsParameters as mediasoup.DtlsParameters });
    return transport;
  }
}
