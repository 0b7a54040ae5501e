/** The actions on an object that a grant can allow. */
export const VERBS = ['publish', 'play', 'relay', 'record', 'command', 'administer'] as const;
export type Verb = (typeof VERBS)[number];

declare const objectPatternBrand: unique symbol;
/** An object name in which `*` stands for any run of characters, including none. No other character is special. */
export type ObjectPattern = string & { readonly [objectPatternBrand]: true };

/** The right to do something to each of the tenant's objects whose name fits the pattern. */
export interface Grant {
  readonly verb: Verb;
  readonly object: ObjectPattern;
}

export const MAX_PATTERN_LENGTH = 256;
export const MAX_OBJECT_LENGTH = 1024;

export const isVerb = (text: unknown): text is Verb => VERBS.some((verb) => verb === text);

export const isObjectPattern = (text: unknown): text is ObjectPattern =>
  typeof text === 'string' && text.length > 0 && text.length <= MAX_PATTERN_LENGTH;

/** Throws RangeError when the pattern is empty or longer than MAX_PATTERN_LENGTH. */
export const objectPattern = (text: string): ObjectPattern => {
  if (!isObjectPattern(text)) throw new RangeError(`An object pattern has 1 to ${MAX_PATTERN_LENGTH} characters`);
  return text;
};

export const grant = (verb: Verb, object: string): Grant => ({ verb, object: objectPattern(object) });

/**
 * The grants among `values`. One that this version doesn't understand (a newer verb, a malformed pattern) gives no
 * right and doesn't invalidate the others, so that services of two versions can run side by side.
 */
export const knownGrants = (values: readonly { readonly verb: string; readonly object: string }[]): Grant[] =>
  values.flatMap(({ verb, object }) => (isVerb(verb) && isObjectPattern(object) ? [{ verb, object }] : []));

/**
 * Whether the pattern covers the name. Each literal piece is searched for once, from left to right: no pattern causes
 * backtracking. An object longer than MAX_OBJECT_LENGTH fits no pattern.
 */
export const fits = (pattern: ObjectPattern, object: string): boolean => {
  if (object.length > MAX_OBJECT_LENGTH) return false;
  const pieces = pattern.split('*');
  const first = pieces[0] ?? '';
  const last = pieces.at(-1) ?? '';
  if (pieces.length === 1) return object === first;
  if (object.length < first.length + last.length || !object.startsWith(first) || !object.endsWith(last)) return false;
  const end = object.length - last.length;
  let position = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = object.indexOf(piece, position);
    if (found === -1 || found + piece.length > end) return false;
    position = found + piece.length;
  }
  return true;
};

/**
 * Whether `wide` allows everything that `narrow` allows. The narrow pattern is matched as if it were a name: only a `*`
 * of the wide pattern can cover its `*`, so the result holds for whatever the narrow `*` stands for.
 */
export const grantCovers = (wide: Grant, narrow: Grant): boolean =>
  wide.verb === narrow.verb && fits(wide.object, narrow.object);
