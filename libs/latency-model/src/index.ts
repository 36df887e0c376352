export { Fit } from './fit.ts';
export type { Asked, SignalGroups } from './fleet-signals.ts';
export { FleetSignals, signalGroups } from './fleet-signals.ts';
export type { Flight, Landed, Sent } from './flight.ts';
export type { PrefillLoad } from './latency-model.ts';
export { LatencyModel } from './latency-model.ts';
export { latencyModelLimits } from './limits.ts';
export { OutputLengths } from './output-lengths.ts';
export type { ReplicaLoad, Work } from './replica-load.ts';
