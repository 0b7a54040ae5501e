let shutdown: () => Promise<void> = async () => undefined;

export const setTelemetryShutdown = (flushAndStop: () => Promise<void>): void => {
  shutdown = flushAndStop;
};

/** Sends what is still buffered, before the process ends. */
export const shutdownTelemetry = (): Promise<void> => shutdown();
