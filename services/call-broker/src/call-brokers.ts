/**
 * How the instances of this service watch each other. One that was killed is noticed within three seconds; one that is
 * paused or overloaded may be silent for longer.
 */
export const CALL_BROKERS = { service: 'call-broker', askAfterMs: 1_200 } as const;
