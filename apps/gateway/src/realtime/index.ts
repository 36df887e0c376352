export type { RealtimeLimits } from './limits.ts';
export * as refusals from './refusals.ts';
export { RealtimeSessions } from './sessions.ts';
