export type { Verdict } from './acceptance.ts';
export { Acceptor, judge } from './acceptance.ts';
export type { AnchorStream, StoredAnchor } from './anchor-stream.ts';
export { MemoryAnchorStream } from './anchor-stream.ts';
export { anchorHash, anchorProblem, parseAnchor, publicKeyText, sealAnchor, verifyAnchor } from './anchors.ts';
export type { ArchiveEntry, ArchiveHeader } from './archive.ts';
export { archiveLine, ArchiveReader } from './archive.ts';
export type { Broker, ReactorSpec } from './broker.ts';
export { memoryBroker } from './broker.ts';
export type { BusHeaders, BusMessage, RequestContext, Requester, Responder, Stop, Telemetry } from './bus.ts';
export { busLimits } from './bus.ts';
export { baseOfCommitId, commitHash, commitIdBase, commitIdOf, sha256Hex } from './chain.ts';
export type { CommitContext, CommitPayload, DecodedCommit, DecodedEvent, ReasonInit } from './codec.ts';
export {
  CommitDecoder,
  decodeCommit,
  decodePayload,
  decodePayloadJson,
  encodePayload,
  prepareCommit,
} from './codec.ts';
export type { CommandHandlerOptions, Handled, HandleOptions } from './command-handler.ts';
export { CommandHandler } from './command-handler.ts';
export type { EventRecord, Head, PreparedCommit, StoredCommit } from './commit.ts';
export { emptyHead } from './commit.ts';
export type { DeadLetters, StoredDeadLetter } from './dead-letters.ts';
export type { Decider, DomainEvent } from './decider.ts';
export { FileSnapshotStore } from './file-snapshots.ts';
export type { FoldSnapshots } from './fold-snapshot.ts';
export { Pump } from './following.ts';
export type { FrameStream, StoredFrame } from './frames.ts';
export { limits } from './limits.ts';
export type { FoldStatus, LogFoldOptions } from './log-fold.ts';
export { LogFold } from './log-fold.ts';
export { carriedError, MemoryBus } from './memory-bus.ts';
export { MemoryFrameStream } from './memory-frames.ts';
export { conflict, MemoryEventLog } from './memory-log.ts';
export { MemoryDeadLetters, MemoryReactor } from './memory-reactor.ts';
export { merkleLeaf, MerkleTree } from './merkle.ts';
export type { Appended, EventLog, Follow, Following } from './port.ts';
export type { ReactorOutcome } from './reactor.ts';
export { Reaction, reactorLimits, SubjectAcceptance } from './reactor.ts';
export type { ReaderLevels, ReaderRegistry } from './readers.ts';
export { MemoryReaderRegistry, requireReaders } from './readers.ts';
export type { CommitPublisher, PublishAnswer } from './settle.ts';
export { appendSettled, retryDelayMs } from './settle.ts';
export type { Snapshot, SnapshotStore } from './snapshots.ts';
export { MemorySnapshotStore } from './snapshots.ts';
export { subjectFilter } from './subject-filter.ts';
export type { VerifyProblem, VerifyReport, VerifyRule } from './verifier.ts';
export { LogVerifier, verifyProblemsMax } from './verifier.ts';
