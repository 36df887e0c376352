// The KV index: requests on one core, long matches over 100 replicas, memory, rebuild. `npm run build` first.
import process from 'node:process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bench, dist, machine, percentile, profiled, root, say, verdict } from './_common.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    profile: { type: 'string' },
    part: { type: 'string' },
  },
});
if (values.help) {
  say(`npm run bench -- kv [--part requests|match|memory|rebuild] [--profile FILE]

requests  The Mooncake conversation trace (12,031 requests), prompts made of its block ids, 16-token blocks, 8 replicas of 40,000
          blocks each. A request is: match its prompt over all replicas, choose the one with the most, store its new blocks there as
          the engine's event would (hashes and tokens), remove by event what the engine evicts for them. One operation each of match,
          store and remove counts as Dynamo's bench counts: a match of a prompt, an event of an engine.
match     A prompt of 100k tokens (6,250 blocks), held in parts by 100 replicas; allocation is what the heap grew by.
memory    A million blocks on 8 replicas: resident memory of the process and the arrays, per million.
rebuild   Five million blocks from the snapshot's events, and from the engines' own msgpack batches. Many minutes: only where asked for.`);
  process.exit(0);
}

const { KvIndex, KvIdentity, hashTokens, encodeHoldings, applyHoldings } = await dist('prefix-index');
const { decodeKvPayload } = await dist('engines');
const { Packr } = await import('msgpackr');
const packr = new Packr({ useRecords: false, variableMapSize: true });

