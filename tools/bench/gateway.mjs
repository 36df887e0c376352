// The gateway's hop: CPU per proxied request, throughput with recording on and off, latency, memory, against HAProxy, a bare proxy, peers.
import { parseArgs } from 'node:util';
import {
  bench,
  cores,
  cpuSeconds,
  treeCpuSeconds,
  dist,
  machine,
  median,
  node,
  pinSelf,
  ready,
  say,
  start,
  stop,
  verdict,
} from './_common.mjs';
import { idleBytesOf, streamBytesOf } from './_memory.mjs';
import { peerNames, startPeer } from './_peers.mjs';
import { startBare, startEngines, startHaproxy, startLintel } from './_proxies.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    requests: { type: 'string', default: '6000' },
    rounds: { type: 'string', default: '17' },
    connections: { type: 'string', default: '32' },
    replicas: { type: 'string', default: '8' },
    strategy: { type: 'string', default: 'lintel' },
    peers: { type: 'string', default: '' },
    profile: { type: 'string' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- gateway [--requests 6000] [--rounds 17] [--connections 32] [--replicas 8]
                             [--strategy lintel] [--peers all|<name,name>] [--profile <folder>]

Small chat requests (430 bytes, answers of 430), not streamed, over kept connections to replicas that answer a constant at once.
Load, replicas and broker share one core, the proxy under test has the other for itself (taskset). The proxies take turns, round by round,
so that what else the machine does meets all of them; the median of the rounds counts, as do ratios within the round.
CPU is user and system time of the proxy's whole process. Lintel runs as its own process: open, without and with recording into a real
nats-server, and with recording, a key and limits of requests, tokens and concurrency. --peers adds ${peerNames.join(', ')}:
each is started if it is found on the PATH, and said to be missing if not; the slow ones get fewer requests in a round.
Memory: resident bytes that 12,000 idle connections and 1,000 running streams add. --profile writes V8 CPU profiles and takes no verdict.
`);
  process.exit(0);
}
const requests = Number(values.requests);
const rounds = Number(values.rounds);
const peers = values.peers === 'all' ? peerNames : values.peers.split(',').filter(Boolean);
const cpuRatioGoal = 0.9;
const recordingCostGoal = 0.05;
const hopMsGoal = { p50: 0.3, p99: 1 };
const hopRequests = 3_000;
const loadMsMax = 120_000;

async function load(port, connections, count, headers = '') {
  const child = start(cores.load, node, ['tools/bench/_load.mjs', port, connections, count, headers].map(String));
  const result = await ready(child, 'load', loadMsMax);
  await stop(child);
  return result;
}

await bench(async (scope) => {
  pinSelf();
  say(`${machine()}; ${cores.said}: load and replicas on one core, the proxy on the other`);
  const { ports } = await startEngines(Number(values.replicas));
  const { strategy, profile } = values;
  const haproxy = await startHaproxy(scope, ports);
  const bare = await startBare(ports);
  const off = await startLintel(scope, ports, { recording: false, strategy, name: 'off', profile });
  const on = await startLintel(scope, ports, { recording: true, strategy, name: 'on', profile });
  const limited = await startLintel(scope, ports, { strategy, keys: true, name: 'limited', profile });
  const proxies = [haproxy, bare, off, on, limited];
  for (const peer of peers) proxies.push(await startPeer(peer, scope, ports));

  const results = new Map(proxies.map((proxy) => [proxy, { cpuUs: [], perSecond: [], p99: [], errors: 0 }]));
  let firstError = '';
  let sizes;
  for (let round = 0; round <= rounds; round++) {
    // Turn by turn another one begins, so that none always follows the same one.
    const turns = proxies.map((_, index) => proxies[(index + round) % proxies.length]);
    for (const proxy of turns) {
      if (proxy.missing !== undefined) continue;
      const cpuOf = proxy.tree === true ? treeCpuSeconds : cpuSeconds;
      const count = Math.ceil(requests * (proxy.share ?? 1));
      const cpuFrom = cpuOf(proxy.pid);
      const one = await load(proxy.port, values.connections, count, proxy.headers);
      const cpuUs = ((cpuOf(proxy.pid) - cpuFrom) * 1e6) / count;
      const result = results.get(proxy);
      result.errors += round === 0 ? 0 : one.errors;
      // Limits are leased as the first requests come: a broker that is slow to start may refuse some of them.
      if (one.errors > 0 && round > 0) firstError ||= `${proxy.name}: ${one.firstError}`;
      sizes = one;
      if (round === 0) continue; // warm-up
      result.cpuUs.push(cpuUs);
      result.perSecond.push(one.perSecond);
      result.p99.push(one.p99);
    }
  }
  const bareResult = results.get(bare);
  const ratioTo = (of, other, key) => median(of[key].map((value, round) => value / other[key][round]));
  say(
    `requests of ${sizes.requestBytes} bytes, answers of ${sizes.answerBytes} with head, ${values.connections} connections, ${values.rounds} rounds of ${requests}`,
  );
  say(`${''.padEnd(34)} CPU each    × bare   requests/s   p99 ms   errors`);
  for (const proxy of proxies) {
    if (proxy.missing !== undefined) {
      say(`${proxy.name.padEnd(34)} ${proxy.missing}`);
      continue;
    }
    const result = results.get(proxy);
    const ratio = ratioTo(result, bareResult, 'cpuUs');
    const judged =
      proxy === limited && profile === undefined
        ? `  ${verdict(ratio <= cpuRatioGoal, `≤ ${cpuRatioGoal} × bare`)}`
        : '';
    say(
      `${proxy.name.padEnd(34)} ${median(result.cpuUs).toFixed(1).padStart(6)} µs   ${ratio.toFixed(2).padStart(5)}   ${Math.round(median(result.perSecond)).toString().padStart(10)}   ${median(result.p99).toFixed(1).padStart(6)}   ${String(result.errors).padStart(6)}${judged}`,
    );
  }
  const errors = [...results.values()].reduce((sum, each) => sum + each.errors, 0);
  if (errors > 0) say(`errors ${verdict(false, '0')}: ${firstError}`);
  // Of the best round of each: what else the machine does can only ever slow one down, and here a few percent are at stake.
  const cost = 1 - Math.max(...results.get(on).perSecond) / Math.max(...results.get(off).perSecond);
  const cpuCost = Math.min(...results.get(on).cpuUs) / Math.min(...results.get(off).cpuUs) - 1;
  say(
    `recording on against off    ${(cost * 100).toFixed(1)} % of throughput, ${(cpuCost * 100).toFixed(1)} % of CPU (best rounds)  ${verdict(cost < recordingCostGoal, '< 5 % of throughput')}`,
  );

  // One client: what the hop adds to a request that goes to the replica directly.
  const hops = [];
  for (let round = 0; round < rounds; round++) {
    const direct = await load(ports[0], 1, hopRequests);
    const through = await load(on.port, 1, hopRequests);
    const plain = await load(bare.port, 1, hopRequests);
    hops.push({
      p50: through.p50 - direct.p50,
      p99: through.p99 - direct.p99,
      bareP50: plain.p50 - direct.p50,
      bareP99: plain.p99 - direct.p99,
    });
  }
  const hop = Object.fromEntries(Object.keys(hops[0]).map((key) => [key, median(hops.map((each) => each[key]))]));
  say(
    `hop at one client           p50 ${hop.p50.toFixed(2)} ms, p99 ${hop.p99.toFixed(2)} ms  (bare ${hop.bareP50.toFixed(2)}, ${hop.bareP99.toFixed(2)})  ${verdict(hop.p50 <= hopMsGoal.p50 && hop.p99 <= hopMsGoal.p99, `≤ ${hopMsGoal.p50} / ${hopMsGoal.p99} ms`)}`,
  );

  const memory = [];
  for (const [name, bytesOf] of [
    ['idle', idleBytesOf],
    ['streaming', streamBytesOf],
  ]) {
    const fresh = await startLintel(scope, ports, { strategy, name });
    await load(fresh.port, values.connections, 200);
    memory.push((await bytesOf(fresh)) / 1024);
    await stop(fresh.child);
  }
  say(
    `memory                      ${memory[0].toFixed(1)} KiB for an idle connection, ${memory[1].toFixed(1)} KiB for a running stream with both its connections`,
  );

  // Every request left a record: what is measured was really done.
  const { connectNats, NatsFrameStream } = await dist('event-log-nats');
  const { route } = await dist('contracts');
  const { fromBinary } = await import('@bufbuild/protobuf');
  const link = await connectNats({ url: on.server.url, ...on.server.credentials.operator, name: 'bench' });
  scope.onEnd(() => link.close());
  await stop(on.child);
  await stop(off.child);
  await stop(limited.child);
  const frames = new NatsFrameStream(link);
  let records = 0;
  let dropped = 0;
  for await (const { bytes } of frames.read({ fromSeq: 1 })) {
    const frame = fromBinary(route.RecordFrameSchema, bytes);
    records += frame.records.filter(({ endpoint, stream }) => endpoint === '/v1/chat/completions' && !stream).length;
    dropped += frame.dropped;
  }
  await frames.close();
  const sent = requests * (rounds + 1) + hopRequests * rounds;
  say(
    `records of Lintel, on       ${records} for ${sent} requests, ${dropped} dropped  ${verdict(records + dropped === sent && dropped === 0, 'all, none dropped')}`,
  );
});
