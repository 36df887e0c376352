import { Encoder } from 'msgpackr';
import type { KvEvent } from '#libs/engine-model';

const encoder = new Encoder({ useRecords: false, variableMapSize: true });

const spread = 0x9e3779b97f4a7c15n;
const mask64 = (1n << 64n) - 1n;

/** The model's 53 bits spread over 64: one to one, as the factor is odd. */
export const wireHash = (hash: number): bigint => (BigInt(hash) * spread) & mask64;

/** A batch of events as vLLM 0.32 packs it: `[seconds, [event…], data-parallel rank]`, each event a map. */
export function encodeBatch(
  atS: number,
  events: readonly KvEvent[],
  adapterId: (name: string) => number | null,
): Buffer {
  return encoder.encode([
    Number.isInteger(atS) ? atS + 1e-6 : atS, // a whole number would be packed as an integer
    events.map((event) => toWire(event, adapterId)),
    0,
  ]);
}

function toWire(event: KvEvent, adapterId: (name: string) => number | null): Record<string, unknown> {
  switch (event.type) {
    case 'AllBlocksCleared':
      return { type: event.type };
    case 'BlockRemoved':
      return { type: event.type, block_hashes: event.hashes.map(wireHash), medium: 'GPU', group_idx: 0 };
    case 'BlockStored': {
      const { adapter, cacheSalt } = event;
      return {
        type: event.type,
        block_hashes: event.hashes.map(wireHash),
        parent_block_hash: event.parentHash === undefined ? null : wireHash(event.parentHash),
        token_ids: event.tokens,
        block_size: event.blockSize,
        lora_id: adapter === undefined ? null : adapterId(adapter),
        medium: 'GPU',
        lora_name: adapter ?? null,
        extra_keys: event.hashes.map((_, index) => extraKeys(adapter, index === 0 ? cacheSalt : undefined)),
        group_idx: 0,
        kv_cache_spec_kind: 'full_attention',
      };
    }
  }
}

/** What beside its tokens decides who may share a block; null where nothing does. */
function extraKeys(adapter: string | undefined, salt: string | undefined): string[] | null {
  const keys = [adapter, salt].filter((key) => key !== undefined);
  return keys.length === 0 ? null : keys;
}
