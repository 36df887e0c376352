// A replica killed with kill -9 under a steady rate of requests: what clients see of it, and what their first bytes take longer.
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { parseArgs } from 'node:util';
import {
  bench,
  machine,
  node,
  percentile,
  pinSelf,
  ready,
  say,
  sleep,
  start,
  until,
  verdict,
  cores,
} from './_common.mjs';
import { startEngines, startLintel } from './_proxies.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '8' },
    kills: { type: 'string', default: '3' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- failover [--rate 200] [--seconds 8] [--kills 3]

The gateway's own process, with a key, limits and recording, \`lintel\` over three replicas that are processes of their own. Requests come at a steady
rate, whether answered or not, half of them whole and half streams of one second. After --seconds one replica is killed with kill -9, after --seconds more it is
started again on its port; then the next one. Each time to the first byte is counted to the seconds before a kill or to those after it.

To reach: no request fails before its first byte, the p99 after a kill is less than a second above the one before, in the same run, and a
replica that is back is ready again. Streams that the killed replica had begun end with an error event, and none is cut in silence.
`);
  process.exit(0);
}
const [rate, seconds, kills] = [values.rate, values.seconds, values.kills].map(Number);
if (!(rate > 0 && seconds > 0 && kills > 0)) throw new Error('--rate, --seconds and --kills are numbers above 0');
const replicas = 3;
const tokensOfStream = '20';
const paceMs = '50';
const addedMsMax = 1_000;
const tickMs = 5;
const endMsMax = 20_000;

/** Requests at a steady rate; `ended` tells each in the order of their ends. */
function startRequests(port) {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 256 });
  const fromMs = performance.now();
  const state = { ended: [], open: 0, sent: 0 };
  const ask = (stream) => {
    const body = JSON.stringify({
      model: 'tiny-model',
      stream,
      max_tokens: 64,
      messages: [{ role: 'user', content: `Request ${state.sent} asks for a calm sea.` }],
    });
    const one = { stream, sentMs: performance.now(), firstByteMs: Number.NaN, ok: false, text: '' };
    state.open++;
    let over = false;
    const end = (why) => {
      if (over) return;
      over = true;
      state.open--;
      one.ok = why === undefined;
      one.why = why;
      state.ended.push(one);
    };
    const headers = {
      'content-type': 'application/json',
      authorization: 'Bearer bench',
      'content-length': Buffer.byteLength(body),
    };
    const asked = request(
      { port, host: '127.0.0.1', method: 'POST', path: '/v1/chat/completions', agent, headers },
      (answer) => {
        answer.on('data', (chunk) => {
          if (Number.isNaN(one.firstByteMs)) one.firstByteMs = performance.now() - one.sentMs;
          one.text = (one.text + chunk.latin1Slice()).slice(-512);
        });
        answer.on('end', () => {
          const whole = stream ? one.text.includes('data: [DONE]') : one.text.includes('"usage"');
          end(answer.statusCode === 200 && whole ? undefined : `status ${answer.statusCode}: ${one.text}`);
        });
        answer.on('close', () => end('cut in silence'));
        answer.on('error', () => {});
      },
    );
    asked.on('error', (error) => end(error.message));
    asked.end(body);
  };
  const ticking = setInterval(() => {
    const due = Math.floor(((performance.now() - fromMs) * rate) / 1_000);
    while (state.sent < due) ask(state.sent++ % 2 === 1);
  }, tickMs);
  state.stop = async () => {
    clearInterval(ticking);
    await until('all requests at their end', () => state.open === 0, endMsMax);
    agent.destroy();
  };
  return state;
}

/** Failed, and its client had no answer yet: a refusal, a broken connection. */
const failedBefore = ({ ok, why, firstByteMs }) => !ok && (Number.isNaN(firstByteMs) || /^status (?!200)/.test(why));

await bench(async (scope) => {
  pinSelf();
  say(`${machine()}; ${replicas} replicas, ${rate} requests/s, ${kills} kills`);
  const { ports, children } = await startEngines(replicas, tokensOfStream, paceMs);
  const gateway = await startLintel(scope, ports, { strategy: 'lintel', name: 'failover', keys: true });
  const load = startRequests(gateway.port);
  const ready200 = async (count) => {
    const text = await (await fetch(`http://127.0.0.1:${gateway.port}/ready`)).json();
    return text.dependencies.replicas.detail.startsWith(`${count} of`);
  };
  // Leases, latency models and connections are cold at first.
  await sleep(5_000);
  const times = { before: [], after: [] };
  const span = async (into) => {
    const from = load.ended.length;
    await sleep(seconds * 1_000);
    into.push(...load.ended.slice(from));
  };
  const cold = load.ended.length;
  for (let kill = 0; kill < kills; kill++) {
    await span(times.before);
    const at = kill % replicas;
    const gone = once(children[at], 'exit');
    children[at].kill('SIGKILL');
    await gone;
    await span(times.after);
    children[at] = start(cores.load, node, [
      'tools/bench/_instant-engine.mjs',
      String(ports[at]),
      tokensOfStream,
      paceMs,
    ]);
    await ready(children[at], 'engine');
    await until('the replica ready again', () => ready200(replicas), endMsMax);
  }
  await load.stop();

  const ended = load.ended.slice(cold);
  const failed = ended.filter(failedBefore);
  const broken = ended.filter((one) => !one.ok && !failedBefore(one));
  const silent = broken.filter(({ text }) => !text.includes('"error"'));
  const p99 = (list) =>
    percentile(
      list.map(({ firstByteMs }) => firstByteMs).filter((ms) => ms >= 0),
      0.99,
    );
  const p50 = (list) =>
    percentile(
      list.map(({ firstByteMs }) => firstByteMs).filter((ms) => ms >= 0),
      0.5,
    );
  const [before, after] = [p99(times.before), p99(times.after)];
  const most = Math.max(...times.after.map(({ firstByteMs }) => firstByteMs).filter((ms) => ms >= 0));
  say(
    `failed before the first byte   ${failed.length} of ${ended.length}  ${verdict(failed.length === 0, '0')} ${failed[0]?.why ?? ''}`,
  );
  say(
    `streams that had begun         ${broken.length} ended with an error, ${silent.length} in silence  ${verdict(silent.length === 0, '0 in silence')}`,
  );
  say(
    `first byte                     p50 ${p50(times.before).toFixed(1)} -> ${p50(times.after).toFixed(1)} ms, p99 ${before.toFixed(1)} -> ${after.toFixed(1)} ms, ${most.toFixed(0)} at most after a kill  ${verdict(after - before < addedMsMax, `p99 + < ${addedMsMax} ms`)}`,
  );
  say(`ready again                    each of ${kills} replicas that came back`);
});
