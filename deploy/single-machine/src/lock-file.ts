export interface LockFile {
  packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>;
}

/**
 * The optional packages, commonly those for one platform each, that a package-lock.json knows only by name. Such a
 * file comes from an installation on a registry that lacked them; `npm install` accepts it and `npm ci` doesn't.
 */
export function missingOptionalPackages({ packages }: LockFile): string[] {
  return Object.entries(packages).flatMap(([path, { version, optionalDependencies = {} }]) =>
    Object.entries(optionalDependencies)
      .filter(([name, wanted]) => !fits(findFrom(packages, path, name)?.version, wanted))
      .map(([name, wanted]) => `${path}@${version} wants ${name}@${wanted}`),
  );
}

/** As Node looks for a package: in the folder of the one that needs it, then in each folder above. */
function findFrom(packages: LockFile['packages'], path: string, name: string) {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1))) {
    const found = packages[`${folder === '' ? '' : `${folder}/`}node_modules/${name}`];
    if (found !== undefined || folder === '') return found;
  }
}

/** Packages for platforms are wanted in one exact version; of a range it is enough that there is one. */
const fits = (found: string | undefined, wanted: string): boolean =>
  found !== undefined && (!/^\d+\.\d+\.\d+/.test(wanted) || found === wanted);
