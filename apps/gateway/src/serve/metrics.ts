import { outcomeName, route } from '#libs/contracts';
import type { Flight } from '#libs/latency-model';
import type { Registry } from '#libs/observability';
import { BoundedLabel, latencyBucketsSeconds } from '#libs/observability';

type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly labels: Labels | Record<string, string | number>;
  readonly value: number;
  readonly metricName?: string;
}

/** Registers what prom-client prints by its `get` alone: counting then costs no hashing of labels. */
export function register(registry: Registry, name: string, help: string, type: string, samples: () => Sample[]): void {
  const metric = {
    name,
    help,
    type,
    aggregator: 'sum',
    get: () => ({ name, help, type, values: samples() }),
    reset() {},
  };
  registry.registerMetric(metric as never);
}

/** A histogram of one label set. */
export class Buckets {
  readonly counts: Float64Array;
  sum = 0;
  count = 0;

  constructor(readonly bounds: readonly number[]) {
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds } = this;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= (bounds[middle] as number)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] as number) + 1;
    this.sum += value;
    this.count++;
  }

  samples(name: string, labels: Labels, out: Sample[]): void {
    let total = 0;
    for (const [index, bound] of this.bounds.entries()) {
      total += this.counts[index] as number;
      out.push({ metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: total });
    }
    out.push({ metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: this.count });
    out.push({ metricName: `${name}_sum`, labels, value: this.sum });
    out.push({ metricName: `${name}_count`, labels, value: this.count });
  }
}

/** Everything of one model, bound once. */
class ModelSeries {
  readonly ttft = new Buckets(latencyBucketsSeconds);
  readonly tpot = new Buckets(latencyBucketsSeconds);
  readonly total = new Buckets(latencyBucketsSeconds);
  readonly ttftRatio = new Buckets(ratioBounds);
  readonly tpotRatio = new Buckets(ratioBounds);
  /** Requests by the tenth of what was foretold into which they fell. */
  readonly ttftDeciles = new Float64Array(10);
  readonly finishDeciles = new Float64Array(10);
  /** endpoint → status × 16 + outcome → requests. */
  readonly requests = new Map<string, Map<number, number>>();
  promptTokens = 0;
  completionTokens = 0;
  cachedTokens = 0;

  constructor(readonly model: string) {}
}

/** 1/8 to 8: measured by predicted. */
const ratioBounds: readonly number[] = Array.from({ length: 25 }, (_, index) => 2 ** ((index - 12) / 4));

/** 0.1 µs to about 100 ms. */
const pickBounds: readonly number[] = Array.from({ length: 41 }, (_, index) => 1e-7 * 2 ** (index / 2));
const outcomesMax = 16;
const causesMax = 16;

const causeName = (cause: number): string => (route.StageCause[cause] ?? 'UNSPECIFIED').toLowerCase();
const endName = (end: number): string => (route.AttemptEnd[end] ?? 'UNSPECIFIED').toLowerCase();

export interface Observed {
  /** '' where no model in service was asked for. */
  readonly model: string;
  readonly endpoint: string;
  readonly status: number;
  readonly outcome: route.Outcome;
  /** 0 is not reached. */
  readonly ttftMs: number;
  /** Undefined where no two tokens were seen. */
  readonly tpotMs: number | undefined;
  readonly totalMs: number;
  readonly pickUs: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
}

/** What the data plane counts. Counting is arithmetic on bound objects; text is made when somebody asks. */
export class ServeMetrics {
  readonly #series = new Map<string, ModelSeries>();
  readonly #labels: BoundedLabel;
  readonly #pick = new Buckets(pickBounds);
  readonly #attempts = new Float64Array(outcomesMax);
  #prefixMatched = 0;
  #continued = 0;
  readonly #routes: BoundedLabel;
  readonly #fallbacks = new Map<string, Float64Array>();
  #prefixHashed = 0;

