import { latencyModelLimits as limits } from './limits.ts';
import { SlidingSum } from './sliding-sum.ts';

/** An output token takes about as much of an engine as this many prompt tokens, as in the VTC paper. */
const outputWeight = 2;

/** What each tenant was served over the window, in weighted tokens. */
export class TenantTokens {
  readonly #served = new Map<string, SlidingSum>();
  #last = '';
  #most = 0;
  #mostAtMs = -Infinity;

  count(tenant: string, promptTokens: number, outputTokens: number, nowMs: number): void {
    if (tenant === '') return;
    // The one that came last stands at the end of the map already.
    const sum = tenant === this.#last ? (this.#served.get(tenant) ?? this.#meet(tenant)) : this.#meet(tenant);
    sum.add(promptTokens + outputWeight * outputTokens, nowMs);
    this.#most = Math.max(this.#most, sum.sum(nowMs));
  }

  #meet(tenant: string): SlidingSum {
    let sum = this.#served.get(tenant);
    if (sum !== undefined) this.#served.delete(tenant);
    else if (this.#served.size >= limits.tenantsMax) {
      this.#served.delete(this.#served.keys().next().value as string);
    }
    sum ??= new SlidingSum(limits.tenantWindowMs);
    this.#served.set(tenant, sum);
    this.#last = tenant;
    return sum;
  }

  /** The tenant's tokens by those of the tenant with most, 0 to 1; NaN for no tenant. */
  level(tenant: string, nowMs: number): number {
    if (tenant === '') return Number.NaN;
    this.#refresh(nowMs);
    const own = this.#served.get(tenant)?.sum(nowMs) ?? 0;
    return this.#most > 0 ? Math.min(1, own / this.#most) : 0;
  }

  /** The most is looked up anew once a second: what fell out of the window is seen so late. */
  #refresh(nowMs: number): void {
    if (nowMs - this.#mostAtMs < refreshMs) return;
    this.#mostAtMs = nowMs;
    this.#most = 0;
    for (const [tenant, sum] of this.#served) {
      const tokens = sum.sum(nowMs);
      if (tokens === 0) this.#served.delete(tenant);
      else if (tokens > this.#most) this.#most = tokens;
    }
  }
}

const refreshMs = 1_000;
