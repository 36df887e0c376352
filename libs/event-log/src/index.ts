export type { EventRecord, Head, PreparedCommit, StoredCommit } from './commit.ts';
export { emptyHead } from './commit.ts';
export type { Decider, DomainEvent } from './decider.ts';
export type { Appended, EventLog, Follow, Following } from './port.ts';
