export { answerOf, Answers, AnswersFile, noBody, type Answer } from './answers.js';
export { byteRange, type ByteRange } from './byte-range.js';
export { envelopeSchema, failure, failureSchema, success, type Envelope } from './envelope.js';
export {
  restErrorBody,
  RestErrorFilter,
  restErrorOf,
  restErrorSchema,
  type ErrorBody,
  type RestError,
} from './error-filter.js';
export { Authenticated, CurrentPrincipal } from './guard.js';
export { httpStatusOf } from './http-status.js';
export { parsed } from './parsed.js';
export { publicOrigin } from './public-origin.js';
export { restAdapter, type RestAdapterOptions } from './rest-adapter.js';
export { Traced } from './traced.js';
