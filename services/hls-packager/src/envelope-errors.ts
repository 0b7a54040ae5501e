const EC = { input: 103, notLoggedIn: 104, logic: 106, permission: 107 } as const;

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
