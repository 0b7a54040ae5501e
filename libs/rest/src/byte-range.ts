export type ByteRange =
  | { readonly tag: 'whole' }
  | { readonly tag: 'part'; readonly first: number; readonly last: number }
  | { readonly tag: 'unsatisfiable' };

/** Reads a single range of bytes. It ignores several ranges and other units, as RFC 9110 §14.2 allows. */
export function byteRange(header: string | undefined, length: number): ByteRange {
  const [, from = '', to = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '') ?? [];
  if (from === '' && to === '') return { tag: 'whole' };
  if (from === '') {
    const suffix = Math.min(Number(to), length);
    return suffix === 0 ? { tag: 'unsatisfiable' } : { tag: 'part', first: length - suffix, last: length - 1 };
  }
  const first = Number(from);
  const last = to === '' ? length - 1 : Math.min(Number(to), length - 1);
  if (to !== '' && Number(to) < first) return { tag: 'whole' };
  return first >= length ? { tag: 'unsatisfiable' } : { tag: 'part', first, last };
}
