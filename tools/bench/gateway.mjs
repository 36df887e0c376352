// The gateway's hop: CPU per proxied request, throughput with recording on and off, latency, against HAProxy and a bare proxy.
import { parseArgs } from 'node:util';
import {
  bench,
  cores,
  cpuSeconds,
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
import { startBare, startEngines, startHaproxy, startLintel } from './_proxies.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    requests: { type: 'string', default: '6000' },
    rounds: { type: 'string', default: '17' },
    connections: { type: 'string', default: '32' },
    strategy: { type: 'string', default: 'prefix-cache' },
    profile: { type: 'string' },
  },
});
if (values.help) {
  process.stdout
    .write(`npm run bench -- gateway [--requests 6000] [--rounds 17] [--connections 32] [--strategy prefix-cache]
                             [--profile <folder>]

Small chat requests (430 bytes, answers of 430), not streamed, over kept connections to three replicas that answer a constant at once.
Load, replicas and broker share one core, the proxy under test has the other for itself (taskset). The proxies take turns, round by round,
so that what else the machine does meets all of them; the median of the rounds counts, as do ratios within the round.
CPU is user and system time of the proxy's whole process. Lintel runs as its own process (open, no keys), with its default strategy,
once with recording into a real nats-server and once without. --profile writes V8 CPU profiles of both and takes no verdict.
`);
  process.exit(0);
}
const requests = Number(values.requests);
const rounds = Number(values.rounds);
const cpuRatioGoal = 1.3;
const recordingCostGoal = 0.05;
const hopMsGoal = { p50: 0.4, p99: 1.5 };
const hopRequests = 3_000;
const loadMsMax = 120_000;

async function load(port, connections, count) {
  const child = start(cores.load, node, ['tools/bench/_load.mjs', port, connections, count].map(String));
  const result = await ready(child, 'load', loadMsMax);
  await stop(child);
  return result;
}

await bench(async (scope) => {
  pinSelf();
  say(`${machine()}; ${cores.said}: load and replicas on one core, the proxy on the other`);
  const { ports } = await startEngines(3);
  const { strategy, profile } = values;
  const haproxy = await startHaproxy(scope, ports);
  const bare = await startBare(ports);
  const off = await startLintel(scope, ports, { recording: false, strategy, name: 'off', profile });
  const on = await startLintel(scope, ports, { recording: true, strategy, name: 'on', profile });
  const proxies = [haproxy, bare, off, on];

  const results = new Map(proxies.map((proxy) => [proxy, { cpuUs: [], perSecond: [], errors: 0 }]));
  let firstError = '';
  let sizes;
  for (let round = 0; round <= rounds; round++) {
    // Turn by turn another one begins, so that none always follows the same one.
    const turns = proxies.map((_, index) => proxies[(index + round) % proxies.length]);
    for (const proxy of turns) {
      if (proxy.missing !== undefined) continue;
      const cpuFrom = cpuSeconds(proxy.pid);
      const one = await load(proxy.port, values.connections, requests);
      const cpuUs = ((cpuSeconds(proxy.pid) - cpuFrom) * 1e6) / requests;
      const result = results.get(proxy);
      result.errors += one.errors;
      if (one.errors > 0) firstError ||= `${proxy.name}: ${one.firstError}`;
      sizes = one;
      if (round === 0) continue; // warm-up
      result.cpuUs.push(cpuUs);
      result.perSecond.push(one.perSecond);
    }
  }
  const bareResult = results.get(bare);
  const ratioTo = (of, other, key) => median(of[key].map((value, round) => value / other[key][round]));
  say(
    `requests of ${sizes.requestBytes} bytes, answers of ${sizes.answerBytes} with head, ${values.connections} connections, ${values.rounds} rounds of ${requests}`,
  );
  say(`${''.padEnd(26)} CPU each    × bare   requests/s   errors`);
  for (const proxy of proxies) {
    if (proxy.missing !== undefined) {
      say(`${proxy.name.padEnd(26)} ${proxy.missing}`);
      continue;
    }
    const result = results.get(proxy);
    const ratio = ratioTo(result, bareResult, 'cpuUs');
    const judged =
      proxy === on && profile === undefined ? `  ${verdict(ratio <= cpuRatioGoal, `≤ ${cpuRatioGoal} × bare`)}` : '';
    say(
      `${proxy.name.padEnd(26)} ${median(result.cpuUs).toFixed(1).padStart(6)} µs   ${ratio.toFixed(2).padStart(5)}   ${Math.round(median(result.perSecond)).toString().padStart(10)}   ${String(result.errors).padStart(6)}${judged}`,
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

  // Every request left a record: what is measured was really done.
  const { connectNats, NatsFrameStream } = await dist('event-log-nats');
  const { route } = await dist('contracts');
  const { fromBinary } = await import('@bufbuild/protobuf');
  const link = await connectNats({ url: on.server.url, ...on.server.credentials.operator, name: 'bench' });
  scope.onEnd(() => link.close());
  await stop(on.child);
  await stop(off.child);
  const frames = new NatsFrameStream(link);
  let records = 0;
  let dropped = 0;
  for await (const { bytes } of frames.read({ fromSeq: 1 })) {
    const frame = fromBinary(route.RecordFrameSchema, bytes);
    records += frame.records.filter(({ endpoint }) => endpoint === '/v1/chat/completions').length;
    dropped += frame.dropped;
  }
  await frames.close();
  const sent = requests * (rounds + 1) + hopRequests * rounds;
  say(
    `records of Lintel, on       ${records} for ${sent} requests, ${dropped} dropped  ${verdict(records + dropped === sent && dropped === 0, 'all, none dropped')}`,
  );
});
