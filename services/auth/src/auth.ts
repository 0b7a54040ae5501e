import { openInOrder } from '@weir/platform';
import { ApiKeys } from './api-keys.js';
import { Applications } from './applications.js';
import { bootstrap, type BootstrapMode } from './bootstrap.js';
import { serveBus } from './bus.js';
import { bootstrapKey, type AuthConfig, type AuthContext } from './settings.js';
import { openDatabase, type Database } from './database.js';
import { EndedCredentials } from './ended-credentials.js';
import { LoginLimits } from './login-limits.js';
import { Login } from './login.js';
import { Passwords } from './passwords.js';
import { RecordingTokens } from './recording-tokens.js';
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
  readonly recordingTokens: RecordingTokens;
  close(): Promise<void>;
}

/** Migrates the database and creates what the mode needs. The service then answers on the bus. */
export const openAuth = (context: AuthContext): Promise<Auth> =>
  openInOrder(context.log, async (opened) => {
    const { config, log, redis, bus, health } = context;
    const mode = await bootstrapMode(config);
    const keys = await SigningKeys.load(config.WEIR_AUTH_SIGNING_KEYS_FILE);
    const passwords = await Passwords.create();
    const database = await openDatabase(config.DATABASE_URL, log);
    opened.onClose('database', () => database.$disconnect());
    health.check('database', async () => {
      await database.$queryRaw`SELECT 1`;
    });
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
    const maxTtlS = config.WEIR_AUTH_MAX_TOKEN_TTL_S;
    const recordingTokens = new RecordingTokens({ apiKeys, limits, tokens, maxTtlS });
    const ended = new EndedCredentials(database);
    for (const registration of serveBus(bus, { applications, apiKeys, tokens, keys, ended }))
      opened.add('bus', registration);
    opened.add('token upkeep', tokenUpkeep(tokens, context));
    return { database, keys, tokens, users, apiKeys, applications, passwords, limits, login, recordingTokens };
  });

/** Regular work: removes expired tokens, and gives Redis the revocations that it has lost. */
const tokenUpkeep = (tokens: Tokens, { redis, log }: AuthContext): { close(): void } => {
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
  const timers = [
    setInterval(purge, PURGE_INTERVAL_MS),
    // Redis may come back without its data, or lose it while it runs.
    setInterval(restoreLostRevocations, RESTORE_INTERVAL_MS),
  ];
  redis.on('ready', restoreRevocations);
  if (redis.status === 'ready') restoreRevocations();
  return {
    close: () => {
      for (const timer of timers) clearInterval(timer);
      redis.off('ready', restoreRevocations);
    },
  };
};
