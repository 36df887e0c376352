// What the parts of the KV bench share: events as libs/engines reads them, the public trace.
import process from 'node:process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dist, root } from './_common.mjs';

export const { KvIndex, KvIdentity, hashTokens, encodeHoldings, applyHoldings } = await dist('prefix-index');

export const model = 'bench';
export const blockSize = 16;

/** Local hashes as an engine's own: two words each. */
export function wordsOf(hashes) {
  const words = new Uint32Array(hashes.length * 2);
  for (let i = 0; i < hashes.length; i++) {
    words[i * 2] = hashes[i];
    words[i * 2 + 1] = hashes[i] / 4294967296;
  }
  return words;
}

/** Of this process, in milliseconds. */
export function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

export const stored = (hashes, tokens, parent) => ({
  type: 'BlockStored',
  blockHashes: hashes,
  parentBlockHash: parent,
  tokenIds: tokens,
  blockSize,
  loraId: null,
  loraName: null,
  medium: 'GPU',
  extraKeys: null,
  groupIdx: 0,
  cacheSpecKind: 'full_attention',
  slidingWindow: null,
});
export const removed = (hashes) => ({ type: 'BlockRemoved', blockHashes: hashes, medium: 'GPU', groupIdx: 0 });

export const us = (ms) => `${(ms * 1000).toFixed(0)} µs`;

/** Of each request of the Mooncake conversation trace, the ids of its blocks of 512 tokens, and its tokens. */
export function traceRequests() {
  const text = readFileSync(join(root, 'libs/fleet-sim/traces/mooncake-conversation.csv'), 'utf8');
  return text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => {
      const [, promptTokens, outputTokens, runs] = line.split(',');
      const ids = [];
      for (const run of runs.split(' ')) {
        const [from, to = from] = run.split('-').map(Number);
        for (let id = from; id <= to; id++) ids.push(id);
      }
      return { ids, length: Math.min(ids.length * 512, Number(promptTokens)), outputTokens: Number(outputTokens) };
    });
}
