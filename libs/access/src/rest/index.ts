export { parsed, restErrorBody, RestErrorFilter, restErrorOf, type ErrorBody, type RestError } from './error-filter.js';
export { restAdapter, type RestAdapterOptions } from './rest-adapter.js';
