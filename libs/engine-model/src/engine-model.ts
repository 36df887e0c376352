import { BlockPool } from './block-pool.ts';
import { LoraSlots } from './lora-slots.ts';
import { stepDurationMs } from './profiles.ts';
import { Sequence } from './sequence.ts';
import type {
  EngineCounts,
  EngineListener,
  EngineModelOptions,
  FinishReason,
  KvEvent,
  SequenceRequest,
  SequenceView,
} from './types.ts';

/** Blocks of a finished prefill are kept for the decode side at most this long. */
export const heldMsMax = 480_000;

/**
 * A continuous-batching engine with paged KV, driven from outside: the caller adds sequences at a time, asks when the next
 * thing happens and advances to it. The same code runs live (timers) and in simulation (virtual time).
 *
 * Time never goes back: an earlier `nowMs` than the last one is taken as the last one.
 */
export class EngineModel {
  readonly options: EngineModelOptions;
  readonly #listener: EngineListener;
  readonly #pool: BlockPool;
  readonly #loras: LoraSlots;
  #waiting: Sequence[] = [];
  #running: Sequence[] = [];
  readonly #step: Sequence[] = [];
  readonly #held = new Map<number, { sequence: Sequence; untilMs: number }>();
  #events: KvEvent[] = [];
  #nowMs = 0;
  #stepStartMs = NaN;
  #stepEndMs = NaN;
  #prefillTokens = 0;
  /** The next step begins no earlier. */
  #readyMs = 0;
  /** Nothing could be computed when last tried; only time or a change from outside helps. */
  #blocked = false;
  #stopped: 'no' | 'asleep' | 'paused' = 'no';
  #sleepLevel = 0;
  #nextId = 1;
  readonly #counts = {
    steps: 0,
    preemptions: 0,
    prefixQueries: 0,
    prefixHits: 0,
    externalQueries: 0,
    externalHits: 0,
    promptTokens: 0,
    generatedTokens: 0,
    added: 0,
    finished: 0,
    aborted: 0,
  };

  constructor(options: EngineModelOptions, listener: EngineListener = {}) {
    this.options = options;
    this.#listener = listener;
    this.#pool = new BlockPool(options.blocks, (hash) => {
      if (listener.kvEvents !== undefined) this.#events.push({ type: 'BlockRemoved', hashes: [hash] });
    });
    this.#loras = new LoraSlots(options.maxLoras, options.profile.adapterLoadMs / options.speed);
  }

  /** Longest sequence that the blocks can hold. */
  get tokensMax(): number {
    return this.options.blocks * this.options.blockSize;
  }

  /** Serves from `nowMs` + start-up time on. */
  start(nowMs: number): number {
    this.#forward(nowMs);
    this.#readyMs = this.#nowMs + this.options.profile.startMs / this.options.speed;
    return this.#readyMs;
  }

  /** Queues a sequence. Prompt plus output must fit `tokensMax`; the caller checks and refuses. */
  add(request: SequenceRequest, nowMs: number): SequenceView {
    if (request.prompt.length === 0) throw new RangeError('a sequence needs at least one prompt token');
    if (request.prompt.length + request.outputTokens > this.tokensMax) {
      throw new RangeError(
        `a sequence of ${request.prompt.length} + ${request.outputTokens} tokens exceeds all blocks (${this.tokensMax} tokens)`,
      );
    }
    this.advance(nowMs);
    const { profile, speed, blockSize, seed } = this.options;
    const transferMs = ((request.remoteTokens ?? 0) * profile.transferTokenMs) / speed;
    const sequence = new Sequence(this.#nextId++, request, this.#nowMs, this.#nowMs + transferMs, blockSize, seed);
    this.#waiting.push(sequence);
    this.#blocked = false;
    this.#counts.added++;
    return sequence;
  }

  /** Ends a sequence at once and frees its blocks; false when it has ended already. */
  abort(id: number, nowMs: number): boolean {
    this.#forward(nowMs);
    this.#blocked = false;
    const sequence = this.#running.find((each) => each.id === id) ?? this.#waiting.find((each) => each.id === id);
    if (sequence === undefined) return false;
    if (sequence.state === 'running') this.#running = this.#running.filter((each) => each !== sequence);
    else this.#waiting = this.#waiting.filter((each) => each !== sequence);
    this.#end(sequence, 'abort', this.#nowMs);
    return true;
  }

  /** The decode side has fetched the KV of a held sequence. */
  release(id: number): boolean {
    const held = this.#held.get(id);
    if (held === undefined) return false;
    this.#held.delete(id);
    this.#blocked = false;
    this.#freeBlocks(held.sequence);
    return true;
  }

  /** When something happens next: ms, Infinity when nothing will by itself. */
  nextEventMs(): number {
    if (!Number.isNaN(this.#stepEndMs)) return this.#stepEndMs;
    if (this.#stopped !== 'no' || (this.#running.length === 0 && this.#waiting.length === 0)) return Infinity;
    if (this.#readyMs > this.#nowMs || this.#running.length > 0) return Math.max(this.#readyMs, this.#nowMs);
    let nextMs = Infinity;
    for (const { untilMs } of this.#held.values()) if (this.#blocked) nextMs = Math.min(nextMs, untilMs);
    for (const { transferredMs, request } of this.#waiting) {
      const loadedMs = request.adapter === undefined ? 0 : this.#loras.peek(request.adapter, this.#nowMs);
      const atMs = Math.max(transferredMs, loadedMs, this.#nowMs);
      if (!this.#blocked || atMs > this.#nowMs) nextMs = Math.min(nextMs, atMs);
    }
    return nextMs;
  }

  /** Runs everything that happens up to and including `nowMs`. Steps follow each other without a gap. */
  advance(nowMs: number): void {
    for (;;) {
      if (Number.isNaN(this.#stepEndMs)) {
        const startMs = Math.max(this.nextEventMs(), this.#nowMs);
        if (startMs > nowMs) break;
        // Who could not start now may be able to before `nowMs`: an adapter is loaded, a transfer done.
        if (!this.#begin(startMs)) continue;
      }
      if (this.#stepEndMs > nowMs) break;
      this.#complete();
    }
    this.#forward(nowMs);
  }

  /** Level 1 keeps the weights in host memory, 2 discards them; both forget the KV. Requests wait until `wake`. */
  sleep(level: 1 | 2, nowMs: number): void {
    this.advance(nowMs);
    this.#halt('asleep');
    this.#sleepLevel = level;
    this.#pool.clear();
    this.#events.push({ type: 'AllBlocksCleared' });
  }

  /** Returns when it serves again, ms. */
  wake(nowMs: number): number {
    this.#forward(nowMs);
    if (this.#sleepLevel > 0) {
      const wakeMs = this.options.profile.wakeMs[this.#sleepLevel === 1 ? 0 : 1];
      this.#readyMs = Math.max(this.#readyMs, this.#nowMs + wakeMs / this.options.speed);
    }
    this.#sleepLevel = 0;
    this.#stopped = 'no';
    this.#blocked = false;
    return this.#readyMs;
  }

  pause(nowMs: number): void {
    this.advance(nowMs);
    this.#halt('paused');
  }

  resume(nowMs: number): void {
    this.#forward(nowMs);
    if (this.#stopped === 'paused') this.#stopped = 'no';
    this.#blocked = false;
  }

  get sleepLevel(): number {
    return this.#sleepLevel;
  }

  get paused(): boolean {
    return this.#stopped === 'paused';
  }

  /** Forgets all cached prefixes; refused (false) while blocks are in use. The event goes out with the next step. */
  resetPrefixCache(): boolean {
    if (this.#pool.free !== this.#pool.size) return false;
    this.#pool.clear();
    this.#events.push({ type: 'AllBlocksCleared' });
    return true;
  }

  unloadAdapter(name: string): boolean {
    return this.#loras.unload(name);
  }

  /** Leading blocks of a chain that are cached now, in use or not. `hashes` are made by `blockHash` from this engine's `rootHash`. */
  cachedBlocks(hashes: ArrayLike<number>): number {
    let blocks = 0;
    while (blocks < hashes.length && this.#pool.find(hashes[blocks]!) !== undefined) blocks++;
    return blocks;
  }

  counts(): EngineCounts {
    return {
      ...this.#counts,
      running: this.#running.length,
      waiting: this.#waiting.length,
      deferred: this.#waiting.reduce((sum, sequence) => sum + (sequence.deferred ? 1 : 0), 0),
      kvUsage: 1 - this.#pool.free / this.#pool.size,
    };
  }

  /** Adapters of running and of waiting sequences, each once. */
  adaptersInUse(): { running: string[]; waiting: string[] } {
    const names = (sequences: readonly Sequence[]): string[] => [
      ...new Set(sequences.flatMap((sequence) => sequence.request.adapter ?? [])),
    ];
    return { running: names(this.#running), waiting: names(this.#waiting) };
  }

  /** Throws when a law is broken: request conservation, KV block conservation. For tests. */
  check(): void {
    this.#pool.check();
    const { added, finished, aborted } = this.#counts;
    const inside = this.#running.length + this.#waiting.length;
    if (added !== finished + aborted + inside) {
      throw new Error(`requests: ${added} added ≠ ${finished} finished + ${aborted} aborted + ${inside} inside`);
    }
    const owned = new Set<number>();
    for (const sequence of this.#running) for (const block of sequence.blockIds) owned.add(block);
    for (const { sequence } of this.#held.values()) for (const block of sequence.blockIds) owned.add(block);
    if (owned.size + this.#pool.free !== this.#pool.size) {
      throw new Error(`KV blocks: ${owned.size} owned + ${this.#pool.free} free ≠ ${this.#pool.size}`);
    }
  }

  #forward(nowMs: number): void {
    if (nowMs > this.#nowMs) this.#nowMs = nowMs;
  }

  #admissibleMs(sequence: Sequence): number {
    const adapter = sequence.request.adapter;
    const loadedMs = adapter === undefined ? 0 : this.#loras.request(adapter, this.#nowMs);
    return Math.max(sequence.transferredMs, loadedMs);
  }

  /** Starts a step at `startMs`; false when nothing can be computed. */
  #begin(startMs: number): boolean {
    this.#forward(startMs);
    this.#expireHeld();
    let budget = this.options.maxNumBatchedTokens;
    this.#prefillTokens = 0;
    this.#step.length = 0;
    const preemptionsBefore = this.#counts.preemptions;
    budget = this.#scheduleRunning(budget, true);
    budget = this.#scheduleRunning(budget, false);
    for (const sequence of this.#step) this.#nameFullBlocks(sequence);
    if (this.#counts.preemptions === preemptionsBefore) this.#admit(budget);
    let contextTokens = 0;
    let sequences = 0;
    for (const sequence of this.#step) {
      if (sequence.scheduled === 0) continue;
      sequences++;
      contextTokens += sequence.computed + sequence.scheduled;
      if (sequence.scheduled > 1 || sequence.outputs === 0) this.#prefillTokens += sequence.scheduled;
    }
    this.#blocked = sequences === 0;
    if (this.#blocked) return false;
    const durationMs = stepDurationMs(this.options.profile, this.#prefillTokens, sequences, contextTokens);
    this.#stepStartMs = startMs;
    this.#stepEndMs = startMs + durationMs / this.options.speed;
    return true;
  }

  /** Decodes first, so that a long prompt never stalls those who already stream. */
  #scheduleRunning(budgetTokens: number, decodes: boolean): number {
    let budget = budgetTokens;
    for (let index = 0; index < this.#running.length && budget > 0; index++) {
      const sequence = this.#running[index]!;
      const left = sequence.left;
      if (sequence.scheduled > 0 || (left === 1) !== decodes) continue;
      const tokens = Math.min(left, budget);
      const given = this.#makeRoom(sequence, tokens);
      if (given === undefined) break;
      budget += given - tokens;
      this.#schedule(sequence, tokens);
    }
    return budget;
  }

  /** Gets the blocks, preempting the youngest if need be. The budget that victims give back; undefined if `sequence` itself had to go. */
  #makeRoom(sequence: Sequence, tokens: number): number | undefined {
    let given = 0;
    while (!this.#grow(sequence, tokens)) {
      const victim = this.#running.pop()!;
      given += victim.scheduled;
      this.#preempt(victim);
      if (victim === sequence) return undefined;
    }
    return given;
  }

  #admit(budgetTokens: number): void {
    let budget = budgetTokens;
    let kept = 0;
    let index = 0;
    const waiting = this.#waiting;
    for (; index < waiting.length && budget > 0 && this.#running.length < this.options.maxNumSeqs; index++) {
      const sequence = waiting[index]!;
      sequence.deferred = this.#admissibleMs(sequence) > this.#nowMs;
      if (sequence.deferred) {
        waiting[kept++] = sequence;
        continue;
      }
      const tokens = this.#tryAdmit(sequence, budget);
      if (tokens === 0) break;
      budget -= tokens;
    }
    if (index === kept) return;
    waiting.splice(kept, index - kept);
  }

  /** Reuses cached blocks, takes the rest; 0 when there is no room. */
  #tryAdmit(sequence: Sequence, budget: number): number {
    const { blockSize, prefixCaching } = this.options;
    const hitMax = prefixCaching ? Math.floor((sequence.length - 1) / blockSize) : 0;
    let hits = 0;
    for (; hits < hitMax; hits++) {
      const block = this.#pool.find(sequence.hash(hits));
      if (block === undefined) break;
      this.#pool.share(block);
      sequence.blockIds.push(block);
    }
    const local = hits * blockSize;
    const remote = sequence.admitted ? 0 : Math.min(sequence.request.remoteTokens ?? 0, sequence.length - 1);
    sequence.computed = Math.max(local, remote);
    sequence.named = hits;
    const tokens = Math.min(sequence.left, budget);
    if (!this.#grow(sequence, tokens)) {
      this.#freeBlocks(sequence);
      sequence.computed = 0;
      sequence.named = 0;
      return 0;
    }
    if (!sequence.admitted) this.#countAdmission(sequence, local, Math.max(0, remote - local));
    sequence.state = 'running';
    if (sequence.request.adapter !== undefined) this.#loras.use(sequence.request.adapter, this.#nowMs);
    this.#running.push(sequence);
    this.#schedule(sequence, tokens);
    this.#nameFullBlocks(sequence);
    return tokens;
  }

  #countAdmission(sequence: Sequence, local: number, external: number): void {
    sequence.admitted = true;
    sequence.scheduledMs = this.#nowMs;
    sequence.cachedTokens = local;
    sequence.externalTokens = external;
    const counts = this.#counts;
    counts.promptTokens += sequence.promptLength;
    if (this.options.prefixCaching) {
      counts.prefixQueries += sequence.promptLength;
      counts.prefixHits += local;
    }
    if (sequence.request.remoteTokens !== undefined) {
      counts.externalQueries += sequence.promptLength - local;
      counts.externalHits += external;
    }
  }

  #grow(sequence: Sequence, tokens: number): boolean {
    const blocks = Math.ceil((sequence.computed + tokens) / this.options.blockSize) - sequence.blockIds.length;
    if (blocks > this.#pool.free) return false;
    for (let count = 0; count < blocks; count++) sequence.blockIds.push(this.#pool.take());
    return true;
  }

  #schedule(sequence: Sequence, tokens: number): void {
    sequence.scheduled = tokens;
    this.#step.push(sequence);
  }

  /** Names the blocks that this step fills, so that the next admission finds them, and tells it as one event. */
  #nameFullBlocks(sequence: Sequence): void {
    const { blockSize, prefixCaching } = this.options;
    if (!prefixCaching || sequence.scheduled === 0) return;
    const full = Math.floor((sequence.computed + sequence.scheduled) / blockSize);
    if (full <= sequence.named) return;
    const first = sequence.named;
    const hashes: number[] = [];
    let from = first;
    for (let index = first; index < full; index++) {
      const hash = sequence.hash(index);
      if (this.#pool.name(sequence.blockIds[index]!, hash)) hashes.push(hash);
      else {
        this.#stored(sequence, from, hashes.splice(0));
        from = index + 1;
      }
    }
    this.#stored(sequence, from, hashes);
    sequence.named = full;
  }

  #stored(sequence: Sequence, from: number, hashes: readonly number[]): void {
    if (hashes.length === 0 || this.#listener.kvEvents === undefined) return;
    const { blockSize } = this.options;
    this.#events.push({
      type: 'BlockStored',
      hashes,
      parentHash: from === 0 ? undefined : sequence.hash(from - 1),
      tokens: Array.from(sequence.tokens.subarray(from * blockSize, (from + hashes.length) * blockSize)),
      blockSize,
      adapter: sequence.request.adapter,
      cacheSalt: from === 0 ? sequence.request.cacheSalt : undefined,
    });
  }

  #preempt(sequence: Sequence): void {
    sequence.scheduled = 0;
    sequence.computed = 0;
    sequence.named = 0;
    sequence.state = 'waiting';
    sequence.preemptions++;
    this.#counts.preemptions++;
    this.#freeBlocks(sequence);
    if (sequence.request.adapter !== undefined) this.#loras.release(sequence.request.adapter);
    this.#waiting.unshift(sequence);
  }

  #complete(): void {
    const endMs = this.#stepEndMs;
    this.#forward(endMs);
    this.#stepEndMs = NaN;
    this.#counts.steps++;
    this.#flushEvents(endMs);
    let ended = false;
    let sequences = 0;
    for (const sequence of this.#step) {
      if (sequence.scheduled === 0 || sequence.state !== 'running') continue;
      sequences++;
      sequence.computed += sequence.scheduled;
      sequence.scheduled = 0;
      if (sequence.left === 0 && this.#emit(sequence, endMs)) ended = true;
    }
    this.#listener.step?.({
      startedMs: this.#stepStartMs,
      endedMs: endMs,
      prefillTokens: this.#prefillTokens,
      sequences,
    });
    if (ended) this.#running = this.#running.filter((sequence) => sequence.state === 'running');
  }

  /** One token; true when it was the last one. */
  #emit(sequence: Sequence, nowMs: number): boolean {
    const token = sequence.request.token(sequence.outputs);
    sequence.tokens[sequence.length++] = token;
    sequence.outputs++;
    this.#counts.generatedTokens++;
    if (sequence.outputs === 1) sequence.firstTokenMs = nowMs;
    const stop = this.#listener.token?.(sequence, token, nowMs) === true;
    if (sequence.state !== 'running') return true;
    if (!stop && sequence.outputs < sequence.request.outputTokens) return false;
    this.#end(sequence, stop ? 'stop' : sequence.request.finish, nowMs);
    return true;
  }

  #end(sequence: Sequence, reason: FinishReason, nowMs: number): void {
    if (sequence.state === 'running' && sequence.request.adapter !== undefined) {
      this.#loras.release(sequence.request.adapter);
    }
    sequence.state = 'done';
    sequence.scheduled = 0;
    sequence.finishedMs = nowMs;
    if (reason === 'abort') this.#counts.aborted++;
    else this.#counts.finished++;
    if (sequence.request.holdBlocks === true && reason !== 'abort') {
      this.#held.set(sequence.id, { sequence, untilMs: nowMs + heldMsMax / this.options.speed });
      this.#listener.finished?.(sequence, reason, nowMs);
    } else {
      this.#listener.finished?.(sequence, reason, nowMs);
      this.#freeBlocks(sequence);
    }
  }

  /** Last block first, so that the end of a chain is evicted before its start. */
  #freeBlocks(sequence: Sequence): void {
    for (let index = sequence.blockIds.length - 1; index >= 0; index--) this.#pool.release(sequence.blockIds[index]!);
    sequence.blockIds.length = 0;
  }

  #expireHeld(): void {
    for (const [id, { untilMs }] of this.#held) if (untilMs <= this.#nowMs) this.release(id);
  }

  /** Drops the step in progress: what it computed is computed again. */
  #halt(why: 'asleep' | 'paused'): void {
    this.#stepEndMs = NaN;
    this.#stopped = why;
    while (this.#running.length > 0) this.#preempt(this.#running.pop()!);
  }

  #flushEvents(nowMs: number): void {
    if (this.#events.length === 0) return;
    const events = this.#events;
    this.#events = [];
    this.#listener.kvEvents?.(events, nowMs);
  }
}
