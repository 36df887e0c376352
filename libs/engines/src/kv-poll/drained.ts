import { Encoder } from 'msgpackr';
import type { KvBatch } from '../kv-events.ts';
import { decodeKvPayload } from '../kv-events.ts';
import { engineLimits } from '../limits.ts';
import type { FollowedBatch } from '../kv-follow/follower.ts';
import type { SequenceEffect } from '../kv-follow/sequencer.ts';

type Effect = Exclude<SequenceEffect<FollowedBatch>, { type: 'ask' }>;

const encoder = new Encoder({ useRecords: false, variableMapSize: true });
/** TensorRT-LLM's cache levels: the device's memory, the host's. */
const media = ['GPU', 'CPU'] as const;

/** What TensorRT-LLM says, as far as it is read here. */
interface Told {
  readonly event_id?: unknown;
  readonly attention_dp_rank?: unknown;
  readonly window_size?: unknown;
  readonly data?: Record<string, unknown> | null;
}

interface Block {
  readonly hash: bigint;
  readonly tokens: readonly number[];
  readonly extra: readonly string[] | null;
  readonly level: number;
  readonly loraId: number | null;
}

/**
 * TensorRT-LLM's events, which are handed out once to whoever asks first (`POST /kv_cache_events`), as batches of the same form as
 * other engines' : one for each event, under the event's own number. Pure.
 *
 * A number that is left out is a gap that nobody can fill; a lower one is another life of the engine. Hashes of 64 bits come as
 * JSON's numbers, of which 53 bits are left: enough to tell the blocks of one engine apart.
 */
export class DrainedEvents {
  #next: number | undefined;
  /** Blocks that are not on the device. */
  readonly #levels = new Map<bigint, number>();
  /** Of layers that see all; those with a shorter window hold less of the same prompts. */
  #window = 0;
  /** Events of other attention ranks, and of shorter windows. */
  passed = 0;

  constructor(
    private readonly blockTokens: number,
    private readonly effect: (effect: Effect) => void,
    private readonly problem: (problem: string) => void,
  ) {}

  /** The number expected next; undefined before the first. */
  get next(): number | undefined {
    return this.#next;
  }

  /** Goes on behind what somebody else has handed on. */
  resume(next: number): void {
    this.#next = next;
  }