  constructor(
    registry: Registry,
    modelLabelsMax: number,
    gauges: { inflight(): number; prefixBlocks(): number; connections(): number },
  ) {
    this.#labels = new BoundedLabel(modelLabelsMax);
    this.#routes = new BoundedLabel(modelLabelsMax);
    const all = (samples: (series: ModelSeries, out: Sample[]) => void) => (): Sample[] => {
      const out: Sample[] = [];
      for (const series of this.#series.values()) samples(series, out);
      return out;
    };
    const seconds = (name: string, help: string, of: (series: ModelSeries) => Buckets): void =>
      register(
        registry,
        name,
        help,
        'histogram',
        all((series, out) => of(series).samples(name, { model: series.model }, out)),
      );
    register(
      registry,
      'lintel_gateway_requests_total',
      'Requests by endpoint, model, status and outcome.',
      'counter',
      all(requests),
    );
    seconds('lintel_gateway_ttft_seconds', 'From the request received to its first token.', (series) => series.ttft);
    seconds('lintel_gateway_tpot_seconds', 'Time per output token after the first.', (series) => series.tpot);
    seconds('lintel_gateway_request_seconds', 'From the request received to its end.', (series) => series.total);
    register(
      registry,
      'lintel_gateway_tokens_total',
      "Tokens by the engines' own counts, or counted from streams.",
      'counter',
      all(tokens),
    );
    register(registry, 'lintel_gateway_pick_seconds', 'Time inside the scheduler for a request.', 'histogram', () => {
      const out: Sample[] = [];
      this.#pick.samples('lintel_gateway_pick_seconds', {}, out);
      return out;
    });
    const ratioName = 'lintel_gateway_prediction_error_ratio';
    register(
      registry,
      ratioName,
      'Latency as measured by latency as predicted when the request was sent: 1 is right, below it was faster.',
      'histogram',
      all((series, out) => {
        series.ttftRatio.samples(ratioName, { model: series.model, kind: 'ttft' }, out);
        series.tpotRatio.samples(ratioName, { model: series.model, kind: 'tpot' }, out);
      }),
    );
    register(
      registry,
      'lintel_gateway_prediction_deciles_total',
      'Answers by the tenth of what was foretold into which their time fell: of a calibrated prediction each decile gets a tenth.',
      'counter',
      all((series, out) => {
        deciles(series.model, 'ttft', series.ttftDeciles, out);
        deciles(series.model, 'finish', series.finishDeciles, out);
      }),
    );
    register(registry, 'lintel_gateway_attempts_total', 'Attempts on replicas by how they ended.', 'counter', () =>
      [...this.#attempts].flatMap((value, end) => (value === 0 ? [] : [{ labels: { end: endName(end) }, value }])),
    );
    register(
      registry,
      'lintel_gateway_prefix_blocks_total',
      'Prefix blocks of prompts, hashed and matched on the chosen replica.',
      'counter',
      () => [
        { labels: { kind: 'hashed' }, value: this.#prefixHashed },
        { labels: { kind: 'matched' }, value: this.#prefixMatched },
      ],
    );
    register(
      registry,
      'lintel_gateway_fallbacks_total',
      'Requests that went on to another model or pool, by model route and by what befell the one before; no route: providers of its own.',
      'counter',
      () =>
        [...this.#fallbacks].flatMap(([routeId, counts]) =>
          [...counts].flatMap((value, cause) =>
            value === 0 ? [] : [{ labels: { route: routeId, cause: causeName(cause) }, value }],
          ),
        ),
    );
    register(
      registry,
      'lintel_gateway_continuations_total',
      'Streams that broke and were given to another replica to go on with.',
      'counter',
      () => [{ labels: {}, value: this.#continued }],
    );
    const gauge = (name: string, help: string, read: () => number): void =>
      register(registry, name, help, 'gauge', () => [{ labels: {}, value: read() }]);
    gauge('lintel_gateway_inflight_requests', 'Requests being served now.', gauges.inflight);
    gauge('lintel_gateway_prefix_blocks_indexed', 'Prefix blocks in the index.', gauges.prefixBlocks);
    gauge('lintel_gateway_upstream_connections', 'Open connections to replicas.', gauges.connections);
  }

  attempt(end: route.AttemptEnd): void {
    this.#attempts[end] = (this.#attempts[end] as number) + 1;
  }

  continued(): void {
    this.#continued++;
  }

  fallback(routeId: string, cause: route.StageCause): void {
    const label = this.#routes.of(routeId);
    let counts = this.#fallbacks.get(label);
    if (counts === undefined) this.#fallbacks.set(label, (counts = new Float64Array(causesMax)));
    counts[cause] = (counts[cause] as number) + 1;
  }

  /** How near the prediction came; nothing where there was none, or no tokens were seen to come. */
  predicted(model: string, flight: Flight): void {
    const { measuredTtftMs, measuredTpotMs, predictedTtftMs, predictedTpotMs, ttft, finish } = flight;
    const first = measuredTtftMs / predictedTtftMs;
    const each = measuredTpotMs / predictedTpotMs;
    if (first >= 0) this.#of(model).ttftRatio.observe(first);
    if (each >= 0) this.#of(model).tpotRatio.observe(each);
    if (ttft !== undefined && ttft.decile > 0) count(this.#of(model).ttftDeciles, ttft.decile);
    if (finish !== undefined && finish.decile > 0) count(this.#of(model).finishDeciles, finish.decile);
  }

  prefix(hashed: number, matched: number): void {
    this.#prefixHashed += hashed;
    this.#prefixMatched += matched;
  }

  observe(observed: Observed): void {
    const series = this.#of(observed.model);
    this.#count(series, observed.endpoint, observed.status, observed.outcome);
    series.total.observe(observed.totalMs / 1000);
    if (observed.ttftMs > 0) series.ttft.observe(observed.ttftMs / 1000);
    if (observed.tpotMs !== undefined) series.tpot.observe(observed.tpotMs / 1000);
    if (observed.pickUs > 0) this.#pick.observe(observed.pickUs / 1e6);
    series.promptTokens += observed.promptTokens;
    series.completionTokens += observed.completionTokens;
    series.cachedTokens += observed.cachedTokens;
  }

  /** What never became a request. */
  refused(endpoint: string, status: number, outcome: route.Outcome): void {
    this.#count(this.#of(''), endpoint, status, outcome);
  }

  #count(series: ModelSeries, endpoint: string, status: number, outcome: route.Outcome): void {
    let byEnd = series.requests.get(endpoint);
    if (byEnd === undefined) series.requests.set(endpoint, (byEnd = new Map()));
    const end = status * outcomesMax + outcome;
    byEnd.set(end, (byEnd.get(end) ?? 0) + 1);
  }

  #of(model: string): ModelSeries {
    const label = model === '' ? 'none' : this.#labels.of(model);
    let series = this.#series.get(label);
    if (series === undefined) this.#series.set(label, (series = new ModelSeries(label)));
    return series;
  }
}

function count(counts: Float64Array, decile: number): void {
  counts[decile - 1] = (counts[decile - 1] as number) + 1;
}

function deciles(model: string, kind: string, counts: Float64Array, out: Sample[]): void {
  for (let at = 0; at < 10; at++) {
    out.push({ labels: { model, kind, decile: String(at + 1) }, value: counts[at] as number });
  }
}

function requests({ model, requests }: ModelSeries, out: Sample[]): void {
  for (const [endpoint, byEnd] of requests) {
    for (const [end, value] of byEnd) {
      const status = String(Math.trunc(end / outcomesMax));
      out.push({ labels: { endpoint, model, status, outcome: outcomeName(end % outcomesMax) }, value });
    }
  }
}

function tokens({ model, promptTokens, completionTokens, cachedTokens }: ModelSeries, out: Sample[]): void {
  out.push({ labels: { model, kind: 'prompt' }, value: promptTokens });
  out.push({ labels: { model, kind: 'completion' }, value: completionTokens });
  out.push({ labels: { model, kind: 'cached' }, value: cachedTokens });
}
