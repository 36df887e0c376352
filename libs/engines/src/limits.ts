/** Bounds of everything that is read from an engine, in one place. Whatever is past them is the engine's problem. */
export const engineLimits = {
  metricsBytesMax: 4 * 1024 * 1024,
  samplesPerFamilyMax: 1024,
  labelsBytesMax: 16 * 1024,
  modelsBytesMax: 1024 * 1024,
  modelsMax: 1024,
  modelNameLengthMax: 512,
  adaptersListedMax: 256,
  kvMessageBytesMax: 16 * 1024 * 1024,
  kvEventsPerBatchMax: 16_384,
  kvNestingMax: 8,
  kvPollBytesMax: 64 * 1024 * 1024,
  /** Blocks of which it is kept that they are not on the device, of an engine that only says so once. */
  kvOffDeviceBlocksMax: 1_048_576,
} as const;
