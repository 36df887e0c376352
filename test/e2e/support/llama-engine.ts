import { describe } from '@jest/globals';
import { LLAMA_MODEL, type LlamaServer, ensureLlamaCpp, startLlamaServer } from '../../../tools/engines/llama-cpp.mjs';

export type { LlamaServer };
/** The name under which the engine serves its tiny model. */
export const llamaModel = LLAMA_MODEL;

/**
 * A suite over real llama.cpp engines; fetched once into the cache. Where it cannot be had the suite counts as skipped and says why.
 * `await describeLlama('…', () => { … })` at the top of a spec.
 */
export async function describeLlama(name: string, suite: () => void): Promise<void> {
  const library = await ensureLlamaCpp({ log: () => undefined });
  if (library.unavailable === undefined) describe(name, suite);
  else {
    process.stderr.write(`${name}: skipped, ${library.unavailable}\n`);
    describe.skip(name, suite);
  }
}

/** One engine on a free port, or on that of one that was killed. Stop it: `await engine.stop()`. */
export function startLlama(options: { name?: string; port?: number; parallel?: number } = {}): Promise<LlamaServer> {
  return startLlamaServer({ ...options, log: () => undefined });
}
