import { CodedError } from '#libs/kernel';
import type { RankView } from '#libs/kv-stream';
import { hashTokens } from '#libs/prefix-index';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';

/** Tokens of a prompt's beginning that one replica has. */
export interface InstanceMatch {
  /** On any medium. */
  readonly longest_matched: number;
  /** On the device; there or in host memory; on any medium. */
  readonly GPU: number;
  readonly CPU: number;
  readonly DISK: number;
  /** By data-parallel rank: here each rank is an instance of its own. */
  readonly DP: Readonly<Record<string, number>>;
}

/** By tenant, of which there is one here, then by replica. */
export type MooncakeAnswer = Readonly<Record<string, Readonly<Record<string, InstanceMatch>>>>;

interface Query {
  readonly model: string;
  readonly adapter: string;
  readonly tokens: readonly number[];
  readonly tenant: string;
  readonly instance: string | undefined;
  readonly blockTokens: number;
  readonly salt: string;
}

/**
 * Mooncake's `POST /query` (its RFC 1403): how many of a prompt's tokens each replica of a model has. Only whole blocks count, and only
 * replicas with blocks of the size that is asked for.
 * @throws BAD_REQUEST
 */
export function mooncakeQuery(core: Core, body: unknown): MooncakeAnswer {
  const { model, adapter, tokens, tenant, instance, blockTokens, salt } = queryOf(body);
  const { fold, registrations, followers } = core.engines;
  const asked = [...followers.keys()].filter((id) => {
    const models = registrations.get(id)?.models ?? [];
    // One that names no models may have any.
    return (models.length === 0 || models.includes(model)) && (instance === undefined || instance === id);
  });
  const rankOf = (id: string): RankView | undefined => fold.replicas.get(id)?.ranks.values().next().value;
  const sizes = new Set(asked.map((id) => rankOf(id)?.holder.blockSize ?? 0).filter((size) => size > 0));
  if (sizes.size > 0 && !sizes.has(blockTokens)) {
    throw bad(`block_size ${blockTokens}: the blocks of ${model} have ${[...sizes].join(' or ')} tokens`);
  }
  const chain = hashTokens({ model: '', adapter, ...(salt === '' ? {} : { cacheSalt: salt }) }, tokens, blockTokens);
  const { device, host, storage } = fold.index.matchMedia(chain, asked);
  const found: Record<string, InstanceMatch> = {};
  for (const [i, id] of asked.entries()) {
    const { holder } = rankOf(id) ?? {};
    if (holder === undefined || (holder.blockSize !== blockTokens && holder.blockSize !== 0)) continue;
    const of = (depths: ArrayLike<number>): number => (depths[i] as number) * blockTokens;
    const longest = of(storage);
    const { dataParallelSize = 0, dataParallelRank = 0 } = registrations.get(id) ?? {};
    found[id] = {
      longest_matched: longest,
      GPU: of(device),
      CPU: of(host),
      DISK: longest,
      DP: { [dataParallelSize > 0 ? dataParallelRank : 0]: longest },
    };
  }
  return { [tenant]: found };
}

function queryOf(body: unknown): Query {
  if (typeof body !== 'object' || body === null) throw bad('the body is no object');
  const told = body as Record<string, unknown>;
  const text = (name: string, otherwise?: string): string => {
    const value = told[name] ?? otherwise;
    if (typeof value !== 'string' || value.length > limits.textMax) throw bad(`${name} is no text`);
    return value;
  };
  const { token_ids: tokens, block_size: blockTokens, instance_id: instance } = told;
  if (!Array.isArray(tokens) || tokens.length > limits.queryTokensMax) {
    throw bad(`token_ids is no list of at most ${limits.queryTokensMax} tokens`);
  }
  if (!tokens.every((token) => Number.isInteger(token) && token >= 0 && token < 2 ** 32)) {
    throw bad('token_ids holds what is no token');
  }
  if (typeof blockTokens !== 'number' || !Number.isInteger(blockTokens) || blockTokens < 1) {
    throw bad('block_size is no number of tokens');
  }
  return {
    model: text('model'),
    adapter: text('lora_name', ''),
    tokens: tokens as number[],
    tenant: text('tenant_id', 'default'),
    instance: instance === undefined || instance === null ? undefined : text('instance_id'),
    blockTokens,
    salt: text('cache_salt', ''),
  };
}

const bad = (why: string): CodedError =>
  new CodedError('BAD_REQUEST', why, {
    advice:
      'Send {"model", "token_ids": [...], "block_size"} and, where wanted, "lora_name", "cache_salt", "instance_id".',
  });
