// DATABASE_URL=... node libs/platform/prisma/new-migration.mjs <service's folder> <name>: writes the migration from the
// committed schema.prisma to the edited one. Read it before you commit it: to the engine a rename is a drop and an add.
// It needs a build of libs/platform, and a PostgreSQL server, in which it changes nothing.
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { schemaDifference } from '@weir/platform/database';

const [service, name] = process.argv.slice(2);
if (service === undefined || !/^[a-z0-9_]+$/.test(name ?? ''))
  throw new Error("usage: new-migration.mjs <service's folder> <name in a-z, 0-9 and _>");

const url = process.env['DATABASE_URL'];
if (url === undefined) throw new Error('DATABASE_URL is not set');
const folder = path.join(service, 'prisma');
const migrations = (await readdir(path.join(folder, 'migrations'))).filter((entry) => /^\d{4}_/.test(entry));
const committed =
  migrations.length === 0
    ? undefined
    : execFileSync('git', ['show', 'HEAD:./schema.prisma'], { cwd: folder, encoding: 'utf8' });
// Left out, because each service has its own schema.
const PUBLIC_SCHEMA = '-- CreateSchema\nCREATE SCHEMA IF NOT EXISTS "public";\n\n';
const sql = await schemaDifference(url, committed, await readFile(path.join(folder, 'schema.prisma'), 'utf8'));

const number = String(migrations.length + 1).padStart(4, '0');
const target = path.join(folder, 'migrations', `${number}_${name}`);
await mkdir(target);
await writeFile(path.join(target, 'migration.sql'), sql.replace(PUBLIC_SCHEMA, ''));
console.log(path.relative(process.cwd(), target));
