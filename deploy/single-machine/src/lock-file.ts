export interface LockFile {
  packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>;
}

/**
 * The optional packages, mostly for one platform each, that a package-lock.json only names. Such a file is written by
 * an installation from a registry that lacked them; `npm install` accepts it, but `npm ci` doesn't.
 */
export function missingOptionalPackages({ packages }: LockFile): string[] {
  return Object.entries(packages).flatMap(([path, { version, optionalDependencies = {} }]) =>
    Object.entries(optionalDependencies)
      .filter(([name, wanted]) => !fits(findFrom(packages, path, name)?.version, wanted))
      .map(([name, wanted]) => `${path}@${version} wants ${name}@${wanted}`),
  );
}

/** Looks for a package as Node does: in the folder of the package that needs it, then in each folder above. */
function findFrom(packages: LockFile['packages'], path: string, name: string) {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1))) {
    const found = packages[`${folder === '' ? '' : `${folder}/`}node_modules/${name}`];
    if (found !== undefined || folder === '') return found;
  }
}

/** Packages for platforms are required in one exact version; for a range, any version is enough. */
const fits = (found: string | undefined, wanted: string): boolean =>
  found !== undefined && (!/^\d+\.\d+\.\d+/.test(wanted) || found === wanted);
