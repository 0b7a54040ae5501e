/** The program breaks the contract, for example by calling an event. It is never the other side's fault. */
export class BusMisuseError extends Error {
  override readonly name = 'BusMisuseError';
}
