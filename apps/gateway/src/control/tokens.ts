/** Names under which Nest hands the gateway's parts to its controllers. */
export const foldsToken = Symbol('folds');
export const fleetToken = Symbol('fleet');
export const environmentToken = Symbol('environment');
export const healthToken = Symbol('health');
export const metricsToken = Symbol('metrics');
