import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CodedError } from '#libs/kernel';

/** The runner of the benches. It is in a checkout only, above the sources and above what is built of them. */
export function benchMain(from: string = import.meta.dirname): string {
  for (let folder = from; folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, 'tools/bench.mjs');
    if (existsSync(file)) return file;
  }
  throw new CodedError('BENCH_MISSING', 'the benches are not part of this installation', {
    advice: 'Run lintel bench in a checkout of Lintel: they build it and read its traces.',
  });
}
