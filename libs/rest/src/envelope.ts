import { z } from 'zod';

/** The body of the robots' REST interface, for success and failure (specification 3.1). */
export interface Envelope<Ret> {
  /** `ec` is 0 for a success; `em` is for people. */
  readonly err: { readonly ec: number; readonly em: string };
  readonly ret: Ret | null;
  readonly ext: null;
  readonly ebd: null;
}

export const success = <Ret>(ret: Ret): Envelope<Ret> => ({ err: { ec: 0, em: 'ok' }, ret, ext: null, ebd: null });

export const failure = (ec: number, em: string): Envelope<never> => ({
  err: { ec, em },
  ret: null,
  ext: null,
  ebd: null,
});

export const envelopeSchema = <Ret extends z.ZodType>(ret: Ret) =>
  z
    .strictObject({
      err: z.strictObject({ ec: z.int(), em: z.string() }).readonly(),
      ret: ret.nullable(),
      ext: z.null(),
      ebd: z.null(),
    })
    .readonly();

export const failureSchema = envelopeSchema(z.null());
