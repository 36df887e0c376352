export type { KvFoldCounts, KvFoldHooks, RankView, ReplicaView } from './fold.ts';
export { KvFold } from './fold.ts';
export type { EngineBatch, KvFrame, RankPlace } from './frame.ts';
export { decodeKvFrame, encodeKvFrame } from './frame.ts';
export { kvStreamLimits } from './limits.ts';
export type { KvSource } from './source.ts';
export { isPolled, kvLabels, kvSourceOf } from './source.ts';
export type { WantedSnapshots } from './wanted.ts';
export { decodeWanted, encodeWanted, wantedPattern, wantedSubject } from './wanted.ts';
