let shutdown: () => Promise<void> = async () => undefined;

export const setTelemetryShutdown = (flushAndStop: () => Promise<void>): void => {
  shutdown = flushAndStop;
};

/** Sends what is still buffered; for the end of the process. */
export const shutdownTelemetry = (): Promise<void> => shutdown();
