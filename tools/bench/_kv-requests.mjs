// Requests of a public trace against the index, counted in three ways.
import { percentile, profiled, say, verdict } from './_common.mjs';
import {
  blockSize,
  cpuMs,
  hashTokens,
  KvIdentity,
  KvIndex,
  model,
  removed,
  stored,
  traceRequests,
  us,
  wordsOf,
} from './_kv-common.mjs';

export const help = `requests  The Mooncake conversation trace (12,031 requests) over 8 replicas, each request on one of them by chance, as Dynamo's bench
          has it. Of each: match its prompt over all replicas, remove what the engine evicts for it, store its new blocks, by events
          with hashes and tokens. An operation is a match or an event. Three ways of counting:
            together   blocks of 16 tokens, 40,000 on each replica; one event removes all that a request evicts, one stores all that
                       it adds, and what it generates is left out: the fewest and heaviest operations.
            apart      the same, each evicted and each generated block an event of its own, as vLLM tells them and as Dynamo's mock
                       engine does: most operations are of one block.
            trace ids  as apart, with one block for each block of the trace (512 tokens), 16,384 on each replica and output blocks of
                       128 tokens: the size at which Dynamo's 11,000 to 30,000 operations a second were taken.
          Unlike Dynamo's bench: one core, where it has 8 threads for events and as many callers as cores; 8 replicas, where it has
          1,000 and more, so that here is evicted and there hardly; hashes of tokens are made here, and come with the events there;
          what took how long is of the process's CPU time, collecting garbage included, and not of the clock.`;

const replicaIds = Array.from({ length: 8 }, (_, i) => `replica-${i}`);
const pause = () => new Promise((resolve) => setImmediate(resolve));

const ways = {
  together: { blocksMax: 40_000, blockTokens: 512 / 32, apart: false, outputBlockTokens: undefined },
  apart: { blocksMax: 40_000, blockTokens: 512 / 32, apart: true, outputBlockTokens: blockSize },
  'trace ids': { blocksMax: 16_384, blockTokens: 512, apart: true, outputBlockTokens: 128 },
};

/** An engine's cache as far as its events show it: blocks in the order of use, a chain's tail going first. */
class Engine {
  held = new Map();
  constructor(blocksMax) {
    this.blocksMax = blocksMax;
  }

  known(chain, blocks) {
    let known = 0;
    while (known < blocks && this.held.has(chain[known])) known++;
    return known;
  }

