import type { EngineCounts, FinishReason, SequenceView, StepReport } from '#libs/engine-model';
import type { EngineSimSettings } from './options.ts';
import { Histogram, number } from './prometheus.ts';

/** Names and buckets as vLLM 0.32 has them; held to the fixtures by the conformance test. */
const tokenBuckets = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
const stepBuckets = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
const secondBuckets = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];
const firstTokenBuckets = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
const betweenBuckets = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
const sleepBuckets = [0.01, 0.1, 1, 10, 30, 60, 120, 300, 600];

const histograms = {
  request_prompt_tokens: tokenBuckets,
  request_generation_tokens: tokenBuckets,
  iteration_tokens_total: stepBuckets,
  request_max_num_generation_tokens: tokenBuckets,
  request_params_n: [1, 2, 5, 10, 20],
  request_params_max_tokens: tokenBuckets,
  time_to_first_token_seconds: firstTokenBuckets,
  inter_token_latency_seconds: betweenBuckets,
  request_time_per_output_token_seconds: betweenBuckets,
  e2e_request_latency_seconds: secondBuckets,
  request_queue_time_seconds: secondBuckets,
  request_inference_time_seconds: secondBuckets,
  request_prefill_time_seconds: secondBuckets,
  request_decode_time_seconds: secondBuckets,
  request_num_preemptions: [1, 2, 3, 4, 5, 10, 20],
  request_prefill_kv_computed_tokens: tokenBuckets,
} satisfies Record<string, readonly number[]>;

type HistogramName = keyof typeof histograms;

export interface MetricsState {
  readonly counts: EngineCounts;
  readonly sleepLevel: number;
  readonly adapters: { readonly running: readonly string[]; readonly waiting: readonly string[] };
}

/** What `/metrics` tells, in vLLM's names. */
export class SimMetrics {
  readonly #settings: EngineSimSettings;
  readonly #histograms: ReadonlyMap<HistogramName, Histogram>;
  readonly #lastTokenMs = new Map<number, number>();
  readonly #finished: Record<string, number> = { stop: 0, length: 0, abort: 0, error: 0, repetition: 0 };
  readonly #sleeps = { sleep: new Histogram(sleepBuckets), wake: new Histogram(sleepBuckets) };
  readonly #slept = new Set<'sleep' | 'wake'>();
  readonly createdS: number;
  /** Label sets stay, as in the real engine: the newest value is the one in force. */
  readonly #loraInfo = new Map<string, number>();
  rejections = 0;

