// Loaded into a process under test by `--import`: its memory and the lag of its event loop, a line of JSON each ten seconds.
import { appendFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';

const file = process.env.LINTEL_BENCH_PROBE;
const everyMs = 10_000;
const floorEveryMs = 500;
const resolutionMs = 10;

if (file !== undefined) {
  const lag = monitorEventLoopDelay({ resolution: resolutionMs });
  lag.enable();
  let heapFloor = Number.POSITIVE_INFINITY;
  setInterval(() => (heapFloor = Math.min(heapFloor, getHeapStatistics().used_heap_size)), floorEveryMs).unref();
  setInterval(() => {
    const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
    // The histogram counts whole delays of its own timer: what is above its period is lag.
    const lagMs = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolutionMs);
    const sample = {
      atMs: performance.now(),
      rss,
      heapUsed,
      heapFloor: Math.min(heapFloor, heapUsed),
      external,
      arrayBuffers,
      lagMsP50: lagMs(lag.percentile(50)),
      lagMsP99: lagMs(lag.percentile(99)),
      lagMsMax: lagMs(lag.max),
    };
    heapFloor = Number.POSITIVE_INFINITY;
    lag.reset();
    appendFileSync(file, `${JSON.stringify(sample)}\n`);
  }, everyMs).unref();
}
