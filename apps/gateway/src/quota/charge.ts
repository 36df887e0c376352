import type { tenancy } from '#libs/contracts';
import { route } from '#libs/contracts';
import { costMaxNanoOf } from '#libs/domain/tenancy';
import type { Refusal } from '../serve/errors.ts';
import type { Reservation, Scope, Shortage, Tokens } from './ledger.ts';
import { quotaBounds } from './limits.ts';
import type { Quotas } from './quotas.ts';
import { isReservation } from './quotas.ts';
import { appendRateHeaders } from './rate-headers.ts';
import { crowded, maxTokensExceeded, refusalOf, unpriced } from './refusals.ts';

const { Outcome } = route;

/** What a request's limits depend on. */
export interface Charged {
  readonly tenantId: string;
  readonly keyId: string;
  readonly endUser: string;
  readonly model: string;
  readonly promptTokens: number;
  /** 0 is not said. */
  readonly maxTokens: number;
  /** Text is generated, so that there is output. */
  readonly generates: boolean;
  /** Empty where the key is of none. */
  readonly projectId?: string;
  /** In force for the model. */
  readonly price?: tenancy.Price | undefined;
}

/** How it ended. */
export interface Spent {
  readonly outcome: route.Outcome;
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number } | undefined;
  /** It reached an engine. */
  readonly reached: boolean;
  /** Undefined is unknown. */
  readonly costNano?: number | undefined;
}

/** One request's reservation, from its admission to its end. */
export class Charge {
  readonly #gate: QuotaGate;
  readonly #scope: Scope;
  readonly #charged: Charged;
  #tokens: Tokens;
  #reservation: Reservation | undefined;
  #giveUp: (() => void) | undefined;

  constructor(gate: QuotaGate, scope: Scope, charged: Charged) {
    this.#gate = gate;
    this.#scope = scope;
    this.#charged = charged;
    const { promptTokens, maxTokens, generates, model } = charged;
    const likely = maxTokens > 0 ? maxTokens : Math.min(scope.maxTokens, gate.outputGuess(model));
    const output = generates ? likely : 0;
    this.#tokens = { input: promptTokens, output };
    const { price } = charged;
    if (scope.countsCost && price !== undefined) {
      this.#tokens = { input: promptTokens, output, costNano: costMaxNanoOf(price, promptTokens, output) };
    }
  }

  /** Calls `go` once, at once or after a short wait: without a refusal the request may go on. */
  reserve(go: (refusal: Refusal | undefined) => void): void {
    const { maxTokens } = this.#charged;
    if (maxTokens > this.#scope.maxTokens) {
      go(maxTokensExceeded(this.#scope.maxTokensLimitId, maxTokens, this.#scope.maxTokens));
      return;
    }
    if (this.#scope.countsCost && this.#charged.price === undefined) {
      go(unpriced(this.#charged.model));
      return;
    }
    const { quotas } = this.#gate;
    const end = (result: Reservation | Shortage): void => {
      this.#giveUp = undefined;
      if (isReservation(result)) {
        this.#reservation = result;
        go(undefined);
      } else {
        quotas.refusals[result.why]++;
        go(refusalOf(result, quotas.clock.nowMs()));
      }
    };
    const result = quotas.reserve(this.#scope, this.#tokens);
    if (isReservation(result) || !quotas.canWait(result)) end(result);
    else this.#giveUp = quotas.wait(this.#scope, this.#tokens, result, end);
  }

  /** The end of the request, whichever. What was not served costs nothing; what was counted costs that. */
  close({ outcome, usage, reached, costNano }: Spent): void {
    this.#giveUp?.();
    this.#giveUp = undefined;
    const reservation = this.#reservation;
    if (reservation === undefined) return;
    const { ledger, budgets } = this.#gate.quotas;
    if (costNano !== undefined) for (const count of this.#scope.budgets) budgets.add(count, costNano);
    if (usage !== undefined) {
      const { promptTokens: input, completionTokens: output } = usage;
      ledger.settle(reservation, { input, output, costNano: costNano ?? this.#tokens.costNano ?? 0 });
      if (this.#charged.generates) this.#gate.learn(this.#charged.model, usage.completionTokens);
    } else if (outcome === Outcome.COMPLETED) ledger.settle(reservation, this.#tokens);
    // The engine has read the prompt, or was about to.
    else if (outcome === Outcome.CLIENT_GONE && reached) ledger.settle(reservation, this.#promptAlone());
    else ledger.cancel(reservation);
  }

  #promptAlone(): Tokens {
    const { input } = this.#tokens;
    const { price } = this.#charged;
    return { input, output: 0, costNano: price === undefined ? 0 : costMaxNanoOf(price, input, 0) };
  }

  /** In place of what an engine or provider says of its own limits. */
  appendHeaders(out: string[]): void {
    for (let index = out.length - 2; index >= 0; index -= 2) {
      const name = out[index] as string;
      // "x-r…": most names are told apart without looking at all of them.
      if ((name.charCodeAt(2) | 0x20) === 0x72 && /^x-ratelimit-/i.test(name)) out.splice(index, 2);
    }
    const { quotas, compat } = this.#gate;
    appendRateHeaders(out, this.#scope.told, quotas.clock.nowMs(), compat);
  }
}

/** How much a new length weighs against those before. */
const lengthWeight = 0.05;
/** Above the usual length, so that most requests are covered by what they reserved. */
const lengthMargin = 1.5;
const modelsMax = 1_024;

/** Where requests come under their tenants' limits. */
export class QuotaGate {
  readonly #outputTokens = new Map<string, number>();

  constructor(
    readonly quotas: Quotas,
    readonly compat: boolean,
  ) {}

  /** Undefined where no limit applies. */
  chargeOf(charged: Charged): Charge | Refusal | undefined {
    const { tenantId, keyId, endUser, model, projectId } = charged;
    const scope = this.quotas.ledger.scopeOf(tenantId, keyId, endUser, model, projectId);
    if (scope === undefined) return undefined;
    if (scope !== 'crowded') return new Charge(this, scope, charged);
    this.quotas.refusals.crowded++;
    return crowded;
  }

  /** Output tokens that a request without a maximum is likely to stay under. */
  outputGuess(model: string): number {
    const usual = this.#outputTokens.get(model);
    return usual === undefined ? quotaBounds.outputTokensGuess : Math.ceil(usual * lengthMargin) + 1;
  }

  learn(model: string, outputTokens: number): void {
    const usual = this.#outputTokens.get(model);
    if (usual === undefined && this.#outputTokens.size >= modelsMax) return;
    this.#outputTokens.set(model, usual === undefined ? outputTokens : usual + lengthWeight * (outputTokens - usual));
  }
}
