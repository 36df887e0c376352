import type { Registry } from '#libs/observability';
import { latencyBucketsSeconds } from '#libs/observability';
import { Buckets, register } from '../metrics.ts';

/** What became of requests of strategies that pair replicas. */
export class PdMetrics {
  #split = 0;
  #alone = 0;
  #failed = 0;
  #tokens = 0;
  readonly #prefill = new Buckets(latencyBucketsSeconds);
  readonly #transfer = new Buckets(latencyBucketsSeconds);

  constructor(registry: Registry) {
    const name = 'lintel_gateway_pd_tries_total';
    register(registry, name, 'Tries of the strategy pd: split over two replicas, or by one alone.', 'counter', () => [
      { labels: { way: 'split' }, value: this.#split },
      { labels: { way: 'alone' }, value: this.#alone },
    ]);
    const failures = 'lintel_gateway_pd_transfer_failures_total';
    register(registry, failures, 'Hand-overs that the decode side could not take over.', 'counter', () => [
      { labels: {}, value: this.#failed },
    ]);
    const tokens = 'lintel_gateway_pd_transferred_tokens_total';
    register(registry, tokens, 'Prompt tokens handed over, as expected.', 'counter', () => [
      { labels: {}, value: this.#tokens },
    ]);
    const seconds = (of: string, help: string, buckets: Buckets): void =>
      register(registry, of, help, 'histogram', () => {
        const out: Parameters<Buckets['samples']>[2] = [];
        buckets.samples(of, {}, out);
        return out;
      });
    seconds('lintel_gateway_pd_prefill_seconds', 'Answer time of prefill replicas.', this.#prefill);
    const transfer = 'From the prefill answer to the first byte of the decode side.';
    seconds('lintel_gateway_pd_transfer_seconds', transfer, this.#transfer);
  }

  tried(split: boolean): void {
    if (split) this.#split++;
    else this.#alone++;
  }

  prefilled(tookMs: number): void {
    this.#prefill.observe(tookMs / 1000);
  }

  handedOver(tokens: number, transferMs: number): void {
    this.#tokens += tokens;
    this.#transfer.observe(transferMs / 1000);
  }

  transferFailed(): void {
    this.#failed++;
  }
}