const model = 'bench';
const blockSize = 16;
const hex = (hash) => hash.toString(16).padStart(16, '0');
const stored = (hashes, tokens, parent) => ({
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
const pause = () => new Promise((resolve) => setImmediate(resolve));
const us = (ms) => `${(ms * 1000).toFixed(0)} µs`;

/** An engine's cache as far as its events show it: blocks in the order of use, a chain's tail going first. */
class Engine {
  held = new Map();
  constructor(blocksMax) {
    this.blocksMax = blocksMax;
  }

  /** What it would tell of a prompt of these blocks. */
  serve(chain) {
    let known = 0;
    while (known < chain.length && this.held.has(chain[known])) known++;
    for (let i = chain.length - 1; i >= 0; i--) {
      this.held.delete(chain[i]);
      this.held.set(chain[i], true);
    }
    const evicted = [];
    for (const hash of this.held.keys()) {
      if (this.held.size - evicted.length <= this.blocksMax) break;
      evicted.push(hash);
    }
    for (const hash of evicted) this.held.delete(hash);
    return { known, evicted };
  }
}

function traceRequests() {
  const text = readFileSync(join(root, 'libs/fleet-sim/traces/mooncake-conversation.csv'), 'utf8');
  return text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => {
      const [, promptTokens, , runs] = line.split(',');
      const tokens = [];
      for (const run of runs.split(' ')) {
        const [from, to = from] = run.split('-').map(Number);
        for (let id = from; id <= to; id++) {
          for (let t = 0; t < 512; t++) tokens.push((Math.imul(id * 512 + t, 0x9e3779b1) >>> 15) % 128_000);
        }
      }
      return tokens.slice(0, Number(promptTokens));
    });
}

async function requests() {
  const replicas = Array.from({ length: 8 }, (_, i) => `replica-${i}`);
  // What the engines would say is worked out before and costs nothing here: which blocks a request finds is the choice's doing, and
  // the choice is the most matched, by turns where equal.
  const prompts = traceRequests().map((tokens) => ({ tokens, chain: hashTokens({ model }, tokens, blockSize) }));
  const run = () => {
    const index = new KvIndex();
    const identity = new KvIdentity(index);
    const engines = replicas.map(() => new Engine(40_000));
    const took = { match: [], store: [], remove: [] };
    const blocks = { matched: 0, stored: 0, removed: 0 };
    for (const id of replicas) identity.apply(index.holder(id), model, { type: 'AllBlocksCleared' });
    const timed = (kind, work) => {
      const start = performance.now();
      work();
      took[kind].push(performance.now() - start);
    };
    for (const [n, { tokens, chain }] of prompts.entries()) {
      let depths;
      timed('match', () => (depths = index.matchMedia(chain, replicas).device));
      let best = n % replicas.length;
      for (let i = 0; i < replicas.length; i++) if (depths[i] > depths[best]) best = i;
      blocks.matched += depths[best];
      const { known, evicted } = engines[best].serve(chain);
      if (known !== depths[best]) throw new Error(`request ${n}: matched ${depths[best]}, the engine has ${known}`);
      const holder = index.holder(replicas[best]);
      if (evicted.length > 0) {
        const event = { type: 'BlockRemoved', blockHashes: evicted.map(hex), medium: 'GPU', groupIdx: 0 };
        timed('remove', () => identity.apply(holder, model, event));
        blocks.removed += evicted.length;
      }
      if (known < chain.length) {
        const hashes = Array.from(chain.subarray(known), hex);
        const event = stored(
          hashes,
          tokens.slice(known * blockSize, chain.length * blockSize),
          known === 0 ? null : hex(chain[known - 1]),
        );
        timed('store', () => identity.apply(holder, model, event));
        blocks.stored += hashes.length;
      }
    }
    return { took, blocks };
  };
  run();
  await pause();
  const { took, blocks } = await profiled(values.profile, run);
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const all = [...took.match, ...took.store, ...took.remove];
  const perSecond = (all.length / sum(all)) * 1000;
  const whole = (took.match.length / sum(all)) * 1000;
  for (const [kind, list] of Object.entries(took)) {
    say(
      `  ${kind.padEnd(7)} ${String(list.length).padStart(6)} ops  mean ${us(sum(list) / list.length)}  p99 ${us(percentile(list, 0.99))}`,
    );
  }
  say(`  blocks: matched ${blocks.matched}, stored ${blocks.stored}, removed ${blocks.removed}`);
  say(`  ${Math.round(perSecond)} operations/s ${verdict(perSecond >= 30_000, '30,000')}`);
  say(
    `  ${Math.round(whole)} whole requests/s (match, store and remove of ${Math.round((blocks.matched + blocks.stored) / prompts.length)} blocks a request)`,
  );
  say(`  match p99 ${us(percentile(took.match, 0.99))} ${verdict(percentile(took.match, 0.99) < 1, '1 ms')}`);
}

async function match() {
  const index = new KvIndex();
  const identity = new KvIdentity(index);
  const ids = Array.from({ length: 100 }, (_, i) => `replica-${i}`);
  const tokens = Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 128_000);
  const chain = hashTokens({ model }, tokens, blockSize);
  for (const [i, id] of ids.entries()) {
    const blocks = Math.floor((chain.length * (i + 1)) / ids.length);
    identity.apply(
      index.holder(id),
      model,
      stored(Array.from(chain.subarray(0, blocks), hex), tokens.slice(0, blocks * blockSize), null),
    );
    // Other prompts between, so that rows do not lie as if made for this one.
    const other = tokens.map((token) => (token + i * 31 + 1) % 128_000);
    const otherChain = hashTokens({ model }, other, blockSize);
    identity.apply(
      index.holder(id),
      model,
      stored(Array.from(otherChain, hex), other.slice(0, otherChain.length * blockSize), null),
    );
  }
  for (let i = 0; i < 2000; i++) index.matchMedia(chain, ids);
  globalThis.gc?.();
  const runs = 5000;
  const took = new Float64Array(runs);
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    index.matchMedia(chain, ids);
    took[i] = performance.now() - start;
  }
  const grew = Math.max(0, process.memoryUsage().heapUsed - before) / runs;
  const p99 = percentile(took, 0.99);
  say(
    `  100k tokens over 100 replicas, ${index.size} blocks in the index: p50 ${us(percentile(took, 0.5))}  p99 ${us(p99)} ${verdict(p99 < 0.3, '0.3 ms')}`,
  );
  // The clock's own numbers are boxed; an array of the walk would be kilobytes.
  say(`  heap: ${grew.toFixed(0)} bytes a match ${verdict(grew < 256, 'none beside the clock')}`);
}

