// SSE streams at 20 tokens/s through the gateway on one core: how many at once without a stall over 100 ms, against the bare proxy.
import { parseArgs } from 'node:util';
import { bench, cores, cpuSeconds, machine, node, pinSelf, ready, say, start, stop, verdict } from './_common.mjs';
import { startBare, startEngines, startLintel } from './_proxies.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    streams: { type: 'string', default: '1000,2000,4000' },
    seconds: { type: 'string', default: '10' },
    profile: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});
if (values.help) {
  process.stdout
    .write(`npm run bench -- streams [--streams 1000,2000,4000] [--seconds 10] [--only direct|bare|lintel] [--profile <folder>]

Each stream is a chat request whose answer comes as one chunk every 50 ms for the given seconds. Streams are opened evenly over two
seconds, so that their chunks do not fall together. Each chunk carries the time at which it was due: the client says how late it
came. A stream has stalled when any of its chunks came more than 100 ms late. Replicas, clients and broker share one core and the proxy has the other;
what goes without a proxy ("direct") shows what that core alone does to the numbers. Recording is on.
`);
  process.exit(0);
}
const goal = 4_000;
const paceMs = 50;
const openMs = 2_000;

await bench(async (scope) => {
  pinSelf();
  const tokens = Math.round((Number(values.seconds) * 1000) / paceMs);
  say(`${machine()}; ${cores.said}: clients and replicas on one core, the proxy on the other`);
  const { ports } = await startEngines(1, String(tokens), String(paceMs));
  const targets = [];
  const wants = (name) => values.only === '' || values.only === name;
  if (wants('direct')) targets.push({ name: 'direct', port: ports[0] });
  if (wants('bare')) targets.push(await startBare(ports));
  let lintel;
  if (wants('lintel')) {
    lintel = await startLintel(scope, ports, { strategy: 'least-request', profile: values.profile });
    targets.push(lintel);
  }
  say(
    `${'streams at once'.padEnd(30)}  stalled  broken   late p50     p99   p99.9     max   CPU of the proxy per chunk, share of its core`,
  );
  let reached = 0;
  let undecided = false;
  for (const streams of values.streams.split(',').map(Number)) {
    let machineKeepsUp = true;
    for (const target of targets) {
      const cpuFrom = target.pid === undefined ? 0 : cpuSeconds(target.pid);
      const fromMs = performance.now();
      const args = ['tools/bench/_stream-load.mjs', target.port, streams, tokens, openMs].map(String);
      const child = start(cores.load, node, args);
      const one = await ready(child, 'streams', (Number(values.seconds) * 6 + 60) * 1000);
      await stop(child);
      const cpu = target.pid === undefined ? 0 : cpuSeconds(target.pid) - cpuFrom;
      const share = Math.round((cpu / (performance.now() - fromMs)) * 100_000);
      const cost =
        target.pid === undefined ? '' : `${((cpu * 1e6) / one.chunks).toFixed(1).padStart(5)} µs   ${share} %`;
      const ms = (value) => value.toFixed(1).padStart(7);
      say(
        `${String(streams).padStart(5)} ${target.name.padEnd(24)} ${String(one.stalled).padStart(8)} ${String(one.broken).padStart(7)}   ${ms(one.p50)} ${ms(one.p99)} ${ms(one.p999)} ${ms(one.max)}   ${cost}${one.broken > 0 ? `  ${one.firstError}` : ''}`,
      );
      if (target.name === 'direct' && one.stalled > 0) machineKeepsUp = false;
      if (target !== lintel) continue;
      if (one.stalled === 0 && one.broken === 0 && one.whole === streams) reached = Math.max(reached, streams);
      else if (!machineKeepsUp) undecided = true;
    }
  }
  if (lintel !== undefined && undecided && reached < goal) {
    say(
      `Lintel without a stall: ${reached} (goal ≥ ${goal}: UNDECIDED, without a proxy streams stall here, too: the machine is busy)`,
    );
  } else if (lintel !== undefined) say(`Lintel without a stall: ${reached}  ${verdict(reached >= goal, `≥ ${goal}`)}`);
  if (lintel !== undefined) await stop(lintel.child);
});
