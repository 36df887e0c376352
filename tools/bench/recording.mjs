// Recording in isolation: CPU for each decision record, from the pick's capture to the frame's bytes, and to a disk spool.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bench, dist, machine, median, say, verdict } from './_common.mjs';
import { recordSource } from './_fill.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    records: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '5' },
    bare: { type: 'string', default: '50' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- recording [--records 100000] [--rounds 5] [--bare 50]

Makes decision records as the gateway does (prefix-cache pick among 3, 16 and 64 replicas). "made" decides and makes the object, which the gateway
does with recording off, too, but for the copy of what the pick saw; "recorded" hands it to the real recorder besides, which frames it. The
difference is the cost of recording. CPU time of the process counts. The goal: under 5 % of what a bare proxied request
costs (--bare, microseconds; the bench "gateway" measures it).
`);
  process.exit(0);
}
const records = Number(values.records);
const perTurn = 64;

await bench(async (scope) => {
  say(machine());
  const { systemEnvironment: environment } = await dist('kernel');
  const { Recorder, Spool } = await dist('recording');
  const nowMs = Date.now();

  /** Microseconds of CPU for each of `records` pieces of work; yields now and then, so that timers run as they do in the gateway. */
  async function cpuUs(work) {
    const from = process.cpuUsage();
    for (let made = 0; made < records; made += perTurn) {
      for (let index = 0; index < perTurn; index++) work();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { user, system } = process.cpuUsage(from);
    return (user + system) / records;
  }

  for (const candidates of [3, 16, 64]) {
    const make = await recordSource(candidates);
    let bytes = 0;
    let frames = 0;
    const recorder = new Recorder({
      gatewayId: 'bench',
      bootId: 'boot',
      environment,
      offer: (frame) => {
        bytes += frame.bytes.length;
        frames++;
        return true;
      },
    });
    const made = [];
    const recorded = [];
    for (let round = 0; round <= Number(values.rounds); round++) {
      const alone = await cpuUs(() => make(nowMs));
      const both = await cpuUs(() => recorder.record(make(nowMs)));
      recorder.flush();
      if (round === 0) continue; // warm-up
      made.push(alone);
      recorded.push(both - alone);
    }
    const costUs = median(recorded);
    const { dropped, recorded: kept } = recorder.status();
    const share = (costUs / Number(values.bare)) * 100;
    const judged = candidates === 3 ? `  ${verdict(share < 5 && dropped === 0, '< 5 % of a bare request')}` : '';
    say(
      `${String(candidates).padStart(3)} candidates  made ${median(made).toFixed(2)} µs, recorded +${costUs.toFixed(2)} µs (${share.toFixed(1)} % of ${values.bare})  ${Math.round(bytes / kept)} bytes each, ${Math.round(kept / frames)} a frame, ${dropped} dropped${judged}`,
    );
  }

  const spool = new Spool({ folder: join(scope.home, 'spool') });
  const make = await recordSource(3);
  let refused = 0;
  const recorder = new Recorder({
    gatewayId: 'bench',
    bootId: 'boot',
    environment,
    offer: (frame) => {
      const taken = spool.append(frame);
      if (!taken) refused++;
      return taken;
    },
  });
  const alone = await cpuUs(() => make(nowMs));
  const spooled = await cpuUs(() => recorder.record(make(nowMs)));
  recorder.flush();
  spool.close();
  say(`to disk while the bus is away: +${(spooled - alone).toFixed(2)} µs a record, ${refused} frames refused`);
});
