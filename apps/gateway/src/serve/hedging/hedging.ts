import type { HedgeProfile } from '#libs/domain/route';
import type { Environment, Timer } from '#libs/kernel';
import type { Flight } from '#libs/latency-model';
import { RatioQuantiles } from '#libs/latency-model';
import type { Registry } from '#libs/observability';
import { register } from '../metrics.ts';
import { hedgingLimits as limits } from './limits.ts';

/** A stream whose first byte is waited for. */
export interface Hedgeable {
  /** Asked and not answered, on one replica alone. */
  readonly unanswered: boolean;
  /** Asks a second replica; false where there is none. */
  hedge(): boolean;
}

export type HedgeResult = 'sent' | 'won' | 'lost' | 'failed' | 'no_budget' | 'no_replica' | 'not_known' | 'crowded';

interface Watched {
  readonly dueMs: number;
  readonly stream: Hedgeable;
  readonly budget: Budget;
}

/** A share of requests, saved up to a bound. */
class Budget {
  #left: number = limits.burstMax;

  constructor(private readonly share: number) {}

  earn(): void {
    this.#left = Math.min(limits.burstMax, this.#left + this.share);
  }

  spend(): boolean {
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}

/** Asks a second replica for the streams whose first byte is late. One timer for all of them, and none while there is nobody. */
export class Hedging {
  #watched: Watched[] = [];
  #timer: Timer | undefined;
  readonly #budgets = new WeakMap<HedgeProfile, Budget>();
  readonly #late = new Map<string, RatioQuantiles>();
  readonly #counts = new Map<HedgeResult, number>();
  readonly #environment: Environment;

  constructor(environment: Environment, registry: Registry) {
    this.#environment = environment;
    register(
      registry,
      'lintel_gateway_hedges_total',
      'Second requests for late first bytes, by result.',
      'counter',
      () => [...this.#counts].map(([result, value]) => ({ labels: { result }, value })),
    );
  }

  count(result: HedgeResult): void {
    this.#counts.set(result, (this.#counts.get(result) ?? 0) + 1);
  }

  /** The request has gone to its first replica. */
  watch(stream: Hedgeable, profile: HedgeProfile, { sent, startMs, predictedTtftMs }: Flight): void {
    let budget = this.#budgets.get(profile);
    if (budget === undefined) this.#budgets.set(profile, (budget = new Budget(profile.budget)));
    budget.earn();
    const { delayMs, quantile } = profile;
    const waitMs = delayMs > 0 ? delayMs : predictedTtftMs * (this.#late.get(sent.model)?.at(quantile) ?? Number.NaN);
    if (Number.isNaN(waitMs)) return this.count('not_known');
    if (this.#watched.length >= limits.watchedMax) return this.count('crowded');
    this.#watched.push({ dueMs: startMs + waitMs, stream, budget });
    this.#timer ??= this.#environment.timers.every(limits.tickMs, () => this.#tick());
  }

  /** `tookMs`: to the first token, or so long without one. */
  observe({ sent, predictedTtftMs }: Flight, tookMs: number): void {
    let late = this.#late.get(sent.model);
    if (late === undefined) {
      if (this.#late.size >= limits.modelsMax) this.#late.delete(this.#late.keys().next().value as string);
      this.#late.set(sent.model, (late = new RatioQuantiles(limits)));
    }
    late.observe(tookMs / predictedTtftMs);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#watched = [];
  }

  #tick(): void {
    const nowMs = this.#environment.clock.monotonicMs();
    const waiting: Watched[] = [];
    for (const watched of this.#watched) {
      if (!watched.stream.unanswered) continue;
      if (watched.dueMs > nowMs) waiting.push(watched);
      else this.#due(watched);
    }
    this.#watched = waiting;
    if (waiting.length === 0) this.stop();
  }

  #due({ stream, budget }: Watched): void {
    if (!budget.spend()) this.count('no_budget');
    else this.count(stream.hedge() ? 'sent' : 'no_replica');
  }
}

const hedgedPaths = new Set(['/v1/chat/completions', '/v1/completions', '/v1/messages']);

/** Streams alone, whose first byte is the end of a prefill, and of them those that leave nothing behind on the engine. */
export const mayHedge = (path: string, stream: boolean): boolean => stream && hedgedPaths.has(path);
