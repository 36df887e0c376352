export type { EventType } from './event-registry.ts';
export { EventRegistry, eventTypes } from './event-registry.ts';
export * as diag from './gen/lintel/diag/v1/queries_pb.ts';
export * as log from './gen/lintel/log/v1/log_pb.ts';
export * as route from './route.ts';
export * as tenancy from './tenancy.ts';
export type { EventSubject, StreamName } from './subjects.ts';
export { isSubjectId, parseEventSubject, streams, subjects } from './subjects.ts';
