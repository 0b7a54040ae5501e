import { randomUUID } from 'node:crypto';
import type { RecordingHolder } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import { webhookMessage, type NewMessage, type Transaction } from '@weir/outbox';
import { MAX_SUPERVISORS, periodOf, sessionFinished, type TerminationCause } from '@weir/protocol-eyeson';
import type { Prisma, PrismaClient, Session } from './generated/client.js';
import { UNFINISHED } from './store.js';

export type { Session };

/** Takes messages for delivery, in the same transaction as the change that they report. */
export interface SessionOutbox {
  add(transaction: Transaction, message: NewMessage): Promise<string>;
  wake(queue?: string): void;
}

export interface SessionStorePorts {
  readonly database: PrismaClient;
  readonly outbox: SessionOutbox;
  /** This instance, which owns the sessions that are started here. */
  readonly instanceId: string;
}

export interface StatsFilter {
  readonly tenant: string;
  readonly apiId: string;
  readonly year?: number | undefined;
  readonly month?: number | undefined;
  readonly limit: number;
  readonly nextToken?: string | undefined;
}

export interface SessionPage {
  readonly sessions: readonly Session[];
  readonly nextToken: string | undefined;
}

type ClientHolder = Extract<RecordingHolder, { tag: 'client' }>;
type SupervisorHolder = Extract<RecordingHolder, { tag: 'supervisor' }>;

export const WEBHOOK_QUEUE = 'webhook';
/** The id of the webhook that tells of a session's end. */
export const sessionWebhookIdOf = (sessionId: string): string => `session_${sessionId}`;
/** A session that isn't started within this time can't be started any more, and takes up no supervisor's place. */
const START_WITHIN_MS = 5 * 60_000;
/** An arbitrary number: supervisors of one session are admitted one after another. */
const SUPERVISOR_LOCK = 7_741_010;

const openSince = (): Date => new Date(Date.now() - START_WITHIN_MS);

/** The sessions of the recording protocol in the database. Methods that take a holder find only what it may see. */
export class SessionStore {
  constructor(private readonly ports: SessionStorePorts) {}

  create(holder: ClientHolder, kind: 'CLIENT' | 'FIRST_GENERATION'): Promise<Session> {
    const { tenant, apiId, clientId } = holder;
    return this.ports.database.session.create({ data: { id: randomUUID(), tenant, apiId, clientId, kind } });
  }

