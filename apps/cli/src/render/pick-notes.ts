import { clean } from './text.ts';

/** The notes of the scheduling plugins in words. */
const words: Readonly<Record<string, string>> = {
  'no-candidates': 'there was no candidate',
  'all-filtered': 'every candidate was filtered out',
  'no-session': 'the request names no session',
  'no-prefix': 'the prompt is shorter than one prefix block: no prefix can be matched',
  'no-prefill': 'nobody could compute the prompt for another: each was judged as it answers alone',
  'no-bucket': 'nobody is for prompts of this length: all were considered',
  'prefill-alone': 'no decode replica was left: a prefill replica does all of the request',
  'alone-cheaper': 'a hand-over was expected to take longer than computing the prompt where the answer comes from',
  imbalance: 'load was uneven beyond the bound: only the least loaded were considered, affinity was off',
};

/** "stale:kvUse" as a person says it; a note of a plugin that is not known here as it is. */
export function noteText(note: string): string {
  const known = words[note];
  if (known !== undefined) return known;
  const [, kind, column] = /^(stale|unknown):(.+)$/.exec(note) ?? [];
  if (column === undefined) return clean(note);
  const why = kind === 'stale' ? 'too old' : 'unknown';
  return clean(`${column} was ${why} for a candidate: a coarser signal was used for all`);
}
