export { Leases, type Claim, type LeaseRecord, type LeasesOptions, type LeaseStore } from './leases.js';
