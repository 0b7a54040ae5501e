import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { helmProgram, type HelmVersion } from './install-tools.js';

export const CHECKOUT = resolve(import.meta.dirname, '../../..');
export const CHART = join(CHECKOUT, 'helm/weir');
export const RELEASE = 'weir';

/** The profiles in `helm/weir/ci`: how the chart is meant to be used. */
export const PROFILES: readonly string[] = readdirSync(join(CHART, 'ci'))
  .filter((name) => name.endsWith('-values.yaml'))
  .map((name) => name.slice(0, -'-values.yaml'.length));

export interface HelmResult {
  ok: boolean;
  /** Standard output, and after a failure also standard error. */
  output: string;
}

/** Runs helm without a cluster and without the user's own files. */
export const helm = (version: HelmVersion, ...args: string[]): Promise<HelmResult> =>
  new Promise((done) => {
    const nowhere = '/nonexistent';
    const env = {
      HELM_CONFIG_HOME: nowhere,
      HELM_CACHE_HOME: nowhere,
      HELM_DATA_HOME: nowhere,
      KUBECONFIG: nowhere,
    };
    execFile(helmProgram(version), args, { env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const failure = error === null ? '' : stderr === '' ? error.message : stderr;
      done({ ok: error === null, output: stdout + failure });
    });
  });

export const valuesOf = (profile: string): string[] => ['-f', join(CHART, 'ci', `${profile}-values.yaml`)];

/** Renders the chart for a profile, as text. @throws Error with helm's objections */
export async function render(version: HelmVersion, profile: string, ...args: string[]): Promise<string> {
  const { ok, output } = await helm(version, 'template', RELEASE, CHART, '-n', 'video', ...valuesOf(profile), ...args);
  if (!ok) throw new Error(output);
  return output;
}

/** A Kubernetes object in a manifest. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  [field: string]: unknown;
}

/** @throws Error for a key that occurs twice, and for a document that isn't a Kubernetes object */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true }).flatMap((document) => {
    const [problem] = document.errors;
    if (problem !== undefined) throw problem;
    const value: unknown = document.toJS();
    if (value === null) return [];
    if (!isManifest(value)) throw new Error(`not a Kubernetes object: ${JSON.stringify(value).slice(0, 200)}`);
    return [value];
  });
}

function isManifest(value: unknown): value is Manifest {
  if (typeof value !== 'object' || value === null) return false;
  if (!('apiVersion' in value && 'kind' in value && 'metadata' in value)) return false;
  const { apiVersion, kind, metadata } = value;
  const named = typeof metadata === 'object' && metadata !== null && 'name' in metadata;
  return typeof apiVersion === 'string' && typeof kind === 'string' && named && typeof metadata.name === 'string';
}
