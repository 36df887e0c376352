import type { CacheEvent, StoredBlocks } from './identity.ts';

/** A block as a person would name it: all that decides its content, as text. */
export type BlockName = string;

export const blockSize = 2;

export interface Prompt {
  readonly adapter: string;
  readonly salt: string;
  readonly tokens: readonly number[];
}

export function namesOf({ adapter, salt, tokens }: Prompt): BlockName[] {
  const whole = Math.floor(tokens.length / blockSize);
  return Array.from({ length: whole }, (_, block) =>
    [adapter, salt, ...tokens.slice(0, (block + 1) * blockSize)].join(','),
  );
}

interface Cache {
  /** `engine hash/medium/group` → the block and how often it was stored. */
  readonly held: Map<string, { name: BlockName; count: number }>;
  /** Block → when it was routed, least recently first. */
  routed: Map<BlockName, number>;
  readonly windows: Map<number, number>;
  exact: boolean;
}

/** The index as one would say it: sets of names, looked through for each question. */
export class BruteForce {
  readonly #caches = new Map<string, Cache[]>();

  constructor(
    private readonly speculativeMax: number,
    private readonly speculativeMs: number,
    private readonly approximateBlocks: number,
  ) {}

  #cache(id: string, rank: number): Cache {
    let list = this.#caches.get(id);
    if (list === undefined) this.#caches.set(id, (list = []));
    list[rank] ??= { held: new Map(), routed: new Map(), windows: new Map([[0, 0]]), exact: false };
    return list[rank];
  }

  apply(
    id: string,
    rank: number,
    event: CacheEvent,
    names: readonly BlockName[],
    medium: number,
    window: number,
  ): void {
    const cache = this.#cache(id, rank);
    if (event.type === 'AllBlocksCleared') {
      cache.held.clear();
      cache.routed.clear();
      cache.exact = true;
      return;
    }
    const group = event.groupIdx ?? 0;
    if (event.type === 'BlockStored') {
      if (!cache.windows.has(group) || cache.held.size === 0) cache.windows.set(group, window);
      const known = (hash: unknown): boolean =>
        [...cache.held.keys()].some((key) => key.startsWith(`${hash as string}/`));
      if (event.parentBlockHash !== null && !known(event.parentBlockHash)) {
        cache.exact = false;
        return;
      }
    }
    for (const [place, hash] of event.blockHashes.entries()) {
      const key = `${hash}/${medium}/${group}`;
      const held = cache.held.get(key);
      const name = names[place] as string;
      if (event.type === 'BlockStored') {
        if (held === undefined) {
          cache.held.set(key, { name, count: 1 });
          if (medium === 0) cache.routed.delete(name);
        } else held.count++;
      } else if (held !== undefined && --held.count === 0) {
        cache.held.delete(key);
        if (medium === 0) cache.routed.delete(held.name);
      }
    }
  }

  insert(id: string, names: readonly BlockName[], nowMs: number): void {
    const cache = this.#cache(id, 0);
    this.expireOne(cache, nowMs);
    const roomMax = cache.exact ? this.speculativeMax : this.approximateBlocks;
    for (const name of names.slice(0, roomMax).toReversed()) {
      if ([...cache.windows.keys()].every((group) => this.#holds(cache, name, group, 1, false))) continue;
      cache.routed.delete(name);
      cache.routed.set(name, nowMs);
    }
    while (cache.routed.size > roomMax) cache.routed.delete(cache.routed.keys().next().value as string);
  }

  expire(nowMs: number): void {
    for (const list of this.#caches.values())
      for (const cache of list) if (cache !== undefined) this.expireOne(cache, nowMs);
  }

  private expireOne(cache: Cache, nowMs: number): void {
    if (!cache.exact) return;
    cache.routed = new Map([...cache.routed].filter(([, atMs]) => atMs > nowMs - this.speculativeMs));
  }

  forget(id: string): void {
    this.#caches.delete(id);
  }

  #holds(cache: Cache, name: BlockName, group: number, media: number, routed = true): boolean {
    if (routed && cache.routed.has(name)) return true;
    return [...cache.held].some(([key, held]) => {
      const [, medium, of] = key.split('/').map(Number);
      return held.name === name && of === group && (medium as number) < media;
    });
  }

  /** On media below `media`: 1 the device, 2 host memory too, 3 all. */
  depth(id: string, names: readonly BlockName[], media: number): number {
    let best = 0;
    for (const cache of this.#caches.get(id) ?? []) {
      if (cache === undefined) continue;
      for (let depth = 1; depth <= names.length; depth++) {
        const usable = [...cache.windows].every(([group, window]) =>
          names
            .slice(window === 0 ? 0 : Math.max(0, depth - window), depth)
            .every((name) => this.#holds(cache, name, group, media)),
        );
        if (usable) best = Math.max(best, depth);
      }
    }
    return best;
  }

  /** Distinct blocks. */
  size(): number {
    const names = new Set<string>();
    for (const list of this.#caches.values()) {
      for (const cache of list) {
        if (cache === undefined) continue;
        for (const { name } of cache.held.values()) names.add(name);
        for (const name of cache.routed.keys()) names.add(name);
      }
    }
    return names.size;
  }
}

export const mediumNames = ['GPU', 'CPU', 'STORAGE'] as const;

/** A store of a prompt's blocks from `from` on, as an engine tells it. */
export function storedEvent(
  prompt: Prompt,
  hashes: readonly string[],
  from: number,
  medium: number,
  group: number,
  window: number,
): StoredBlocks {
  return {
    type: 'BlockStored',
    blockHashes: hashes.slice(from),
    parentBlockHash: from === 0 ? null : (hashes[from - 1] as string),
    tokenIds: prompt.tokens.slice(from * blockSize, hashes.length * blockSize),
    blockSize,
    loraId: prompt.adapter === '' ? null : 1,
    loraName: prompt.adapter === '' ? null : prompt.adapter,
    medium: mediumNames[medium] as string,
    extraKeys: hashes.slice(from).map((_, at) => {
      const keys = [
        ...(prompt.adapter === '' ? [] : [prompt.adapter]),
        ...(prompt.salt !== '' && from + at === 0 ? [prompt.salt] : []),
      ];
      return keys.length === 0 ? null : keys;
    }),
    groupIdx: group,
    cacheSpecKind: window === 0 ? 'full_attention' : 'sliding_window',
    slidingWindow: window === 0 ? null : window * blockSize + 1,
  };
}
