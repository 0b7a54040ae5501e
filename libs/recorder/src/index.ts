export { containerFor, type Fit } from './container.js';
export type { Container, RecordedTrack } from './recorded-track.js';
export * from './recorder.js';
export * from './finish-file.js';
