import { permits, type Principal } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { LoggedMessage, Outbox, Replayed } from '@weir/outbox';
import type { Deliveries } from './deliveries.js';
import { streamNameOf } from './session-names.js';
import { uploadWebhookIdsOf } from './session-recorder.js';
import { sessionWebhookIdOf, type Session, type SessionStore } from './session-store.js';
import { permittedRecording, type RecordingRow, type RecordingStore } from './store.js';
import { uploadIdOf } from './uploads.js';

export interface DeliveryLogPorts {
  readonly outbox: Pick<Outbox, 'log' | 'replay'>;
  readonly store: Pick<RecordingStore, 'find' | 'ofSession'>;
  readonly sessions: Pick<SessionStore, 'find'>;
  readonly deliveries: Pick<Deliveries, 'repeat'>;
}

/** A recording or a session whose deliveries are asked for. */
export interface DeliverySubject {
  readonly tenant: string;
  readonly session: Session | undefined;
  readonly recordings: readonly RecordingRow[];
}

/** The log of a session covers this many of its last recordings. */
const MAX_RECORDINGS = 100;
const MAX_DELIVERIES = 500;

const idsOfRecording = ({ id }: RecordingRow): string[] => [uploadIdOf(id), ...uploadWebhookIdsOf(id)];

const noDelivery = (): WeirError => new WeirError(ErrorCode.NOT_FOUND, 'There is no such delivery');

/** The deliveries of recordings and sessions, past and pending, attempt by attempt. It also repeats them. */
export class DeliveryLog {
  constructor(private readonly ports: DeliveryLogPorts) {}

  /** Throws NOT_FOUND unless there is such a recording and the principal may record its stream. */
  async recording(principal: Principal, id: string): Promise<DeliverySubject> {
    const row = await permittedRecording(this.ports.store, principal, id);
    return { tenant: row.tenant, session: undefined, recordings: [row] };
  }

  /** The session with its last 100 recordings. Throws NOT_FOUND unless the principal may record the session's stream. */
  async session(principal: Principal, id: string): Promise<DeliverySubject> {
    const session = await this.ports.sessions.find(id);
    if (session === undefined || !permits(principal, 'record', session.tenant, streamNameOf(id)))
      throw new WeirError(ErrorCode.NOT_FOUND, 'There is no such session');
    return { tenant: session.tenant, session, recordings: await this.ports.store.ofSession(session, MAX_RECORDINGS) };
  }

  /** The uploads and webhooks, in the order in which they were added. */
  entries({ tenant, session, recordings }: DeliverySubject): Promise<LoggedMessage[]> {
    const ids = recordings.flatMap(idsOfRecording);
    if (session !== undefined) ids.push(sessionWebhookIdOf(session.id));
    return this.ports.outbox.log({ scope: tenant, ids, limit: MAX_DELIVERIES });
  }

  /** Delivers one of the subject's uploads or webhooks again, under the same id. Throws NOT_FOUND for any other. */
  async replay(subject: DeliverySubject, deliveryId: string): Promise<Exclude<Replayed, 'unknown'>> {
    if (!(await this.entries(subject)).some(({ id }) => id === deliveryId)) throw noDelivery();
    const uploaded = subject.recordings.find(({ id }) => uploadIdOf(id) === deliveryId);
    const replayed =
      uploaded === undefined
        ? await this.ports.outbox.replay(deliveryId, { scope: subject.tenant })
        : await this.ports.deliveries.repeat(uploaded);
    if (replayed === 'unknown') throw noDelivery();
    return replayed;
  }
}
