import { CodedError } from '#libs/kernel';
import { badRequest } from './errors.ts';
import { LiveEngine } from './live-engine.ts';
import type { EngineSimSettings } from './options.ts';

/** Data-parallel engines behind the one server, each with its own queue and KV. Most have one. */
export function startRanks(settings: EngineSimSettings): readonly LiveEngine[] {
  const { dataParallel, kvEvents, kvTransfer } = settings;
  if (dataParallel > 1 && (kvEvents !== undefined || kvTransfer)) {
    throw new CodedError(
      'ENGINE_SIM_RANKS_ALONE',
      'data-parallel ranks with KV events or a hand-over are not simulated',
      {
        advice: 'Leave one of them out.',
      },
    );
  }
  return Array.from({ length: dataParallel }, (_, rank) => new LiveEngine(settings, rank));
}

/** As vLLM's server does it: the rank that the client names, else the one with the fewest requests inside. */
export function rankFor(ranks: readonly LiveEngine[], named: string | undefined): LiveEngine {
  if (named === undefined) return ranks.reduce((least, one) => (one.inside < least.inside ? one : least));
  const engine = /^\d+$/.test(named) ? ranks[Number(named)] : undefined;
  if (engine === undefined) throw badRequest(`data_parallel_rank ${named} is out of range [0, ${ranks.length}).`);
  return engine;
}

/** One page of all ranks: each family once, with the samples of every rank. What names no engine is the server's, told by the first. */
export function ranksMetrics(ranks: readonly LiveEngine[]): string {
  const [first, ...others] = ranks.map((engine) => engine.renderMetrics());
  if (first === undefined || others.length === 0) return first ?? '';
  const samples = new Map<string, string[]>();
  for (const page of others) {
    for (const [family, lines] of familiesOf(page)) {
      const own = lines.filter((line) => line.includes('engine="'));
      samples.set(family, [...(samples.get(family) ?? []), ...own]);
    }
  }
  const out: string[] = [];
  for (const [family, lines] of familiesOf(first, true)) out.push(...lines, ...(samples.get(family) ?? []));
  return out.join('\n');
}

function familiesOf(page: string, comments = false): Map<string, string[]> {
  const families = new Map<string, string[]>();
  let family = '';
  for (const line of page.split('\n')) {
    if (line.startsWith('# HELP ')) family = line.split(' ')[2] as string;
    let lines = families.get(family);
    if (lines === undefined) families.set(family, (lines = []));
    if (comments || !line.startsWith('#')) lines.push(line);
  }
  return families;
}
