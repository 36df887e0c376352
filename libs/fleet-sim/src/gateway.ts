import { fnv1a32 } from '#libs/kernel';
import type { Column, CompiledPipeline, Decision, RequestFeatures } from '#libs/scheduling';
import { CandidateTable, columns } from '#libs/scheduling';
import type { ColumnFeed, FeedSet, PickMoment } from './feeds.ts';
import type { PrefixKnowledge } from './knowledge.ts';
import type { LawBook } from './laws.ts';
import type { SimRequest } from './request.ts';
import type { Polled, ReplicaView } from './types.ts';

const bytesPerToken = 4;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export interface SimGatewayOptions {
  readonly index: number;
  readonly replicaIds: readonly string[];
  readonly pipeline: CompiledPipeline;
  readonly knowledge: PrefixKnowledge;
  readonly feeds: FeedSet;
  /** Counted up by one each pick, as in the gateway. */
  readonly seed: number;
  readonly laws: LawBook;
}

/** One gateway: what it knows of the replicas, and its picks, made by the real pipeline. */
export class SimGateway {
  readonly views: Writable<ReplicaView>[];
  readonly table = new CandidateTable();
  features!: RequestFeatures;
  readonly feeds: FeedSet;
  readonly #options: SimGatewayOptions;
  readonly #filled: readonly { readonly column: Column; readonly feed: ColumnFeed }[];
  readonly #readsPrefix: boolean;
  readonly #readsSession: boolean;
  readonly #pending: (Polled | undefined)[];
  readonly #moment: Writable<PickMoment>;
  #seed: number;

  constructor(options: SimGatewayOptions) {
    const { replicaIds, pipeline, feeds, seed } = options;
    this.#options = options;
    this.feeds = feeds;
    this.#seed = seed >>> 0;
    this.views = replicaIds.map((id, index) => ({
      id,
      index,
      inflight: 0,
      inflightElsewhere: 0,
      elsewhereAgeMs: 0,
      workElsewhere: undefined,
      polled: undefined,
      polledBefore: undefined,
    }));
    this.#pending = replicaIds.map(() => undefined);
    this.#filled = columns.flatMap((column) => {
      const feed = feeds.columns[column];
      return feed === undefined || !pipeline.reads.includes(column) ? [] : [{ column, feed }];
    });
    this.#readsPrefix = pipeline.reads.includes('prefixBlocks');
    this.#readsSession = pipeline.spec.scorers.some(({ type }) => type === 'session');
    this.#moment = {
      nowMs: 0,
      request: undefined as unknown as SimRequest,
      prefixDepths: new Float64Array(replicaIds.length),
    };
  }

  /** Columns that the strategy reads and nobody fills. */
  get unfed(): readonly Column[] {
    const { columns, writes = [] } = this.feeds;
    return this.#options.pipeline.reads.filter((column) => columns[column] === undefined && !writes.includes(column));
  }

  /** A poll was asked; its answer is seen from `polled.atMs` on. */
  poll(replica: number, answer: Polled): void {
    this.#arrived(replica, answer.atMs);
    this.#pending[replica] = answer;
  }

  /** The decision belongs to the pipeline and is reused. */
  pick(request: SimRequest, tokens: Int32Array | undefined, nowMs: number): Decision {
    const { pipeline, knowledge, laws } = this.#options;
    const moment = this.#moment;
    moment.nowMs = nowMs;
    moment.request = request;
    const prefixBlocks = tokens === undefined ? 0 : knowledge.ask(tokens, moment.prefixDepths, nowMs);
    this.features = this.#featuresOf(request, prefixBlocks);
    const { table } = this;
    table.reset();
    this.feeds.ask?.(request, pipeline.reads, nowMs);
    for (const view of this.views) {
      this.#arrived(view.index, nowMs);
      const row = table.add(view.id);
      for (const { column, feed } of this.#filled) {
        const ageMs = feed.ageMs(view, moment);
        laws.age(column, ageMs);
        table.set(row, column, feed.value(view, moment), ageMs);
      }
      this.feeds.write?.(table, row, view, nowMs);
    }
    const decision = pipeline.decide(this.features, table, this.#seed);
    this.#seed = (this.#seed + 1) >>> 0;
    return decision;
  }

  /** Leading tokens of the prompt of the last pick that are believed to be cached there. */
  cachedTokensOf(replica: number): number {
    if (!this.#readsPrefix) return 0;
    return (this.#moment.prefixDepths[replica] as number) * this.#options.knowledge.blockTokens;
  }

  /** Whether a pick asks for the prompt's tokens. */
  get readsPrefix(): boolean {
    return this.#readsPrefix;
  }

  dispatched(replica: number, nowMs: number): void {
    (this.views[replica] as ReplicaView & { inflight: number }).inflight++;
    if (this.#readsPrefix) this.#options.knowledge.dispatched(replica, nowMs);
  }

  finished(replica: number): void {
    (this.views[replica] as ReplicaView & { inflight: number }).inflight--;
  }

  #arrived(replica: number, nowMs: number): void {
    const pending = this.#pending[replica];
    if (pending === undefined || pending.atMs > nowMs) return;
    const view = this.views[replica] as Writable<ReplicaView>;
    view.polledBefore = view.polled;
    view.polled = pending;
    this.#pending[replica] = undefined;
  }

  /** As the gateway makes them from a body: a session only where the strategy reads one, made up where the client names none. */
  #featuresOf(request: SimRequest, prefixBlocks: number): RequestFeatures {
    const session = request.sessionId === '' ? `request ${request.index}` : request.sessionId;
    return {
      bodyBytes: request.promptTokens * bytesPerToken,
      promptTokens: request.promptTokens,
      promptTokensExact: false,
      maxTokens: request.maxTokens,
      sessionHash: this.#readsSession || request.sessionId !== '' ? fnv1a32(session) || 1 : 0,
      prefixBlocks,
      sloTtftMs: 0,
      sloTpotMs: 0,
    };
  }
}
