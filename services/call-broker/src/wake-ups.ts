import type { Outbox, Transaction } from '@weir/outbox';
import type { MessageFlag } from '@weir/protocol-topvdn';

/** A message for a device that has no socket, or doesn't answer on it. */
export interface WakeUp {
  /** The app of the device. */
  readonly appId: string;
  readonly id: string;
  readonly to: number;
  readonly from: number;
  readonly msg: string;
  readonly flag: MessageFlag;
}

const QUEUE = 'wake-up';

/** Calls of the operators' push gateways, which wake devices. There is one call for each message. */
export class WakeUps {
  constructor(private readonly outbox: Pick<Outbox, 'add' | 'addAlone' | 'wake'>) {}

  /** In the transaction that stores the message. Call `look` afterwards. */
  async add(transaction: Transaction, wakeUp: WakeUp): Promise<void> {
    await this.outbox.add(transaction, messageOf(wakeUp));
  }

  async addAlone(wakeUp: WakeUp): Promise<void> {
    await this.outbox.addAlone(messageOf(wakeUp));
  }

  look(): void {
    this.outbox.wake(QUEUE);
  }
}

const messageOf = ({ appId, id, to, from, msg, flag }: WakeUp) => ({
  queue: QUEUE,
  id: `wake-up-${id}`,
  scope: appId,
  destination: appId,
  payload: { appId, id, to, from, msg, flag },
});
