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
          store and remove counts as Dynamo's bench counts: a match of a prompt, an event of an engine. Operations a second are of
          the process's CPU time, collecting garbage included; what each took is by the clock.
match     A prompt of 100k tokens (6,250 blocks), held in parts by 100 replicas; allocation is what the heap grew by.
memory    A million blocks on 8 replicas: resident memory of the process and the arrays, per million.
rebuild   Five million blocks from the snapshot's events, and from the engines' own msgpack batches, by CPU time.`);
  process.exit(0);
}

const { KvIndex, KvIdentity, hashTokens, encodeHoldings, applyHoldings } = await dist('prefix-index');
const { decodeKvPayload } = await dist('engines');
const { Packr } = await import('msgpackr');
const packr = new Packr({ useRecords: false, variableMapSize: true });

const model = 'bench';
const blockSize = 16;
/** Local hashes as an engine's own: two words each. */
function wordsOf(hashes) {
  const words = new Uint32Array(hashes.length * 2);
  for (let i = 0; i < hashes.length; i++) {
    words[i * 2] = hashes[i];
    words[i * 2 + 1] = hashes[i] / 4294967296;
  }
  return words;
}
/** Of this process, in milliseconds. */
function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
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
const removed = (hashes) => ({ type: 'BlockRemoved', blockHashes: hashes, medium: 'GPU', groupIdx: 0 });
const pause = () => new Promise((resolve) => setImmediate(resolve));
const us = (ms) => `${(ms * 1000).toFixed(0)} µs`;

/** An engine's cache as far as its events show it: blocks in the order of use, a chain's tail going first. */
class Engine {
  held = new Map();
  constructor(blocksMax) {
    this.blocksMax = blocksMax;
  }

  known(chain) {
    let known = 0;
    while (known < chain.length && this.held.has(chain[known])) known++;
    return known;
  }

  /** What it evicts for a prompt of these blocks. */
  serve(chain) {
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
    return evicted;
  }
}

/** Of each request, the ids of its blocks of 512 tokens and the number of its tokens. */
function traceRequests() {
  const text = readFileSync(join(root, 'libs/fleet-sim/traces/mooncake-conversation.csv'), 'utf8');
  return text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => {
      const [, promptTokens, , runs] = line.split(',');
      const ids = [];
      for (const run of runs.split(' ')) {
        const [from, to = from] = run.split('-').map(Number);
        for (let id = from; id <= to; id++) ids.push(id);
      }
      return { ids, length: Math.min(ids.length * 512, Number(promptTokens)) };
    });
}

function tokensOf({ ids, length }) {
  const tokens = new Uint32Array(length);
  for (let t = 0; t < length; t++) tokens[t] = (Math.imul(ids[t >> 9] * 512 + (t & 511), 0x9e3779b1) >>> 15) % 128_000;
  return tokens;
}

/** An index that has seen nothing, the engines that it follows, and what they would say of some requests more. */
function world(replicas) {
  const index = new KvIndex();
  const identity = new KvIdentity(index);
  for (const id of replicas) identity.apply(index.holder(id), model, { type: 'AllBlocksCleared' });
  const engines = replicas.map(() => new Engine(40_000));
  const plan = (some, firstRequest) =>
    some.map((request, i) => {
      const tokens = tokensOf(request);
      const chain = hashTokens({ model }, tokens, blockSize);
      // Which engine has the most is the engines' to say here, and is held against the index's word.
      let best = (firstRequest + i) % replicas.length;
      const depths = engines.map((engine) => engine.known(chain));
      for (let r = 0; r < replicas.length; r++) if (depths[r] > depths[best]) best = r;
      const known = depths[best];
      const evicted = engines[best].serve(chain);
      const fresh = chain.length - known;
      return {
        chain,
        best,
        known,
        removed: evicted.length === 0 ? undefined : removed(wordsOf(evicted)),
        stored:
          fresh === 0
            ? undefined
            : stored(
                wordsOf(chain.subarray(known)),
                tokens.subarray(known * blockSize, chain.length * blockSize),
                known === 0 ? null : wordsOf(chain.subarray(known - 1, known)),
              ),
      };
    });
  return { index, identity, plan };
}

async function requests() {
  const replicas = Array.from({ length: 8 }, (_, i) => `replica-${i}`);
  const trace = traceRequests();
  const took = { match: [], remove: [], store: [] };
  const blocks = { matched: 0, stored: 0, removed: 0 };
  let cpu = 0;
  const run = (requestsMax) => {
    for (const list of Object.values(took)) list.length = 0;
    for (const kind of Object.keys(blocks)) blocks[kind] = 0;
    cpu = 0;
    const { index, identity, plan } = world(replicas);
    const holders = replicas.map((id) => index.holder(id));
    // By parts, since all events together are a gigabyte; what makes them is not counted.
    const part = 250;
    for (let first = 0; first < requestsMax; first += part) {
      const planned = plan(trace.slice(first, first + part), first);
      const from = cpuMs();
      for (let i = 0; i < planned.length; i++) {
        const { chain, best, known, removed, stored } = planned[i];
        let start = performance.now();
        const depth = index.matchMedia(chain, replicas).device[best];
        let end = performance.now();
        took.match.push(end - start);
        if (depth !== known) throw new Error(`request ${first + i}: matched ${depth}, the engine has ${known}`);
        blocks.matched += known;
        start = end;
        if (removed !== undefined) {
          identity.apply(holders[best], model, removed);
          end = performance.now();
          took.remove.push(end - start);
          blocks.removed += removed.blockHashes.length / 2;
          start = end;
        }
        if (stored !== undefined) {
          identity.apply(holders[best], model, stored);
          end = performance.now();
          took.store.push(end - start);
          blocks.stored += stored.blockHashes.length / 2;
        }
      }
      cpu += cpuMs() - from;
    }
  };
  run(2000);
  await pause();
  await profiled(values.profile, () => run(trace.length));
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const all = took.match.length + took.store.length + took.remove.length;
  const perSecond = (all / cpu) * 1000;
  for (const [kind, list] of Object.entries(took)) {
    say(
      `  ${kind.padEnd(7)} ${String(list.length).padStart(6)} ops  mean ${us(sum(list) / list.length)}  p50 ${us(percentile(list, 0.5))}  p99 ${us(percentile(list, 0.99))}`,
    );
  }
  const changes = blocks.stored + blocks.removed;
  say(
    `  blocks: matched ${blocks.matched}, stored ${blocks.stored}, removed ${blocks.removed}: ${((cpu * 1e6) / changes).toFixed(0)} ns of CPU for each stored or removed`,
  );
  say(`  ${Math.round(perSecond)} operations/s ${verdict(perSecond >= 30_000, '30,000')}`);
  say(
    `  ${Math.round((took.match.length / cpu) * 1000)} whole requests/s (match, store and remove of ${Math.round(changes / took.match.length)} blocks changed a request)`,
  );
  say(`  match p99 ${us(percentile(took.match, 0.99))} ${verdict(percentile(took.match, 0.99) < 1, '1 ms')}`);
}

async function match() {
  const index = new KvIndex();
  const identity = new KvIdentity(index);
  const ids = Array.from({ length: 100 }, (_, i) => `replica-${i}`);
  const tokens = Uint32Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 128_000);
  const chain = hashTokens({ model }, tokens, blockSize);
  for (const [i, id] of ids.entries()) {
    const blocks = Math.floor((chain.length * (i + 1)) / ids.length);
    identity.apply(
      index.holder(id),
      model,
      stored(wordsOf(chain.subarray(0, blocks)), tokens.subarray(0, blocks * blockSize), null),
    );
    // Other prompts between, so that rows do not lie as if made for this one.
    const other = tokens.map((token) => (token + i * 31 + 1) % 128_000);
    const otherChain = hashTokens({ model }, other, blockSize);
    identity.apply(
      index.holder(id),
      model,
      stored(wordsOf(otherChain), other.subarray(0, otherChain.length * blockSize), null),
    );
  }
  for (let i = 0; i < 2000; i++) index.matchMedia(chain, ids);
  globalThis.gc?.();
  const runs = 5000;
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < runs; i++) index.matchMedia(chain, ids);
  const grew = Math.max(0, process.memoryUsage().heapUsed - before) / runs;
  const took = new Float64Array(runs);
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    index.matchMedia(chain, ids);
    took[i] = performance.now() - start;
  }
  const p99 = percentile(took, 0.99);
  say(
    `  100k tokens over 100 replicas, ${index.size} blocks in the index: p50 ${us(percentile(took, 0.5))}  p99 ${us(p99)} ${verdict(p99 < 0.3, '0.3 ms')}`,
  );
  // Asking for the heap costs some itself; an array of the walk would be kilobytes.
  say(`  heap: ${grew.toFixed(0)} bytes a match ${verdict(grew < 16, 'none')}`);
}

/** Chains of 250 blocks: 4,000 of them are a million blocks. */
function* chains(millions) {
  const tokens = new Uint32Array(250 * blockSize);
  const hashes = new Float64Array(250);
  for (let chain = 0; chain < millions * 4000; chain++) {
    for (let t = 0; t < tokens.length; t++) tokens[t] = (chain * 131 + t * 7) % 128_000;
    tokens[0] = chain % 128_000;
    hashTokens({ model }, tokens, blockSize, undefined, hashes);
    yield { replica: `replica-${chain % 8}`, tokens, words: wordsOf(hashes) };
  }
}

function fill(index, identity, millions) {
  for (const { replica, tokens, words } of chains(millions)) {
    identity.apply(index.holder(replica), model, stored(words, tokens, null));
  }
}

/** A batch as vLLM packs it: hashes of 64 bits, tokens as short as they are. */
function packedBatch(words, tokens) {
  const out = Buffer.allocUnsafe(1024 + words.length * 5 + tokens.length * 5);
  let at = 0;
  const value = (of) => {
    const bytes = packr.pack(of);
    at += bytes.copy(out, at);
  };
  const list = (length) => {
    out[at] = 0xdd;
    out.writeUInt32BE(length, at + 1);
    at += 5;
  };
  list(3);
  value(1.5);
  list(1);
  const fields = {
    block_size: blockSize,
    lora_id: null,
    medium: 'GPU',
    lora_name: null,
    extra_keys: null,
    group_idx: 0,
    kv_cache_spec_kind: 'full_attention',
  };
  out[at++] = 0x80 | (4 + Object.keys(fields).length);
  value('type');
  value('BlockStored');
  value('block_hashes');
  list(words.length / 2);
  for (let i = 0; i < words.length; i += 2) {
    out[at] = 0xcf;
    out.writeUInt32BE(words[i + 1], at + 1);
    out.writeUInt32BE(words[i], at + 5);
    at += 9;
  }
  value('parent_block_hash');
  value(null);
  value('token_ids');
  list(tokens.length);
  for (const token of tokens) {
    if (token < 128) out[at++] = token;
    else if (token < 65_536) {
      out[at] = 0xcd;
      out.writeUInt16BE(token, at + 1);
      at += 3;
    } else {
      out[at] = 0xce;
      out.writeUInt32BE(token, at + 1);
      at += 5;
    }
  }
  for (const [name, of] of Object.entries(fields)) {
    value(name);
    value(of);
  }
  value(0);
  return out.subarray(0, at);
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
  let from = cpuMs();
  for (const chunk of chunks) applyHoldings(copy, chunk);
  const fromSnapshot = cpuMs() - from;
  if (copy.size !== index.size || copy.holdings !== index.holdings) throw new Error('the copy differs');
  say(
    `  ${copy.size} blocks from a snapshot of ${(bytes / 1e6).toFixed(0)} MB: ${(fromSnapshot / 1000).toFixed(2)} s ${verdict(fromSnapshot < 10_000, '10 s')}`,
  );
  // Packed some at a time, which is not measured.
  const again = new KvIndex();
  const identity = new KvIdentity(again);
  let took = 0;
  let waiting = [];
  const work = () => {
    from = cpuMs();
    for (const { replica, payload } of waiting) {
      const batch = decodeKvPayload(payload);
      for (const event of batch.events) identity.apply(again.holder(replica), model, event);
    }
    took += cpuMs() - from;
    waiting = [];
  };
  for (const { replica, tokens, words } of chains(5)) {
    waiting.push({ replica, payload: packedBatch(words, tokens) });
    if (waiting.length === 500) work();
  }
  work();
  if (again.size !== index.size || again.holdings !== index.holdings) throw new Error(`${again.size} blocks`);
  say(
    `  ${again.size} blocks from the engines' own batches, decoding included: ${(took / 1000).toFixed(2)} s ${verdict(took < 10_000, '10 s')}`,
  );
}

await bench(async () => {
  say(machine());
  for (const [name, part] of Object.entries({ requests, match, memory, rebuild })) {
    if (values.part !== undefined && values.part !== name) continue;
    say(name);
    await part();
  }
});
