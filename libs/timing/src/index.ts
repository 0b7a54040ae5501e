export { backOffMs, type Pace } from './back-off.js';
export { TooLate, within } from './deadline.js';