  /** What it evicts for these blocks. */
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

/** Tokens of prompt and output, in blocks of 16 whatever they stand for, and how many blocks the prompt has. */
function tokensOf({ ids, length, outputTokens }, at, { blockTokens, outputBlockTokens }) {
  const promptTokens = blockTokens === blockSize ? length : ids.length * blockSize;
  const generated = outputBlockTokens === undefined ? 0 : Math.floor(outputTokens / outputBlockTokens) * blockSize;
  const tokens = new Uint32Array(promptTokens + generated);
  for (let t = 0; t < promptTokens; t++) {
    const place = blockTokens === blockSize ? ids[t >> 9] * 512 + (t & 511) : ids[t >> 4] * blockSize + (t & 15);
    tokens[t] = (Math.imul(place, 0x9e3779b1) >>> 15) % 128_000;
  }
  for (let t = promptTokens; t < tokens.length; t++) tokens[t] = Math.imul(at * 4099 + t, 0x85ebca77) >>> 15;
  return { tokens, promptBlocks: Math.floor(promptTokens / blockSize) };
}

/** What the engines would say of some requests. */
function planned(requests, firstRequest, engines, way) {
  return requests.map((request, i) => {
    const { tokens, promptBlocks } = tokensOf(request, firstRequest + i, way);
    const chain = hashTokens({ model }, tokens, blockSize);
    const at = (Math.imul(firstRequest + i + 1, 0x9e3779b1) >>> 13) % engines.length;
    const known = engines[at].known(chain, promptBlocks);
    const evicted = engines[at].serve(chain);
    const parentOf = (block) => (block === 0 ? null : wordsOf(chain.subarray(block - 1, block)));
    const store = (from, to) =>
      stored(wordsOf(chain.subarray(from, to)), tokens.subarray(from * blockSize, to * blockSize), parentOf(from));
    const stores = known < promptBlocks ? [store(known, promptBlocks)] : [];
    for (let block = promptBlocks; block < chain.length; block++) stores.push(store(block, block + 1));
    let removals = [];
    if (way.apart) removals = evicted.map((hash) => removed(wordsOf([hash])));
    else if (evicted.length > 0) removals = [removed(wordsOf(evicted))];
    const counts = { matched: known, stored: chain.length - Math.max(known, 0), removed: evicted.length };
    return { prompt: chain.subarray(0, promptBlocks), at, known, removals, stores, counts };
  });
}

/** Runs the trace's first requests; what makes the events is not counted. */
function run(trace, way) {
  const index = new KvIndex();
  const identity = new KvIdentity(index);
  const holders = replicaIds.map((id) => index.holder(id));
  for (const holder of holders) identity.apply(holder, model, { type: 'AllBlocksCleared' });
  const engines = replicaIds.map(() => new Engine(way.blocksMax));
  const took = { match: [], remove: [], store: [] };
  const blocks = { matched: 0, stored: 0, removed: 0 };
  let [cpu, events] = [0, 0];
  // By parts, since all events together are a gigabyte.
  const part = 250;
  for (let first = 0; first < trace.length; first += part) {
    const requests = planned(trace.slice(first, first + part), first, engines, way);
    const from = cpuMs();
    for (let i = 0; i < requests.length; i++) {
      const { prompt, at, known, removals, stores } = requests[i];
      let start = performance.now();
      const depth = index.matchMedia(prompt, replicaIds).device[at];
      let end = performance.now();
      took.match.push(end - start);
      if (depth !== known) throw new Error(`request ${first + i}: matched ${depth}, the engine has ${known}`);
      start = end;
      if (removals.length > 0) {
        identity.applyAll(holders[at], model, removals);
        end = performance.now();
        took.remove.push(end - start);
        start = end;
      }
      if (stores.length > 0) {
        identity.applyAll(holders[at], model, stores);
        end = performance.now();
        took.store.push(end - start);
      }
    }
    cpu += cpuMs() - from;
    for (const { removals, stores, counts } of requests) {
      events += removals.length + stores.length;
      for (const kind of Object.keys(blocks)) blocks[kind] += counts[kind];
    }
  }
  return { took, blocks, cpu, events };
}

export async function requests({ profile }) {
  const trace = traceRequests();
  for (const [name, way] of Object.entries(ways)) {
    run(trace.slice(0, 2000), way);
    await pause();
    const profileOf = name === 'together' ? profile : undefined;
    let result;
    await profiled(profileOf, () => (result = run(trace, way)));
    const { took, blocks, cpu, events } = result;
    const perSecond = ((trace.length + events) / cpu) * 1000;
    const changes = blocks.stored + blocks.removed;
    const goal = name === 'apart' ? '' : ` ${verdict(perSecond >= 30_000, '30,000')}`;
    say(
      `  ${name}: ${Math.round(perSecond)} operations/s${goal}, ${Math.round((trace.length / cpu) * 1000)} requests/s`,
    );
    const each = Object.entries(took)
      .map(([kind, list]) => `${kind} p50 ${us(percentile(list, 0.5))} p99 ${us(percentile(list, 0.99))}`)
      .join(', ');
    say(`    of a request: ${each} ${verdict(percentile(took.match, 0.99) < 1, '1 ms of match')}`);
    say(
      `    ${events} events; blocks: matched ${blocks.matched}, stored ${blocks.stored}, removed ${blocks.removed}: ${((cpu * 1e6) / changes).toFixed(0)} ns of CPU for each stored or removed, all in`,
    );
  }
}
