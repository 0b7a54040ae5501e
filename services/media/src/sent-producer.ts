import type { types as mediasoup } from 'mediasoup';
import type { SentTrack, UdpAddress } from './track.js';

/** Sends a producer's packets to a UDP address. */
export async function sendProducer(
  router: mediasoup.Router,
  producerId: string,
  { ip, port }: UdpAddress,
): Promise<SentTrack> {
  const transport = await router.createPlainTransport({
    listenInfo: { protocol: 'udp', ip: sourceAddressFor(ip) },
    rtcpMux: true,
    comedia: false,
  });
  try {
    await transport.connect({ ip, port });
    const consumer = await transport.consume({
      producerId,
      rtpCapabilities: withoutRetransmission(router.rtpCapabilities),
      enableRtx: false,
    });
    return {
      payloadType: consumer.rtpParameters.codecs[0]?.payloadType ?? 0,
      ssrc: consumer.rtpParameters.encodings?.[0]?.ssrc ?? 0,
      caughtUp: Promise.resolve(),
      close: () => transport.close(),
    };
  } catch (error) {
    transport.close();
    throw error;
  }
}

/** Only a loopback address reaches loopback. Everything else is reached from any address. */
const sourceAddressFor = (ip: string) => (ip.startsWith('127.') || ip === '::1' ? ip : '0.0.0.0');

/** Between processes of one platform, packets aren't lost in a way that retransmission could repair. */
export const withoutRetransmission = (capabilities: mediasoup.RtpCapabilities): mediasoup.RtpCapabilities => ({
  codecs: capabilities.codecs?.filter(({ mimeType }) => !mimeType.toLowerCase().endsWith('/rtx')),
  headerExtensions: [],
});
