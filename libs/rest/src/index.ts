export { parsed, restErrorBody, RestErrorFilter, restErrorOf, type ErrorBody, type RestError } from './error-filter.js';
export { Authenticated, CurrentPrincipal } from './guard.js';
export { httpStatusOf } from './http-status.js';
export { restAdapter, type RestAdapterOptions } from './rest-adapter.js';
