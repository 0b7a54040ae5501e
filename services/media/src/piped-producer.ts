import type { types as mediasoup } from 'mediasoup';
import { sharedIn, type Shared } from './shared-value.js';
import type { LentTrack } from './track.js';
import { MEDIA_SOCKET_BUFFERS, type RouterLease } from './worker-pool.js';

interface Pipe {
  producerId: string;
  close(): void;
}

/**
 * A producer, and the pipes that bring it to other routers. There is one pipe per router: it is made for its first user
 * there and closed with the last.
 */
export class PipedProducer {
  readonly #pipes = new Map<string, Shared<Pipe>>();

  constructor(
    private readonly producer: () => mediasoup.Producer | Promise<mediasoup.Producer>,
    readonly home: RouterLease,
  ) {}

  get pipeCount(): number {
    return this.#pipes.size;
  }

  async lend(to: RouterLease): Promise<LentTrack> {
    const { home } = this;
    const pipes = this.#pipes;
    const producer = await this.producer();
    if (to.router.id === home.router.id) return { producerId: producer.id, start: nothing, release: nothing };
    const pipe = sharedIn(
      pipes,
      to.router.id,
      () => pipeProducer(home.router, producer, to.router),
      (made) => made.close(),
    );
    const { value, release } = await pipe.use();
    return { producerId: value.producerId, start: nothing, release };
  }
}

const nothing = () => undefined;

async function pipeProducer(from: mediasoup.Router, producer: mediasoup.Producer, to: mediasoup.Router): Promise<Pipe> {
  const { pipeConsumer, pipeProducer: piped } = await from.pipeToRouter({
    producerId: producer.id,
    router: to,
    // Two routers of one worker can't hold the same producer id.
    keepId: false,
    listenInfo: { protocol: 'udp', ip: '127.0.0.1', ...MEDIA_SOCKET_BUFFERS },
  });
  if (piped === undefined) throw new Error('mediasoup made no pipe producer');
  return {
    producerId: piped.id,
    close: () => {
      pipeConsumer?.close();
      piped.close();
    },
  };
}
