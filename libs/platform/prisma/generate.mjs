// node libs/platform/prisma/generate.mjs <service's folder>: generates the service's database client into
// src/generated. It needs no network.
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
    // `generate` never runs the engine, but the CLI downloads one unless this names an executable. Any will do.
    PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    CHECKPOINT_DISABLE: '1',
    PRISMA_HIDE_UPDATE_MESSAGE: '1',
  },
});
