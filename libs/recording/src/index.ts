export { FrameBuilder } from './frame-builder.ts';
export type { PublisherStatus } from './frame-publisher.ts';
export { FramePublisher } from './frame-publisher.ts';
export { LeftSpools } from './left-spools.ts';
export { recordingLimits } from './limits.ts';
export type {
  CapturedPick,
  CapturedPrefix,
  PipelineRef,
  RecordedAttempt,
  RecordedForecast,
  RecordedHandover,
  RecordedTimings,
  RecordedCost,
  RecordedTunnel,
  RecordedUsage,
  RecordInput,
} from './record-input.ts';
export { capturePick } from './record-input.ts';
export type { RecorderOptions, RecorderStatus, SealedFrame } from './recorder.ts';
export { Recorder } from './recorder.ts';
export type { SpoolDisk, SpoolFile } from './spool-disk.ts';
export type { SpoolOptions, SpoolStatus } from './spool.ts';
export type { SpoolHolder } from './spool-owner.ts';
export { own, stillOwns } from './spool-owner.ts';
export { Spool } from './spool.ts';
