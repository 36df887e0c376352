import 'reflect-metadata';
export { sharedEdge } from './edge/cache-salt.ts';
export type { Fleet, FleetReplica, Routability, ServedModel } from './fleet/fleet.ts';
export type { GatewayOptions, RunningGateway } from './gateway.ts';
export { startGateway } from './gateway.ts';
export { listenAt } from './http-server.ts';
export { Workers } from './workers/workers.ts';
