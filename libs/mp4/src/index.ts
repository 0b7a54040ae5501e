export * from './box-reader.js';
export * from './fragment-reader.js';
export { writeInitSegment } from './init-segment.js';
export * from './media-fragment.js';
export * from './media-track.js';
export * from './movie.js';
export * from './reference-time.js';
export * from './sample-table.js';