/** Chains of 250 blocks: 4,000 of them are a million blocks. */
function fill(index, identity, millions) {
  const chains = millions * 4000;
  const tokens = Array.from({ length: 250 * blockSize }, () => 0);
  for (let chain = 0; chain < chains; chain++) {
    for (let t = 0; t < tokens.length; t++) tokens[t] = (chain * 131 + t * 7) % 128_000;
    tokens[0] = chain % 128_000;
    tokens[1] = Math.floor(chain / 128_000);
    const hashes = Array.from(hashTokens({ model }, tokens, blockSize), hex);
    identity.apply(index.holder(`replica-${chain % 8}`), model, stored(hashes, tokens, null));
  }
}

async function memory() {
  const settle = async () => {
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await settle();
  const before = process.memoryUsage();
  const index = new KvIndex();
  fill(index, new KvIdentity(index), 1);
  await settle();
  const after = process.memoryUsage();
  const arrays = index.bytes / 1e6;
  const grew = (after.arrayBuffers + after.heapUsed - before.arrayBuffers - before.heapUsed) / 1e6;
  say(
    `  ${index.size} blocks on 8 replicas: arrays ${arrays.toFixed(1)} MB, heap and arrays grew by ${grew.toFixed(1)} MB ${verdict(index.size >= 999_000 && Math.max(arrays, grew) <= 100, '100 MB')}`,
  );
}

async function rebuild() {
  const index = new KvIndex();
  fill(index, new KvIdentity(index), 5);
  const chunks = [...encodeHoldings(index, index.holders(), () => ({ nextSeq: 1 }))].map((chunk) => chunk.slice());
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  const copy = new KvIndex();
  const start = performance.now();
  for (const chunk of chunks) applyHoldings(copy, chunk);
  const fromSnapshot = performance.now() - start;
  if (copy.size !== index.size || copy.holdings !== index.holdings) throw new Error('the copy differs');
  say(
    `  ${copy.size} blocks from a snapshot of ${(bytes / 1e6).toFixed(0)} MB: ${(fromSnapshot / 1000).toFixed(2)} s ${verdict(fromSnapshot < 10_000, '10 s')}`,
  );
  // From the engines' own batches, packed anew for each so that packing is not measured.
  const again = new KvIndex();
  const identity = new KvIdentity(again);
  let took = 0;
  const tokens = Array.from({ length: 250 * blockSize }, () => 0);
  for (let chain = 0; chain < 20_000; chain++) {
    for (let t = 0; t < tokens.length; t++) tokens[t] = (chain * 131 + t * 7) % 128_000;
    tokens[0] = chain % 128_000;
    const hashes = Array.from(hashTokens({ model }, tokens, blockSize), (hash) => BigInt(hash) * 2049n);
    const payload = packr.pack([
      1.5,
      [
        {
          type: 'BlockStored',
          block_hashes: hashes,
          parent_block_hash: null,
          token_ids: tokens,
          block_size: blockSize,
          lora_id: null,
          medium: 'GPU',
          lora_name: null,
          extra_keys: null,
          group_idx: 0,
          kv_cache_spec_kind: 'full_attention',
        },
      ],
      0,
    ]);
    const from = performance.now();
    const batch = decodeKvPayload(payload);
    for (const event of batch.events) identity.apply(again.holder(`replica-${chain % 8}`), model, event);
    took += performance.now() - from;
  }
  if (again.size < 4_990_000) throw new Error(`only ${again.size} blocks`);
  say(
    `  ${again.size} blocks from the engines' own batches, decoding included: ${(took / 1000).toFixed(2)} s ${verdict(took < 10_000, '10 s')}`,
  );
}

await bench(async () => {
  say(machine());
  for (const [name, part] of Object.entries({ requests, match, memory, rebuild })) {
    if (values.part !== undefined && values.part !== name) continue;
    if (values.part === undefined && name === 'rebuild') {
      say('rebuild  left out: it takes many minutes; run it with --part rebuild');
      continue;
    }
    say(name);
    await part();
  }
});
