import type { Broker, Following } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { encodeWanted, KvFold, kvStreamLimits, wantedSubject } from '#libs/kv-stream';
import type { ExactAsked, ExactPrefix } from './exact-prefix.ts';
import { exactPrefix } from './exact-prefix.ts';
import { kvLimits } from './limits.ts';
import type { TokensOf } from '../tokens/index.ts';
import type { TokensAsked } from './given-tokens.ts';
import { givenTokens } from './given-tokens.ts';

export interface PreciseIndexOptions {
  readonly broker: Broker;
  readonly environment: Environment;
  readonly instance: string;
  readonly say: (line: string) => void;
  readonly tokens: TokensOf;
}

/** A request whose prompt's tokens are known exactly. */
export interface TokensSeen {
  readonly base: string;
  readonly adapter: string;
  readonly cacheSalt: string;
  /** '' is nobody: keys are not asked for. */
  readonly tenantId: string;
}

/** Is told the tokens of each such request; keeps none of them but in a copy. */
export interface TokensWatcher {
  saw(request: TokensSeen, tokens: ArrayLike<number>, exact: ExactPrefix | string, nowMs: number): void;
}

/** Cached tokens of one replica's answers: as expected when they were sent, and as the engine then said. */
export interface HitCounts {
  predictedTokens: number;
  reportedTokens: number;
  requests: number;
  equal: number;
}

/**
 * What the engines hold, as LINTEL_KV says it, in this gateway's memory. It starts at the end of the stream and asks for snapshots of
 * whom it hears of, so that it is precise within seconds; folding lets requests through between its slices.
 */
export class PreciseIndex {
  readonly fold: KvFold;
  readonly hits = new Map<string, HitCounts>();
  /** Requests whose prompt's tokens were known but not who holds them, by why. */
  readonly degraded = new Map<string, number>();
  problems = 0;
  /** Empty where nobody wants to know, which then costs nothing. */
  readonly watchers: TokensWatcher[] = [];
  readonly #options: PreciseIndexOptions;
  readonly #timers: Timer[] = [];
  #following: Following | undefined;
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(options: PreciseIndexOptions) {
    this.#options = options;
    const { environment, say } = options;
    this.fold = new KvFold(environment, {
      problem: (replicaId, problem) => {
        if (this.problems++ === 0) say(`KV events of ${replicaId}: ${problem}`);
      },
    });
  }

  start(): void {
    const { environment } = this.#options;
    const { timers, clock } = environment;
    this.#running ??= this.#run();
    this.#timers.push(
      timers.every(kvStreamLimits.wantedMs, () => this.#ask()),
      timers.every(kvLimits.expireMs, () => this.fold.index.expire(clock.monotonicMs())),
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) timer.cancel();
    await this.#following?.stop();
    await this.#running;
  }

  /** Undefined where no token or no engine is known; a text says why what is known cannot be used. */
  prefixOf(
    asked: TokensAsked & TokensSeen & Omit<ExactAsked, 'tokens'>,
    nowMs: number,
  ): ExactPrefix | string | undefined {
    // Nobody tells of any engine: nothing is to be gained by tokens.
    if (this.fold.replicas.size === 0) return undefined;
    const tokens = givenTokens(asked) ?? this.#options.tokens.of(asked.base, asked.path, asked.body);
    if (typeof tokens === 'string') return undefined;
    const { adapter, cacheSalt, replicas } = asked;
    const exact = exactPrefix(this.fold, { adapter, cacheSalt, replicas, tokens }, nowMs);
    if (typeof exact === 'string') {
      const why = exact.slice(0, exact.indexOf(':') >>> 0);
      this.degraded.set(why, (this.degraded.get(why) ?? 0) + 1);
    }
    for (const watcher of this.watchers) watcher.saw(asked, tokens, exact, nowMs);
    return exact;
  }

  /** What the engine said of an answer, beside what was expected of it. */
  landed(replicaId: string, predictedTokens: number, reportedTokens: number): void {
    let hits = this.hits.get(replicaId);
    if (hits === undefined) {
      hits = { predictedTokens: 0, reportedTokens: 0, requests: 0, equal: 0 };
      this.hits.set(replicaId, hits);
    }
    hits.requests++;
    hits.predictedTokens += predictedTokens;
    hits.reportedTokens += reportedTokens;
    if (predictedTokens === reportedTokens) hits.equal++;
  }

  forget(replicaId: string): void {
    this.fold.forget(replicaId);
    this.hits.delete(replicaId);
  }

  /** Also those that were never asked. */
  forgetGone(there: ReadonlySet<string>): void {
    this.fold.forgetGone(there);
  }

  #ask(): void {
    const replicaIds = this.fold.wanted();
    if (replicaIds.length === 0) return;
    const { broker, instance } = this.#options;
    broker.telemetry.publish(wantedSubject(instance), encodeWanted({ replicaIds }));
  }

  /** Until it works: the broker may be away, and routing goes on by what was sent where. */
  async #run(): Promise<void> {
    const { broker, environment, say } = this.#options;
    for (let said = false; !this.#stopped;) {
      try {
        const fromSeq = (await broker.kv.lastSeq()) + 1;
        this.#following = await broker.kv.follow({ fromSeq }, async (frame) => await this.fold.apply(frame));
        await this.#following.ended;
        return;
      } catch (thrown) {
        if (!said) say(`KV events cannot be followed yet: ${errorText(thrown)}`);
        said = true;
        await environment.timers.sleep(kvLimits.retryMs);
      }
    }
  }
}