  /** One answer, in the order of its events. What no engine sends is a problem of that engine. */
  read(answer: unknown, atSeconds: number): void {
    if (!Array.isArray(answer)) return this.problem('the answer is no list of events');
    for (const told of answer as Told[]) {
      const id = told?.event_id;
      if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0 || typeof told.data !== 'object') {
        this.problem('an event without a number');
        continue;
      }
      // Ranks share the way out, not the numbers.
      if (typeof told.attention_dp_rank === 'number' && told.attention_dp_rank !== 0) {
        this.passed++;
        continue;
      }
      this.#follow(id);
      const events = this.#translate(told);
      const payload = encoder.encode([atSeconds, events, 0]);
      const batch = decodeKvPayload(payload);
      if ('problem' in batch) {
        this.problem(batch.problem);
        this.#void('gap', false);
      } else this.effect({ type: 'batch', seq: id, batch: { ...(batch satisfies KvBatch), payload } });
      this.#next = id + 1;
    }
  }

  #follow(id: number): void {
    if (this.#next === undefined) this.#void('first', id === 0);
    else if (id > this.#next) this.#void('gap', false);
    else if (id < this.#next) {
      this.#window = 0;
      this.#void('restart', id === 0);
    }
  }

  #void(why: 'first' | 'gap' | 'restart', exact: boolean): void {
    this.#levels.clear();
    this.effect({ type: 'reset', why, exact });
  }

  #translate({ data, window_size: window }: Told): object[] {
    const { type } = data ?? {};
    if (typeof window === 'number') {
      if (window < this.#window) {
        this.passed++;
        return [];
      }
      if (window > this.#window) {
        // All windows are named by the engine's first events; one that comes later was behind a gap.
        if (this.#window > 0 && type !== 'created') this.#void('gap', false);
        this.#window = window;
      }
    }
    switch (type) {
      case 'stored':
        return this.#stored(data as Record<string, unknown>);
      case 'removed':
        return this.#removed(data as Record<string, unknown>);
      case 'updated':
        return this.#moved(data as Record<string, unknown>);
      case 'created':
        return [];
      default:
        this.problem(`an event of the type ${JSON.stringify(type)?.slice(0, 64)}`);
        return [];
    }
  }

  #stored({ blocks, parent_hash: parentHash, lora_name: loraName }: Record<string, unknown>): object[] {
    if (!Array.isArray(blocks)) return this.#unread('a stored event without blocks');
    const events: object[] = [];
    let parent = parentHash === null || parentHash === undefined ? null : hashOf(parentHash);
    if (parent === undefined) return this.#unread('a parent that is no hash');
    let run: Block[] = [];
    const close = (): void => {
      const [first] = run;
      if (first === undefined) return;
      events.push({
        type: 'BlockStored',
        block_hashes: run.map(({ hash }) => hash),
        parent_block_hash: parent,
        token_ids: run.flatMap(({ tokens }) => tokens),
        block_size: this.blockTokens,
        lora_id: first.loraId,
        lora_name: typeof loraName === 'string' ? loraName : null,
        medium: media[first.level] ?? 'STORAGE',
        extra_keys: run.some(({ extra }) => extra !== null) ? run.map(({ extra }) => extra) : null,
        group_idx: 0,
        kv_cache_spec_kind: 'full_attention',
      });
      parent = run.at(-1)?.hash ?? null;
      run = [];
    };
    for (const told of blocks) {
      const block = blockOf(told);
      if (block === undefined) return this.#unread('a block without hash and tokens');
      if (block.tokens.length > this.blockTokens) {
        return this.#unread(
          `a block of ${block.tokens.length} tokens: write kvEvents: { blockTokens: ${block.tokens.length} }`,
        );
      }
      // The open end of a sequence: no other prompt is found by it.
      if (block.tokens.length < this.blockTokens) break;
      if (run.length > 0 && run[0]?.level !== block.level) close();
      if (block.level !== 0) this.#remember(block.hash, block.level);
      run.push(block);
    }
    close();
    return events;
  }

  #removed({ block_hashes: told }: Record<string, unknown>): object[] {
    const byLevel = new Map<number, bigint[]>();
    for (const one of Array.isArray(told) ? told : [undefined]) {
      const hash = hashOf(one);
      if (hash === undefined) return this.#unread('a removed event without hashes');
      const level = this.#levels.get(hash) ?? 0;
      this.#levels.delete(hash);
      const same = byLevel.get(level);
      if (same === undefined) byLevel.set(level, [hash]);
      else same.push(hash);
    }
    return [...byLevel].map(([level, hashes]) => removedFrom(hashes, level));
  }

  /** From one level to another; other news of a block is its priority. */
  #moved({ block_hash: told, cache_level: level }: Record<string, unknown>): object[] {
    const hash = hashOf(told);
    const { new_value: to, old_value: from } = (level ?? {}) as Record<string, unknown>;
    if (hash === undefined) return this.#unread('an updated event without a hash');
    if (typeof to !== 'number' || typeof from !== 'number' || to === from) return [];
    if (to === 0) this.#levels.delete(hash);
    else this.#remember(hash, to);
    const stored = {
      type: 'BlockStored',
      block_hashes: [hash],
      parent_block_hash: null,
      token_ids: [],
      block_size: this.blockTokens,
      medium: media[to] ?? 'STORAGE',
      group_idx: 0,
    };
    return [stored, removedFrom([hash], from)];
  }

  #remember(hash: bigint, level: number): void {
    if (this.#levels.size >= engineLimits.kvOffDeviceBlocksMax) {
      this.problem(`more than ${engineLimits.kvOffDeviceBlocksMax} blocks beside the device`);
      this.#void('gap', false);
    }
    this.#levels.set(hash, level);
  }

  /** What cannot be read may have been a block: from here on not all is known. */
  #unread(problem: string): object[] {
    this.problem(problem);
    this.#void('gap', false);
    return [];
  }
}

const removedFrom = (hashes: readonly bigint[], level: number): object => ({
  type: 'BlockRemoved',
  block_hashes: hashes,
  medium: media[level] ?? 'STORAGE',
  group_idx: 0,
});

const hashOf = (told: unknown): bigint | undefined =>
  typeof told === 'number' && Number.isInteger(told) ? BigInt.asUintN(64, BigInt(told)) : undefined;

function blockOf(told: unknown): Block | undefined {
  const {
    block_hash: hash,
    tokens,
    mm_keys: media,
    cache_level: level,
    lora_id: loraId,
  } = (told ?? {}) as Record<string, unknown>;
  const known = hashOf(hash);
  if (known === undefined || !Array.isArray(tokens)) return undefined;
  const ids: number[] = [];
  const extra: string[] = [];
  for (const token of tokens) {
    const { token_id: id, token_extra_id: more } = (token ?? {}) as Record<string, unknown>;
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0) return undefined;
    ids.push(id);
    if (typeof more === 'number' && more !== 0 && extra.at(-1) !== `extra:${more}`) extra.push(`extra:${more}`);
  }
  for (const key of Array.isArray(media) ? media : []) {
    const { hash: of } = (key ?? {}) as Record<string, unknown>;
    if (typeof of === 'string') extra.push(of);
  }
  return {
    hash: known,
    tokens: ids,
    extra: extra.length === 0 ? null : extra,
    level: typeof level === 'number' ? level : 0,
    loraId: typeof loraId === 'number' ? loraId : null,
  };
}