  /**
   * @param monitoredId the client's live session if it is left out
   * @throws WeirError NOT_FOUND if the client has no such live session, ALREADY_EXISTS if it has enough supervisors
   */
  createSupervisor(holder: SupervisorHolder, monitoredId: string | undefined): Promise<Session> {
    const { tenant, apiId, clientId } = holder;
    return this.ports.database.$transaction(async (transaction) => {
      const monitored = await this.#liveOf(transaction, holder, holder.monitor, monitoredId);
      if (monitored === undefined)
        throw new WeirError(ErrorCode.NOT_FOUND, 'The client has no such live session', { clientId: holder.monitor });
      await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${SUPERVISOR_LOCK}, hashtext(${monitored.id}))::text`;
      const count = await transaction.session.count({
        where: {
          monitoredId: monitored.id,
          OR: [{ state: 'LIVE' }, { state: 'CREATED', createdAt: { gt: openSince() } }],
        },
      });
      if (count >= MAX_SUPERVISORS)
        throw new WeirError(ErrorCode.ALREADY_EXISTS, `The client already has ${MAX_SUPERVISORS} supervisors`);
      const data = {
        id: randomUUID(),
        tenant,
        apiId,
        clientId,
        kind: 'SUPERVISOR',
        monitoredId: monitored.id,
      } as const;
      return transaction.session.create({ data });
    });
  }

  liveOf(holder: ClientHolder): Promise<Session | undefined> {
    return this.#liveOf(this.ports.database, holder, holder.clientId, undefined);
  }

  /** The session that a supervisor may watch in this session of its own; undefined if it isn't live. */
  async monitored(holder: SupervisorHolder, { monitoredId }: Session): Promise<Session | undefined> {
    return monitoredId === null ? undefined : this.#liveOf(this.ports.database, holder, holder.monitor, monitoredId);
  }

  async find(id: string): Promise<Session | undefined> {
    return (await this.ports.database.session.findUnique({ where: { id } })) ?? undefined;
  }

  /** The holder's session with this id, if it waits for its start. */
  async startable(id: string, holder: RecordingHolder, kind: Session['kind']): Promise<Session | undefined> {
    if (holder.tag === 'stats') return undefined;
    const { tenant, apiId, clientId } = holder;
    const where = { id, tenant, apiId, clientId, kind, state: 'CREATED', createdAt: { gt: openSince() } } as const;
    return (await this.ports.database.session.findFirst({ where })) ?? undefined;
  }

  /** @returns false if it was started meanwhile */
  async started(id: string, webhookUrl: string | undefined): Promise<boolean> {
    const { count } = await this.ports.database.session.updateMany({
      where: { id, state: 'CREATED' },
      data: { state: 'LIVE', startedAt: new Date(), owner: this.ports.instanceId, webhookUrl: webhookUrl ?? null },
    });
    return count === 1;
  }

  /**
   * Stores in one transaction the end, its webhook, and that the session's recording must end, which another instance
   * may have taken over. Idempotent: only the first cause counts.
   */
  async end(id: string, cause: TerminationCause): Promise<void> {
    await this.ports.database.$transaction(async (transaction) => {
      const stoppedAt = new Date();
      const [ended] = await transaction.session.updateManyAndReturn({
        where: { id, state: 'LIVE' },
        data: { state: 'TERMINATED', cause, stoppedAt },
      });
      if (ended === undefined) return;
      await transaction.recording.updateMany({
        where: { labels: { path: ['sessionId'], equals: id }, state: { in: [...UNFINISHED] } },
        data: { wanted: false },
      });
      if (ended.webhookUrl === null) return;
      const body = sessionFinished(ended.kind === 'SUPERVISOR' ? 'supervisor' : 'client', {
        ...{ sessionId: ended.id, clientId: ended.clientId, cause, stoppedAtMs: stoppedAt.getTime() },
        startedAtMs: (ended.startedAt ?? ended.createdAt).getTime(),
      });
      await this.ports.outbox.add(transaction, {
        ...{ id: sessionWebhookIdOf(ended.id), queue: WEBHOOK_QUEUE, key: ended.id, scope: ended.tenant },
        ...webhookMessage({ url: ended.webhookUrl, body: JSON.stringify(body) }),
      });
    });
    this.ports.outbox.wake(WEBHOOK_QUEUE);
  }

  /** The live sessions of other instances, with their owners. */
  async liveElsewhere(): Promise<{ readonly id: string; readonly owner: string }[]> {
    const { database, instanceId } = this.ports;
    const rows = await database.session.findMany({
      where: { state: 'LIVE', owner: { not: instanceId } },
      select: { id: true, owner: true },
    });
    return rows.map(({ id, owner }) => ({ id, owner: owner ?? '' }));
  }

  /** The tenants that have, or had, sessions. */
  async tenants(): Promise<string[]> {
    const rows = await this.ports.database.session.findMany({ distinct: ['tenant'], select: { tenant: true } });
    return rows.map(({ tenant }) => tenant);
  }

  /** Oldest first; supervisors' sessions too. */
  async page({ tenant, apiId, limit, nextToken, ...query }: StatsFilter): Promise<SessionPage> {
    const period = periodOf(query);
    const rows = await this.ports.database.session.findMany({
      where: {
        ...{ tenant, apiId },
        ...(period && { createdAt: { gte: new Date(period.fromMs), lt: new Date(period.untilMs) } }),
        ...(nextToken !== undefined && { AND: afterToken(nextToken) }),
      },
      orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      take: limit + 1,
    });
    const sessions = rows.slice(0, limit);
    const last = sessions.at(-1);
    return { sessions, nextToken: rows.length > limit && last !== undefined ? tokenAfter(last) : undefined };
  }

  async #liveOf(
    database: Prisma.TransactionClient,
    { tenant, apiId }: RecordingHolder,
    clientId: string,
    id: string | undefined,
  ): Promise<Session | undefined> {
    const found = await database.session.findFirst({
      where: {
        ...{ tenant, apiId, clientId, state: 'LIVE', kind: { not: 'SUPERVISOR' } },
        ...(id !== undefined && { id }),
      },
      orderBy: { startedAt: 'desc' },
    });
    return found ?? undefined;
  }
}

interface Place {
  readonly id: string;
  readonly createdAt: Date;
}

/** Names the last entry of a page, after which the next page begins. */
export const tokenAfter = ({ createdAt, id }: Place): string =>
  Buffer.from(`${createdAt.toISOString()} ${id}`).toString('base64url');

/** @throws WeirError INVALID for a text that isn't a token */
export const afterToken = (token: string) => {
  const [time = '', id = ''] = Buffer.from(token, 'base64url').toString().split(' ');
  const createdAt = new Date(time);
  if (Number.isNaN(createdAt.getTime()) || id === '')
    throw new WeirError(ErrorCode.INVALID, 'The request is not valid; see the fields', {
      next_token: 'is not the next_token of an earlier answer',
    });
  return { OR: [{ createdAt: { gt: createdAt } }, { createdAt, id: { gt: id } }] };
};
