import type { types as mediasoup } from 'mediasoup';
import type { LentTrack } from './track.js';
import { MEDIA_SOCKET_BUFFERS, type RouterLease } from './worker-pool.js';

interface Pipe {
  lent: Promise<{ producerId: string; close(): void }>;
  users: number;
}

/**
 * A producer, and the pipes that bring it to other routers: one per router, made for the first who needs it there and
 * dropped with the last.
 */
export class PipedProducer {
  private readonly pipes = new Map<string, Pipe>();

  constructor(
    private readonly producer: () => mediasoup.Producer | Promise<mediasoup.Producer>,
    readonly home: RouterLease,
  ) {}

  get pipeCount(): number {
    return this.pipes.size;
  }

  async lend(to: RouterLease): Promise<LentTrack> {
    const { home, pipes } = this;
    const producer = await this.producer();
    if (to.router.id === home.router.id) return { producerId: producer.id, start: nothing, release: nothing };
    const key = to.router.id;
    const pipe = pipes.get(key) ?? { lent: pipeProducer(home.router, producer, to.router), users: 0 };
    pipes.set(key, pipe);
    pipe.users += 1;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      pipe.users -= 1;
      if (pipe.users > 0) return;
      if (pipes.get(key) === pipe) pipes.delete(key);
      pipe.lent.then(
        (lent) => lent.close(),
        () => undefined, // whoever asked for the track has met the error
      );
    };
    try {
      return { producerId: (await pipe.lent).producerId, start: nothing, release };
    } catch (error) {
      release();
      throw error;
    }
  }
}

const nothing = () => undefined;

async function pipeProducer(from: mediasoup.Router, producer: mediasoup.Producer, to: mediasoup.Router) {
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