  constructor(
    settings: EngineSimSettings,
    private readonly rank = 0,
  ) {
    this.#settings = settings;
    this.createdS = settings.environment.clock.nowMs() / 1000;
    this.#histograms = new Map(
      Object.entries(histograms).map(([name, bounds]) => [name as HistogramName, new Histogram(bounds)]),
    );
  }

  request(n: number, maxTokens: number): void {
    this.#observe('request_params_n', n);
    this.#observe('request_params_max_tokens', maxTokens);
  }

  token(view: SequenceView, nowMs: number): void {
    if (view.outputs === 1) this.#observe('time_to_first_token_seconds', (nowMs - view.arrivedMs) / 1000);
    else this.#observe('inter_token_latency_seconds', (nowMs - (this.#lastTokenMs.get(view.id) ?? nowMs)) / 1000);
    this.#lastTokenMs.set(view.id, nowMs);
  }

  step({ prefillTokens, sequences }: StepReport): void {
    this.#observe('iteration_tokens_total', prefillTokens === 0 ? sequences : prefillTokens + sequences - 1);
  }

  finished(view: SequenceView, reason: FinishReason): void {
    this.#lastTokenMs.delete(view.id);
    this.#finished[reason]!++;
    if (reason === 'abort' || view.outputs === 0) return;
    const seconds = (fromMs: number, toMs: number): number => (toMs - fromMs) / 1000;
    const promptTokens = view.request.prompt.length;
    const decodeS = seconds(view.firstTokenMs, view.finishedMs);
    this.#observe('request_prompt_tokens', promptTokens);
    this.#observe('request_generation_tokens', view.outputs);
    this.#observe('request_max_num_generation_tokens', view.outputs);
    this.#observe('request_time_per_output_token_seconds', view.outputs > 1 ? decodeS / (view.outputs - 1) : 0);
    this.#observe('e2e_request_latency_seconds', seconds(view.arrivedMs, view.finishedMs));
    this.#observe('request_queue_time_seconds', seconds(view.arrivedMs, view.scheduledMs));
    this.#observe('request_inference_time_seconds', seconds(view.scheduledMs, view.finishedMs));
    this.#observe('request_prefill_time_seconds', seconds(view.scheduledMs, view.firstTokenMs));
    this.#observe('request_decode_time_seconds', decodeS);
    this.#observe('request_num_preemptions', view.preemptions);
    this.#observe('request_prefill_kv_computed_tokens', promptTokens - view.cachedTokens - view.externalTokens);
  }

  slept(operation: 'sleep' | 'wake', seconds: number): void {
    this.#slept.add(operation);
    this.#sleeps[operation].observe(seconds);
  }

  render(state: MetricsState): string {
    const out: string[] = [];
    const labels = `engine="${this.rank}",model_name="${this.#settings.models[0]}"`;
    const family = (name: string, type: 'gauge' | 'counter', samples: readonly (readonly [string, number])[]): void => {
      out.push(`# HELP vllm:${name} Simulated.`, `# TYPE vllm:${name} ${type}`);
      for (const [more, value] of samples) {
        out.push(`vllm:${name}{${more === '' ? labels : `${labels},${more}`}} ${number(value)}`);
      }
      if (type === 'counter')
        this.#created(
          out,
          name.replace(/_total$/, ''),
          samples.map(([more]) => (more === '' ? labels : `${labels},${more}`)),
        );
    };
    const { sleepLevel } = state;
    // While it sleeps the real engine shows nobody waiting, though requests do.
    const counts = sleepLevel === 0 ? state.counts : { ...state.counts, waiting: 0, deferred: 0 };
    const gauge = (name: string, value: number): void => family(name, 'gauge', [['', value]]);
    const counter = (name: string, value: number): void => family(name, 'counter', [['', value]]);
    for (const name of ['flops', 'read_bytes', 'write_bytes']) counter(`estimated_${name}_per_gpu_total`, 0);
    gauge('num_requests_running', counts.running);
    gauge('num_requests_waiting', counts.waiting);
    family('num_requests_waiting_by_reason', 'gauge', [
      ['reason="capacity"', counts.waiting - counts.deferred],
      ['reason="deferred"', counts.deferred],
    ]);
    family('engine_sleep_state', 'gauge', [
      ['sleep_state="awake"', sleepLevel === 0 ? 1 : 0],
      ['sleep_state="weights_offloaded"', sleepLevel === 1 ? 1 : 0],
      ['sleep_state="discard_all"', sleepLevel === 2 ? 1 : 0],
    ]);
    gauge('kv_cache_usage_perc', counts.kvUsage);
    counter('prefix_cache_queries_total', counts.prefixQueries);
    counter('prefix_cache_hits_total', counts.prefixHits);
    counter('external_prefix_cache_queries_total', counts.externalQueries);
    counter('external_prefix_cache_hits_total', counts.externalHits);
    counter('mm_cache_queries_total', 0);
    counter('mm_cache_hits_total', 0);
    counter('num_preemptions_total', counts.preemptions);
    counter('prompt_tokens_total', counts.promptTokens);
    family('prompt_tokens_by_source_total', 'counter', [
      ['source="local_compute"', counts.promptTokens - counts.prefixHits - counts.externalHits],
      ['source="local_cache_hit"', counts.prefixHits],
      ['source="external_kv_transfer"', counts.externalHits],
    ]);
    counter('prompt_tokens_cached_total', counts.prefixHits + counts.externalHits);
    family('prompt_tokens_cached_by_source_total', 'counter', [
      ['source="device"', counts.prefixHits],
      ['source="host"', 0],
      ['source="p2p"', counts.externalHits],
      ['source="disk"', 0],
      ['source="external_unspecified"', 0],
    ]);
    counter('generation_tokens_total', counts.generatedTokens);
    const reasons = Object.entries(this.#finished).map(
      ([reason, count]) => [`finished_reason="${reason}"`, count] as const,
    );
    family('request_success_total', 'counter', reasons);
    this.#renderRejections(out);
    for (const [name, histogram] of this.#histograms) {
      out.push(`# HELP vllm:${name} Simulated.`, `# TYPE vllm:${name} histogram`);
      histogram.lines(`vllm:${name}`, labels, out);
      this.#created(out, name, [labels]);
    }
    if (this.#settings.runner === 'generate') this.#renderLora(state, out);
    this.#renderCacheConfig(out);
    if (this.#slept.size > 0) this.#renderSleep(out);
    return out.join('\n');
  }

  #created(out: string[], name: string, labelSets: readonly string[]): void {
    out.push(`# HELP vllm:${name}_created Simulated.`, `# TYPE vllm:${name}_created gauge`);
    for (const labels of labelSets) out.push(`vllm:${name}_created{${labels}} ${this.createdS}`);
  }

  /** Counted by the server and not by an engine: no `engine` label. */
  #renderRejections(out: string[]): void {
    const name = 'admission_rejections';
    const labels = (reason: string): string => `model_name="${this.#settings.models[0]}",reason="${reason}"`;
    const counts = { max_num_queued_reqs: this.rejections, max_num_queued_tokens: 0 };
    out.push(`# HELP vllm:${name}_total Simulated.`, `# TYPE vllm:${name}_total counter`);
    for (const [reason, count] of Object.entries(counts)) {
      out.push(`vllm:${name}_total{${labels(reason)}} ${number(count)}`);
    }
    this.#created(out, name, Object.keys(counts).map(labels));
  }

  #renderLora({ adapters }: MetricsState, out: string[]): void {
    const labels = `max_lora="${this.#settings.maxLoras}",running_lora_adapters="${adapters.running.join(',')}",waiting_lora_adapters="${adapters.waiting.join(',')}"`;
    const labelSetsMax = 64;
    if (this.#loraInfo.size >= labelSetsMax) this.#loraInfo.clear();
    this.#loraInfo.set(labels, this.#settings.environment.clock.nowMs() / 1000);
    out.push('# HELP vllm:lora_requests_info Running stats on lora requests.', '# TYPE vllm:lora_requests_info gauge');
    for (const [set, atS] of this.#loraInfo) out.push(`vllm:lora_requests_info{${set}} ${atS}`);
  }

  #renderCacheConfig(out: string[]): void {
    const { blockSize, blocks, prefixCaching } = this.#settings;
    const none = [
      'cache_hit_alignment_tokens',
      'hash_block_size',
      'kv_cache_layout',
      'kv_cache_memory_bytes',
      'kv_offloading_size',
      'mamba_block_size',
      'mamba_page_size_padded',
      'num_cpu_blocks',
      'num_gpu_blocks_override',
      'prefix_match_unit',
      'skip_page_size_padded',
      'sliding_window',
    ].map((name) => [name, 'None']);
    const no = [
      'enable_mamba_shared_prefix_checkpoint',
      'is_attention_free',
      'kv_sharing_fast_prefill',
      'use_kda_recoverssm',
      'use_replayssm',
    ].map((name) => [name, 'False']);
    const labels = [
      ['_block_size_resolved', 'True'],
      ['block_size', blockSize],
      ['cache_dtype', 'auto'],
      ['effective_attention_block_size', blockSize],
      ['enable_prefix_caching', prefixCaching ? 'True' : 'False'],
      ['engine', String(this.rank)],
      ['gpu_memory_utilization', '0.92'],
      ['kv_cache_dtype_skip_layers', '[]'],
      ['kv_cache_max_concurrency', number((blocks * blockSize) / this.#settings.maxModelLen)],
      ['kv_cache_size_tokens', blocks * blockSize],
      ['kv_offloading_backend', 'native'],
      ['mamba_cache_dtype', 'auto'],
      ['mamba_cache_mode', 'none'],
      ['mamba_ssm_cache_dtype', 'float32'],
      ['num_gpu_blocks', blocks],
      ['prefix_cache_retention_interval', '0'],
      ['prefix_caching_hash_algo', 'sha256'],
      ['replayssm_buffer_len', '16'],
      ['swa_bounded_replay', 'True'],
      ['user_specified_block_size', 'True'],
      ...none,
      ...no,
    ];
    const text = labels
      .map(([name, value]) => `${name}="${value}"`)
      .sort()
      .join(',');
    out.push(
      '# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig',
      '# TYPE vllm:cache_config_info gauge',
      `vllm:cache_config_info{${text}} 1.0`,
    );
  }

  #renderSleep(out: string[]): void {
    const name = 'sleep_mode_operation_duration_seconds';
    out.push(`# HELP vllm:${name} Simulated.`, `# TYPE vllm:${name} histogram`);
    for (const operation of this.#slept) this.#sleeps[operation].lines(`vllm:${name}`, `operation="${operation}"`, out);
    this.#created(
      out,
      name,
      [...this.#slept].map((operation) => `operation="${operation}"`),
    );
    const inFlight = 'sleep_mode_operations_in_flight';
    out.push(`# HELP vllm:${inFlight} Simulated.`, `# TYPE vllm:${inFlight} gauge`);
    for (const operation of this.#slept) out.push(`vllm:${inFlight}{operation="${operation}"} 0.0`);
  }

  #observe(name: HistogramName, value: number): void {
    this.#histograms.get(name)!.observe(value);
  }
}
