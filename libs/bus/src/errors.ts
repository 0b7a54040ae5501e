/** The program uses the bus against the contract, for example calls an event. It is never the peer's fault. */
export class BusMisuseError extends Error {
  override readonly name = 'BusMisuseError';
}
