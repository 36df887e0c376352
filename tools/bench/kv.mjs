// The KV index: requests on one core, long matches over 100 replicas, memory, rebuild. `npm run build` first.
import process from 'node:process';
import { parseArgs } from 'node:util';
import { bench, dist, machine, percentile, say, verdict } from './_common.mjs';
import {
  applyHoldings,
  blockSize,
  cpuMs,
  encodeHoldings,
  hashTokens,
  KvIdentity,
  KvIndex,
  model,
  stored,
  us,
  wordsOf,
} from './_kv-common.mjs';
import * as requestsPart from './_kv-requests.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    profile: { type: 'string' },
    part: { type: 'string' },
  },
});
if (values.help) {
  say(`npm run bench -- kv [--part requests|match|memory|rebuild] [--profile FILE]

${requestsPart.help}
match     A prompt of 100k tokens (6,250 blocks), held in parts by 100 replicas; allocation is what the heap grew by.
memory    A million blocks on 8 replicas: resident memory of the process and the arrays, per million.
rebuild   Five million blocks from the snapshot's events, and from the engines' own msgpack batches, by CPU time.`);
  process.exit(0);
}

const { decodeKvPayload } = await dist('engines');
const { Packr } = await import('msgpackr');
const packr = new Packr({ useRecords: false, variableMapSize: true });

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
  const parts = { requests: () => requestsPart.requests(values), match, memory, rebuild };
  for (const [name, part] of Object.entries(parts)) {
    if (values.part !== undefined && values.part !== name) continue;
    say(name);
    await part();
  }
});
