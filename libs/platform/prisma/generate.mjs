// node libs/platform/prisma/generate.mjs <service's folder>: generates its database client into src/generated, without a
// network.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';

const [service] = process.argv.slice(2);
if (service === undefined) throw new Error("usage: generate.mjs <service's folder>");

const require = createRequire(import.meta.url);
const packageFile = require.resolve('prisma/package.json');
const cli = path.resolve(path.dirname(packageFile), require(packageFile).bin.prisma);

execFileSync(process.execPath, [cli, 'generate', '--schema', 'schema.prisma'], {
  cwd: path.join(service, 'prisma'),
  stdio: 'inherit',
  env: {
    ...process.env,
    // Never run by `generate`, yet the CLI downloads one when none is named: any executable will do.
    PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    CHECKPOINT_DISABLE: '1',
    PRISMA_HIDE_UPDATE_MESSAGE: '1',
  },
});
