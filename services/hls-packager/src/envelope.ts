/** The answer of the robots' REST interface (specification 3.1). */
export interface Envelope<T> {
  readonly err: { readonly ec: number; readonly em: string };
  readonly ret: T | null;
  readonly ext: null;
  readonly ebd: null;
}

const EC = { input: 103, notLoggedIn: 104, logic: 106, permission: 107 } as const;

export const success = <T>(ret: T): Envelope<T> => ({ err: { ec: 0, em: 'ok' }, ret, ext: null, ebd: null });

export const failure = (ec: number, em: string): Envelope<never> => ({
  err: { ec, em },
  ret: null,
  ext: null,
  ebd: null,
});

/**
 * Clients treat 100 to 110 as final and try again after any other number. So an error that may pass by itself has its
 * HTTP status as its number.
 */
export const ecOfStatus = (status: number): number => {
  switch (status) {
    case 401:
      return EC.notLoggedIn;
    case 403:
      return EC.permission;
    case 404:
    case 429:
    case 503:
      return status;
    case 504:
      return 503;
    default:
      return status >= 500 ? EC.logic : EC.input;
  }
};
