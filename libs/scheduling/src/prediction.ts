import type { Column, Params, PickContext } from './contract.ts';
import { allKnown } from './signals.ts';

/** Columns that `predict` reads: name them in `reads`. */
export const predictionReads = [
  'prefixBlocks',
  'prefillTokens',
  'decoding',
  'ttftBaseMs',
  'ttftPerKTokenMs',
  'ttftPerDecodingMs',
  'tpotBaseMs',
  'tpotPerDecodingMs',
  'outputTokens',
  'modelVersion',
] as const satisfies readonly Column[];

const coefficients = [
  'ttftBaseMs',
  'ttftPerKTokenMs',
  'ttftPerDecodingMs',
  'tpotBaseMs',
  'tpotPerDecodingMs',
] as const satisfies readonly Column[];

/** By candidate; reused between picks. */
export interface Prediction {
  /** From sending to the first token: what waits there, then the prompt tokens not cached there. */
  readonly ttftMs: Float64Array;
  /** For each further token, in the batch that the request joins. */
  readonly tpotMs: Float64Array;
  /** Prompt tokens to be computed there. */
  readonly uncachedTokens: Float64Array;
}

interface Room {
  ttftMs: Float64Array;
  tpotMs: Float64Array;
  uncachedTokens: Float64Array;
}

/** One for all pipelines: picks are synchronous, and a plugin is done with it when it returns. */
const room: Room = { ttftMs: new Float64Array(16), tpotMs: new Float64Array(16), uncachedTokens: new Float64Array(16) };

/** Prompt tokens that are not cached there, by candidate. Where one depth is unknown none is taken to be cached anywhere. */
export function uncachedTokens(context: PickContext, among = context.keep): Float64Array {
  const { candidates, request } = context;
  const { count } = candidates;
  if (room.ttftMs.length < count) {
    const length = count * 2;
    room.ttftMs = new Float64Array(length);
    room.tpotMs = new Float64Array(length);
    room.uncachedTokens = new Float64Array(length);
  }
  const out = room.uncachedTokens;
  const { promptTokens, prefixBlocks } = request;
  const known = prefixBlocks > 0 && allKnown(context, 'prefixBlocks', Infinity, among);
  const depth = candidates.values('prefixBlocks');
  for (let i = 0; i < count; i++) {
    const share = known ? (depth[i] as number) / prefixBlocks : 0;
    // The last token is computed even where all is cached: it gives the first one of the answer.
    const rest = promptTokens * (1 - (share < 1 ? share : 1));
    out[i] = rest > 1 ? rest : 1;
  }
  return out;
}

/** What it costs to bring a cached block onto the device, ms. */
export interface LoadCosts {
  readonly hostBlockMs: number;
  readonly storageBlockMs: number;
}

const noLoad: LoadCosts = { hostBlockMs: 0, storageBlockMs: 0 };

/** Where it is known of each on which medium its blocks are. Where depths are guessed nobody says, which is nothing to note. */
function loadsKnown({ candidates, request }: PickContext, among: Uint8Array): boolean {
  if (request.prefixBlocks === 0) return false;
  const depth = candidates.values('prefixBlocks');
  const host = candidates.values('hostBlocks');
  const storage = candidates.values('storageBlocks');
  for (let i = 0; i < candidates.count; i++) {
    if (among[i] === 0) continue;
    if (Number.isNaN(depth[i]) || Number.isNaN(host[i]) || Number.isNaN(storage[i])) return false;
  }
  return true;
}

/**
 * TTFT and TPOT of the request on each candidate by the latency models in the table. Undefined, with a note, where the load or the
 * model of one kept candidate is unknown: none is then compared by predictions.
 */
export function predict(context: PickContext, among = context.keep, load = noLoad): Prediction | undefined {
  if (!allKnown(context, 'prefillTokens', Infinity, among)) return undefined;
  if (!allKnown(context, 'decoding', Infinity, among)) return undefined;
  for (const column of coefficients) if (!allKnown(context, column, Infinity, among)) return undefined;
  const uncached = uncachedTokens(context, among);
  const { candidates } = context;
  const ahead = candidates.values('prefillTokens');
  const decoding = candidates.values('decoding');
  const base = candidates.values('ttftBaseMs');
  const perKToken = candidates.values('ttftPerKTokenMs');
  const perDecoding = candidates.values('ttftPerDecodingMs');
  const tpotBase = candidates.values('tpotBaseMs');
  const tpotPerDecoding = candidates.values('tpotPerDecodingMs');
  const { ttftMs, tpotMs } = room;
  const loads = load !== noLoad && loadsKnown(context, among);
  const host = candidates.values('hostBlocks');
  const storage = candidates.values('storageBlocks');
  for (let i = 0; i < candidates.count; i++) {
    const tokens = (ahead[i] as number) + (uncached[i] as number);
    const batch = decoding[i] as number;
    ttftMs[i] = (base[i] as number) + ((perKToken[i] as number) * tokens) / 1000 + (perDecoding[i] as number) * batch;
    if (loads) ttftMs[i]! += load.hostBlockMs * (host[i] as number) + load.storageBlockMs * (storage[i] as number);
    tpotMs[i] = (tpotBase[i] as number) + (tpotPerDecoding[i] as number) * (batch + 1);
  }
  return room;
}

/** Output tokens expected of the request: as predicted, else as many as the client lets it be, else `otherwise`. */
export function outputTokensOf({ candidates, request }: PickContext, otherwise: number): number {
  // The same for all candidates.
  const predicted = candidates.values('outputTokens')[0] as number;
  if (predicted > 0) return predicted;
  return request.maxTokens > 0 ? request.maxTokens : otherwise;
}

/** The request's own target goes before the profile's. 0 is none. */
export const ttftTargetOf = ({ request }: PickContext, params: Params): number =>
  request.sloTtftMs > 0 ? request.sloTtftMs : (params['ttftMs'] as number);
export const tpotTargetOf = ({ request }: PickContext, params: Params): number =>
  request.sloTpotMs > 0 ? request.sloTpotMs : (params['tpotMs'] as number);

/** By how much the worse of two expectations lies over its target; 0 within both. A target of 0 is none. */
export function missOf(ttftMs: number, ttftTargetMs: number, tpotMs: number, tpotTargetMs: number): number {
  const first = ttftTargetMs > 0 ? ttftMs / ttftTargetMs - 1 : 0;
  const each = tpotTargetMs > 0 ? tpotMs / tpotTargetMs - 1 : 0;
  const worse = first > each ? first : each;
  return worse > 0 ? worse : 0;
}
