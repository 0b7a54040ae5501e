import { randomBytes } from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { grant, grantsOfRole, type Grant } from '@weir/access';
import type { Logger } from '@weir/platform';
import { generateApiKey, insertApiKey, isSameKey } from './api-keys.js';
import {
  readCredentials,
  robotIn,
  writeCredentials,
  type DemoCredentials,
  type RobotCredentials,
} from './credentials-file.js';
import { completed } from './demo-calls.js';
import { writeGrants, type Database, type DatabaseTransaction } from './database.js';
import type { Passwords } from './passwords.js';
import { subjectOfUser } from './users.js';

/** Decides what the service creates at its start. */
export type BootstrapMode =
  | { readonly tag: 'single-machine'; readonly credentialsFile: string }
  | { readonly tag: 'cluster'; readonly tenant: string; readonly operatorKey: string | undefined };

export interface BootstrapPorts {
  readonly database: Database;
  readonly passwords: Passwords;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

const DEMO_TENANT = 'demo';
const DEMO_USERNAME = 'demo';
const DEMO_KEY_LABEL = 'demo-operator';
const DEMO_API_ID = 'demo';
const DEMO_MASTER_KEY_LABEL = 'demo-recording';
/** robot-channel creates the same robots; it doesn't know their keys. */
const DEMO_ROBOTS = ['robot_dog_sr_20001', 'robot_dog_sr_20002'] as const;
const DEMO_CAMERAS = ['front', 'back'] as const;
const BOOTSTRAP_KEY_LABEL = 'bootstrap-operator';
export const DEFAULT_APP_KEY = 'defaultApp';

/** An arbitrary number. Instances that start together take turns on this lock. */
const LOCK_ID = 7_741_002;
const TRANSACTION_TIMEOUT_MS = 30_000;

export const bootstrap = (ports: BootstrapPorts, mode: BootstrapMode): Promise<void> =>
  ports.database.$transaction(
    async (transaction) => {
      await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${LOCK_ID})::text`;
      switch (mode.tag) {
        case 'single-machine':
          return makeDemoTenant(ports, transaction, mode.credentialsFile);
        case 'cluster':
          await removeDemo(ports, transaction);
          return makeFirstOperator(ports, transaction, mode.tenant, mode.operatorKey);
      }
    },
    { timeout: TRANSACTION_TIMEOUT_MS, maxWait: TRANSACTION_TIMEOUT_MS },
  );

/** Creates the tenant with its first application. If that is removed later, it isn't created again. */
const ensureTenant = async (
  transaction: DatabaseTransaction,
  name: string,
  policy: 'OPEN' | 'TOKEN',
  demo: boolean,
): Promise<void> => {
  const known = await transaction.tenant.findUnique({ where: { name } });
  if (known !== null) return;
  await transaction.tenant.create({ data: { name } });
  await transaction.application.create({ data: { appKey: DEFAULT_APP_KEY, tenantName: name, policy, demo } });
};

/**
 * The credentials file is authoritative: the demo user and operator get what it says, and what it lacks is created.
 * The file is written before the database, so that the next start repairs a crash between the two.
 */
const makeDemoTenant = async (
  { passwords, log }: BootstrapPorts,
  transaction: DatabaseTransaction,
  file: string,
): Promise<void> => {
  await ensureTenant(transaction, DEMO_TENANT, 'OPEN', true);
  const found = await readCredentials(file);
  const username = found.user?.username === DEMO_USERNAME ? found.user : undefined;
  const known = found.robots ?? [];
  const missing = DEMO_ROBOTS.filter((id) => robotIn(known, id) === undefined);
  const robots = [...known.filter((entry) => !isOf(missing, entry)), ...missing.map(newRobot)];
  const credentials: DemoCredentials = {
    user: username ?? { username: DEMO_USERNAME, password: randomBytes(15).toString('base64url') },
    operator: found.operator ?? { key: generateApiKey() },
    recording: found.recording ?? { apiId: DEMO_API_ID, masterKey: generateApiKey() },
    calls: completed(found.calls, Date.now()),
    robots,
  };
  const { operator, recording, calls } = found;
  const isComplete = operator !== undefined && recording !== undefined && username !== undefined;
  if (!isComplete || calls !== credentials.calls || missing.length > 0) {
    await writeCredentials(file, { ...found, ...credentials });
    log.info({ file }, 'credentials of the demo tenant written');
  } else {
    await chmod(file, 0o600);
  }
  await setDemoUser(passwords, transaction, credentials.user.password);
  const operatorRights = grantsOfRole('operator');
  await setKey(transaction, credentials.operator.key, { label: DEMO_KEY_LABEL, grants: operatorRights, ...DEMO });
  const { apiId, masterKey } = credentials.recording;
  await setKey(transaction, masterKey, { label: DEMO_MASTER_KEY_LABEL, grants: [], apiId, ...DEMO });
  for (const id of DEMO_ROBOTS) {
    const robot = robotIn(robots, id);
    const grants = [grant('publish', `${id}/*`)];
    if (robot !== undefined) await setKey(transaction, robot.token, { label: `demo-${id}`, grants, ...DEMO });
  }
};

const DEMO_USER = { tenantName_username: { tenantName: DEMO_TENANT, username: DEMO_USERNAME } } as const;

const DEMO = { tenant: DEMO_TENANT, demo: true } as const;

const newRobot = (id: string): RobotCredentials => ({ id, token: generateApiKey(), cameras: DEMO_CAMERAS });

/** Whether an entry of the file, usable or not, is about one of the robots. */
const isOf = (ids: readonly string[], entry: unknown): boolean =>
  typeof entry === 'object' && entry !== null && 'id' in entry && ids.some((id) => id === entry.id);

const setDemoUser = async (passwords: Passwords, transaction: DatabaseTransaction, password: string): Promise<void> => {
  const known = await transaction.user.findUnique({ where: DEMO_USER });
  if (known !== null && !known.demo) {
    throw new Error(
      `The single-machine mode needs the user name "${DEMO_USERNAME}", but this database has another user of that name`,
    );
  }
  if (known !== null && (await passwords.verify(known.passwordHash, password))) return;
  const passwordHash = await passwords.hash(password);
  if (known !== null) await revokeTokens(transaction, { subject: subjectOfUser(known.id) });
  await transaction.user.upsert({
    where: DEMO_USER,
    create: {
      tenantName: DEMO_TENANT,
      username: DEMO_USERNAME,
      passwordHash,
      grants: writeGrants(grantsOfRole('member')),
      demo: true,
    },
    update: { passwordHash, locked: false },
  });
};

interface MadeKey {
  readonly tenant: string;
  readonly label: string;
  readonly grants: readonly Grant[];
  /** Set for a master key. */
  readonly apiId?: string;
  readonly demo: boolean;
}

/** Also revokes the tokens made with these. Redis and the other services learn of it once this service runs. */
const revokeTokens = async (
  transaction: DatabaseTransaction,
  of: { readonly subject: string } | { readonly issuer: string },
): Promise<void> => {
  const where = { ...of, revokedAt: null, expiresAt: { gt: new Date() } };
  const rows = await transaction.token.findMany({ where, select: { id: true } });
  await transaction.token.updateMany({ where, data: { revokedAt: new Date() } });
  for (const { id } of rows) await revokeTokens(transaction, { issuer: `token:${id}` });
};

/** Makes this key the tenant's only one with this label. */
const setKey = async (transaction: DatabaseTransaction, key: string, { demo, ...made }: MadeKey): Promise<void> => {
  const { tenant, label, apiId } = made;
  const known = await transaction.apiKey.findUnique({ where: { tenantName_label: { tenantName: tenant, label } } });
  if (known !== null && isSameKey(known, key) && known.apiId === (apiId ?? null)) return;
  if (known !== null) await revokeTokens(transaction, { issuer: `key:${known.id}` });
  await transaction.apiKey.deleteMany({ where: { tenantName: tenant, label } });
  await insertApiKey(transaction, key, made, demo);
};

/** A database that served a single machine before has a user, keys and an open application that don't belong here. */
const removeDemo = async ({ log }: BootstrapPorts, transaction: DatabaseTransaction): Promise<void> => {
  const where = { demo: true };
  for (const { id } of await transaction.user.findMany({ where, select: { id: true } }))
    await revokeTokens(transaction, { subject: subjectOfUser(id) });
  for (const { id } of await transaction.apiKey.findMany({ where, select: { id: true } }))
    await revokeTokens(transaction, { issuer: `key:${id}` });
  const users = await transaction.user.deleteMany({ where });
  const keys = await transaction.apiKey.deleteMany({ where });
  const applications = await transaction.application.deleteMany({ where });
  const count = users.count + keys.count + applications.count;
  if (count > 0) log.warn({ count }, 'removed what the single-machine mode had created');
};

const makeFirstOperator = async (
  { log }: BootstrapPorts,
  transaction: DatabaseTransaction,
  tenant: string,
  key: string | undefined,
): Promise<void> => {
  await ensureTenant(transaction, tenant, 'TOKEN', false);
  if (key !== undefined) {
    const grants = grantsOfRole('operator');
    return setKey(transaction, key, { tenant, label: BOOTSTRAP_KEY_LABEL, grants, demo: false });
  }
  if ((await transaction.apiKey.count()) + (await transaction.user.count()) > 0) return;
  log.warn(
    { setting: 'WEIR_BOOTSTRAP_OPERATOR_KEY' },
    'nobody can administer this platform yet: set the first operator key',
  );
};
