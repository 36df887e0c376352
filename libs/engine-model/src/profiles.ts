/** One number with the place it comes from. */
interface Sourced {
  readonly value: number;
  readonly source: string;
}

/**
 * Constants of t(step) = c0 + c1·prefillTokens + c2·sequences + c3·contextTokens, in milliseconds.
 * Nothing here is fitted to measurements: c0, c1 and c3 are roofline arithmetic over datasheets and model shapes, c2, the
 * efficiencies and the load times are our own choice. Each number says which.
 */
export interface CostProfile {
  readonly name: string;
  /** c0: reading the weights once, ms per step. */
  readonly stepMs: number;
  /** c1: computing one prompt token, ms. */
  readonly prefillTokenMs: number;
  /** c2: scheduling and sampling one sequence, ms. */
  readonly sequenceMs: number;
  /** c3: reading the KV of one token of context, ms. */
  readonly contextTokenMs: number;
  /** Blocks of 16 tokens that fit beside the weights. */
  readonly kvBlocks: number;
  /** Start of the process until it is healthy, ms. */
  readonly startMs: number;
  /** Loading one adapter into a slot, ms. */
  readonly adapterLoadMs: number;
  /** Waking from sleep level 1 (weights in host memory) and 2 (weights discarded), ms. */
  readonly wakeMs: readonly [number, number];
  /** Fetching the KV of one token from another engine, ms. */
  readonly transferTokenMs: number;
}

interface Gpu {
  readonly memoryBytes: Sourced;
  readonly bytesPerS: Sourced;
  readonly flopsPerS: Sourced;
}

interface Model {
  readonly parameters: Sourced;
  readonly kvBytesPerToken: Sourced;
}

const ownChoice = 'own choice, not measured';

const gpus = {
  a100: {
    memoryBytes: { value: 80e9, source: 'NVIDIA A100 80GB SXM datasheet' },
    bytesPerS: { value: 2.039e12, source: 'NVIDIA A100 80GB SXM datasheet' },
    flopsPerS: { value: 312e12, source: 'NVIDIA A100 datasheet, BF16 dense' },
  },
  h100: {
    memoryBytes: { value: 80e9, source: 'NVIDIA H100 SXM datasheet' },
    bytesPerS: { value: 3.35e12, source: 'NVIDIA H100 SXM datasheet' },
    flopsPerS: { value: 989e12, source: 'NVIDIA H100 SXM datasheet, BF16 dense (half of the sparse figure)' },
  },
} satisfies Record<string, Gpu>;

const models = {
  'llama-3-8b': {
    parameters: { value: 8.03e9, source: 'Llama 3 8B model card' },
    kvBytesPerToken: { value: 2 * 32 * 8 * 128 * 2, source: 'Llama 3 8B config: 32 layers, 8 KV heads of 128, BF16' },
  },
} satisfies Record<string, Model>;

/** What the arithmetic assumes beside datasheets. */
export const assumptions = {
  bandwidthUsed: { value: 0.7, source: ownChoice },
  flopsUsed: { value: 0.5, source: ownChoice },
  memoryUsed: { value: 0.9, source: "vLLM's former default of gpu_memory_utilization" },
  activationBytes: { value: 4e9, source: ownChoice },
  hostBytesPerS: { value: 20e9, source: `${ownChoice}; below the 32 GB/s of PCIe 4.0 x16` },
  diskBytesPerS: { value: 2e9, source: ownChoice },
  linkBytesPerS: { value: 10e9, source: `${ownChoice}; below the 12.5 GB/s of a 100 Gbit/s link` },
  sequenceMs: { value: 0.02, source: ownChoice },
  adapterBytes: { value: 84e6, source: `${ownChoice}: rank 16 on all linear layers of an 8B model, BF16` },
  startExtraMs: { value: 20_000, source: `${ownChoice}: imports, graph capture, warm-up` },
} satisfies Record<string, Sourced>;

const blockTokens = 16;
const bytesPerWeight = 2;

function derive(name: string, gpu: Gpu, model: Model): CostProfile {
  const a = assumptions;
  const weightBytes = model.parameters.value * bytesPerWeight;
  const bytesPerMs = (gpu.bytesPerS.value * a.bandwidthUsed.value) / 1000;
  const flopsPerMs = (gpu.flopsPerS.value * a.flopsUsed.value) / 1000;
  const kvBytes = gpu.memoryBytes.value * a.memoryUsed.value - weightBytes - a.activationBytes.value;
  const kvBytesPerToken = model.kvBytesPerToken.value;
  const diskMs = (bytes: number): number => (bytes / a.diskBytesPerS.value) * 1000;
  return {
    name,
    stepMs: weightBytes / bytesPerMs,
    prefillTokenMs: (2 * model.parameters.value) / flopsPerMs,
    sequenceMs: a.sequenceMs.value,
    contextTokenMs: kvBytesPerToken / bytesPerMs,
    kvBlocks: Math.floor(kvBytes / kvBytesPerToken / blockTokens),
    startMs: diskMs(weightBytes) + a.startExtraMs.value,
    adapterLoadMs: diskMs(a.adapterBytes.value),
    wakeMs: [(weightBytes / a.hostBytesPerS.value) * 1000, diskMs(weightBytes)],
    transferTokenMs: (kvBytesPerToken / a.linkBytesPerS.value) * 1000,
  };
}

/** About 11 ms a step and 0.1 ms a prompt token: 85 tokens/s alone, 110 ms for the first token of a prompt of 1,000. */
export const a100Llama8b = derive('a100-80g/llama-3-8b', gpus.a100, models['llama-3-8b']);
export const h100Llama8b = derive('h100-80g/llama-3-8b', gpus.h100, models['llama-3-8b']);

export const profiles: ReadonlyMap<string, CostProfile> = new Map(
  [a100Llama8b, h100Llama8b].map((profile) => [profile.name, profile]),
);

/** How long a step takes, ms. `contextTokens` is the sum over the step's sequences. */
export function stepDurationMs(
  profile: CostProfile,
  prefillTokens: number,
  sequences: number,
  contextTokens: number,
): number {
  return (
    profile.stepMs +
    profile.prefillTokenMs * prefillTokens +
    profile.sequenceMs * sequences +
    profile.contextTokenMs * contextTokens
  );
}
