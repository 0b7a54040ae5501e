export { charged, fullAllowance, type Allowance, type FrameLimits } from './allowance.js';
export { backOffMs, type Pace } from './back-off.js';
export { TooLate, within } from './deadline.js';
