export { CodedError, errorCode, errorText } from './errors.ts';
export { fnv1a32, mix32 } from './hash.ts';
export { Heap } from './heap.ts';
export type { Clock, Environment, Ids, Rng, Timer, Timers } from './ports.ts';
export { NumberMap } from './number-map.ts';
export { SeededRng } from './seeded-rng.ts';
export { closest } from './suggest.ts';
export { systemClock, systemEnvironment, systemIds, systemRng, systemTimers } from './system.ts';
