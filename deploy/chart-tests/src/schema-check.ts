import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Manifest } from './helm.js';
import { TOOLS_FOLDER } from './install-tools.js';

/** The package that has the schemas of an API group; all other groups are Kubernetes' own. */
const PACKAGES: Readonly<Record<string, string>> = {
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
};
const KUBERNETES = 'kubernetes-models';

/** A kind of object with a check against the API's schema; the check ignores unknown fields. */
interface Model {
  prototype: { validate(this: object): void };
}

/** What is wrong with an object according to the schema of its kind, including unknown fields; empty if nothing is. */
export async function schemaErrors(manifest: Manifest): Promise<string[]> {
  const model = await modelOf(manifest);
  if (model === undefined) return [`there is no schema for ${manifest.apiVersion} ${manifest.kind}`];
  // The check runs on an object that records which fields are read: the schema doesn't know the others.
  const watched = new WatchedObject(manifest);
  try {
    model.prototype.validate.call(watched.proxy);
  } catch (error) {
    return problemsOf(error);
  }
  return watched.unread();
}

async function modelOf({ apiVersion, kind }: Manifest): Promise<Model | undefined> {
  const group = apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '';
  const file = join(TOOLS_FOLDER, 'node_modules', PACKAGES[group] ?? KUBERNETES, apiVersion, 'index.js');
  if (!existsSync(file)) return undefined;
  const models: Readonly<Record<string, Model | undefined>> = await import(/* @vite-ignore */ pathToFileURL(file).href);
  return models[kind];
}

function problemsOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [String(error)];
  const problems = 'errors' in error && Array.isArray(error.errors) ? error.errors : [];
  return problems.length === 0 ? [error.message] : problems.map((problem) => JSON.stringify(problem));
}

/** A tree of objects that records which fields were read. */
class WatchedObject {
  readonly proxy: object;
  readonly #read = new Set<string>();
  readonly #children = new Map<string, WatchedObject>();

  constructor(private readonly target: object) {
    this.proxy = new Proxy(target, {
      get: (object, key, receiver) => {
        const value: unknown = Reflect.get(object, key, receiver);
        if (typeof key !== 'string') return value;
        this.#read.add(key);
        if (typeof value !== 'object' || value === null) return value;
        const child = this.#children.get(key) ?? new WatchedObject(value);
        this.#children.set(key, child);
        return child.proxy;
      },
    });
  }

  /** The paths of the fields that were not read. */
  unread(path = ''): string[] {
    return Object.keys(this.target).flatMap((key) =>
      this.#read.has(key)
        ? (this.#children.get(key)?.unread(`${path}/${key}`) ?? [])
        : [`${path}/${key}: unknown field`],
    );
  }
}
