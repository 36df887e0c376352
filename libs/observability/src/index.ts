export type { HealthCheck, HealthReport, HealthState } from './health.ts';
export { HealthBoard } from './health.ts';
export type { Logger } from './logger.ts';
export { createLogger } from './logger.ts';
export { BoundedLabel, Counter, createRegistry, Gauge, Histogram, latencyBucketsSeconds, Registry } from './metrics.ts';
export { startTracing } from './tracing.ts';
