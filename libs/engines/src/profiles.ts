import { route } from '#libs/contracts';

/** Which metric families carry a scheduling column, newest name first: the first one that is there counts. */
export interface LoadFamilies {
  readonly waiting: readonly string[];
  readonly running: readonly string[];
  readonly kvUse: readonly string[];
  /** Adapters in use, as label sets whose value is the time of the set. */
  readonly lora: string | undefined;
}

export interface LoraCalls {
  readonly loadPath: string;
  readonly unloadPath: string;
}

/** What Lintel asks of one kind of engine, and where. */
export interface EngineProfile {
  readonly kind: route.EngineKind;
  /** As in configuration files: "vllm". */
  readonly name: string;
  /** 200 while the engine can serve. */
  readonly healthPath: string;
  /** Undefined where the engine tells no load. */
  readonly metricsPath: string | undefined;
  readonly families: LoadFamilies;
  /** Answers {"is_sleeping": boolean}; 404 where the engine was started without it. */
  readonly sleepingPath: string | undefined;
  readonly lora: LoraCalls | undefined;
  /** False where it has no /v1/messages; undefined where that depends on its version. */
  readonly messages?: boolean;
}

const noFamilies: LoadFamilies = { waiting: [], running: [], kvUse: [], lora: undefined };

const profiles: readonly EngineProfile[] = [
  {
    kind: route.EngineKind.VLLM,
    name: 'vllm',
    healthPath: '/health',
    metricsPath: '/metrics',
    families: {
      waiting: ['vllm:num_requests_waiting'],
      running: ['vllm:num_requests_running'],
      kvUse: ['vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc'],
      lora: 'vllm:lora_requests_info',
    },
    sleepingPath: '/is_sleeping',
    lora: { loadPath: '/v1/load_lora_adapter', unloadPath: '/v1/unload_lora_adapter' },
  },
  {
    kind: route.EngineKind.SGLANG,
    name: 'sglang',
    healthPath: '/health',
    metricsPath: '/metrics',
    families: {
      waiting: ['sglang:num_queue_reqs'],
      running: ['sglang:num_running_reqs'],
      kvUse: ['sglang:token_usage'],
      lora: undefined,
    },
    sleepingPath: undefined,
    lora: { loadPath: '/load_lora_adapter', unloadPath: '/unload_lora_adapter' },
  },
  {
    kind: route.EngineKind.LLAMA_CPP,
    name: 'llama.cpp',
    healthPath: '/health',
    metricsPath: '/metrics',
    families: {
      waiting: ['llamacpp:requests_deferred'],
      running: ['llamacpp:requests_processing'],
      kvUse: ['llamacpp:kv_cache_usage_ratio'],
      lora: undefined,
    },
    sleepingPath: undefined,
    lora: undefined,
  },
  {
    kind: route.EngineKind.TENSORRT_LLM,
    name: 'tensorrt-llm',
    healthPath: '/health',
    metricsPath: '/prometheus/metrics',
    families: {
      waiting: ['trtllm_num_requests_waiting'],
      running: ['trtllm_num_requests_running'],
      kvUse: ['trtllm_kv_cache_utilization'],
      lora: undefined,
    },
    sleepingPath: undefined,
    lora: undefined,
    messages: false,
  },
  {
    kind: route.EngineKind.OPENAI,
    name: 'openai',
    // The only path that the OpenAI API itself promises.
    healthPath: '/v1/models',
    metricsPath: undefined,
    families: noFamilies,
    sleepingPath: undefined,
    lora: undefined,
  },
];

const byKind = new Map(profiles.map((profile) => [profile.kind, profile]));

/** Undefined for an engine that is not known yet. */
export const engineProfile = (kind: route.EngineKind): EngineProfile | undefined => byKind.get(kind);
