import type { Registration } from '@weir/bus';
import { ApiKeys } from './api-keys.js';
import { Applications } from './applications.js';
import { bootstrap, type BootstrapMode } from './bootstrap.js';
import { serveBus } from './bus.js';
import { bootstrapKey, type AuthConfig, type AuthContext } from './config.js';
import { openDatabase, type Database } from './database.js';
import { EndedCredentials } from './ended-credentials.js';
import { LoginLimits } from './login-limits.js';
import { Login } from './login.js';
import { Passwords } from './passwords.js';
import { SigningKeys } from './signing-keys.js';
import { Tokens } from './tokens.js';
import { Users } from './users.js';

const PURGE_INTERVAL_MS = 10 * 60_000;
const RESTORE_INTERVAL_MS = 2_000;

const bootstrapMode = async (config: AuthConfig): Promise<BootstrapMode> => {
  if (!config.WEIR_SINGLE_MACHINE) {
    return { tag: 'cluster', tenant: config.WEIR_BOOTSTRAP_TENANT, operatorKey: await bootstrapKey(config) };
  }
  const credentialsFile = config.WEIR_CREDENTIALS_FILE;
  if (credentialsFile === undefined)
    throw new Error('WEIR_SINGLE_MACHINE needs WEIR_CREDENTIALS_FILE, which is not set: set it to a file path');
  return { tag: 'single-machine', credentialsFile };
};

/** The whole service except its HTTP edge. */
export interface Auth {
  readonly database: Database;
  readonly keys: SigningKeys;
  readonly tokens: Tokens;
  readonly users: Users;
  readonly apiKeys: ApiKeys;
  readonly applications: Applications;
  readonly passwords: Passwords;
  readonly limits: LoginLimits;
  readonly login: Login;
  /** Answers on the bus and does the periodic work, until `close`. */
  start(): void;
  close(): Promise<void>;
}

/** Migrates the database and creates what the mode needs. The service is then ready to answer. */
export const openAuth = async (context: AuthContext): Promise<Auth> => {
  const { config, log, redis, bus } = context;
  const mode = await bootstrapMode(config);
  const keys = await SigningKeys.load(config.WEIR_AUTH_SIGNING_KEYS_FILE);
  const passwords = await Passwords.create();
  const database = await openDatabase(config.DATABASE_URL, log);
  await bootstrap({ database, passwords, log }, mode);

  const tokens = new Tokens({ database, redis, bus, keys });
  const users = new Users({ database, passwords, tokens });
  const apiKeys = new ApiKeys({ database, tokens, bus });
  const applications = new Applications({ database, bus });
  const limits = new LoginLimits(redis, {
    failuresPerUser: config.WEIR_AUTH_LOGIN_FAILURES_PER_USER,
    failuresPerAddress: config.WEIR_AUTH_LOGIN_FAILURES_PER_ADDRESS,
  });
  const login = new Login({ users, passwords, limits, tokens, tokenTtlS: config.WEIR_AUTH_TOKEN_TTL_S });

  let registrations: readonly Registration[] = [];
  let purgeTimer: NodeJS.Timeout | undefined;
  let restoreTimer: NodeJS.Timeout | undefined;
  const restoreRevocations = (): void => {
    tokens.restoreRevocations().catch((err: unknown) => log.warn({ err }, 'revocations could not be restored'));
  };
  const restoreLostRevocations = (): void => {
    if (redis.status !== 'ready') return;
    tokens
      .restoreLostRevocations()
      .catch((err: unknown) => log.warn({ err }, 'could not check whether Redis still has the revocations'));
  };
  const purge = (): void => {
    tokens.purge().catch((err: unknown) => log.warn({ err }, 'expired tokens could not be removed'));
  };
  return {
    ...{ database, keys, tokens, users, apiKeys, applications, passwords, limits, login },
    start: () => {
      registrations = serveBus(bus, { applications, apiKeys, tokens, keys, ended: new EndedCredentials(database) });
      purgeTimer = setInterval(purge, PURGE_INTERVAL_MS);
      // Redis may come back without its data, or lose it while it runs.
      restoreTimer = setInterval(restoreLostRevocations, RESTORE_INTERVAL_MS);
      redis.on('ready', restoreRevocations);
      if (redis.status === 'ready') restoreRevocations();
    },
    close: async () => {
      clearInterval(purgeTimer);
      clearInterval(restoreTimer);
      redis.off('ready', restoreRevocations);
      await Promise.all(registrations.map((registration) => registration.close()));
      await database.$disconnect();
    },
  };
};
