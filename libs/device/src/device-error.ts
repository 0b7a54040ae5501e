/** Why a request of the device wasn't carried out. `code` is one of `ERROR_CODE`. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';

  constructor(
    readonly code: number,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The codes of the library itself; the server has its own, `ERROR_CODE`. */
export const LOCAL_CODE = {
  /** The cloud service couldn't be started, as the vendor's SDK has it. */
  notStarted: -3000,
  /** It is started already. */
  alreadyStarted: -3002,
  /** There is no WebRTC. */
  noWebRtc: -4002,
  /** The call isn't there any more. */
  noCall: -4013,
} as const;
