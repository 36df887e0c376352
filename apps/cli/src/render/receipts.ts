import type { ApplyAnswer, RebuildLine, ReceiptAnswer } from '#libs/domain/diag';
import type { Layout } from './text.ts';
import { blocks, clean, plural } from './text.ts';
import { count, digits, duration } from './units.ts';

/** What a command did, and the commit that says so. `what` is the sentence of success. */
export function renderReceipt(what: string, { changed, seq, commitId }: ReceiptAnswer, { paint }: Layout): string {
  if (!changed) return `${paint.yellow('Nothing changed:')} it was so already (${clean(what)}).`;
  return `${paint.green('✓')} ${clean(what)}. ${paint.dim(clean(`Commit ${commitId} (#${seq})`))}`;
}

export function renderApply(answer: ApplyAnswer, dryRun: boolean, { paint }: Layout): string {
  const { changes, unchanged, leftAlone } = answer;
  const left =
    leftAlone.length === 0
      ? []
      : [
          paint.yellow(
            `Left alone: ${leftAlone.join(', ')}. Each gateway reads them from its own file when it starts.`,
          ),
        ];
  const same = unchanged === 0 ? '' : ` ${plural(unchanged, 'entry is', 'entries are')} already so.`;
  if (changes.length === 0) return [`Nothing to change.${same}`, ...left].join('\n');
  const lines = changes.map(({ what, seq, commitId }) =>
    dryRun ? `  ${clean(what)}` : `  ${paint.green('✓')} ${clean(what)}  ${paint.dim(clean(`#${seq} ${commitId}`))}`,
  );
  const title = dryRun
    ? paint.bold(`${plural(changes.length, 'change')} would be made; nothing was written.${same}`)
    : paint.bold(`${plural(changes.length, 'change')} made.${same}`);
  return [title, ...lines, ...left].join('\n');
}

export function renderKey(what: string, answer: ReceiptAnswer & { readonly key: string }, layout: Layout): string {
  const { paint } = layout;
  return blocks(
    renderReceipt(what, answer, layout),
    `  ${paint.bold(clean(answer.key))}`,
    paint.yellow('It is shown this once: only its sha256 is stored.'),
  );
}

export function rebuildProgress(line: Extract<RebuildLine, { kind: 'progress' }>): string {
  const { projection, seq, headSeq, itemsPerSecond } = line;
  const share = headSeq > 0 ? `${Math.floor((seq / headSeq) * 100)} %` : '?';
  return `${clean(projection)}: ${share}, #${count(seq)} of #${count(headSeq)}, ${digits(Math.round(itemsPerSecond))}/s`;
}

export function renderRebuilt(line: Extract<RebuildLine, { kind: 'done' }>, { paint }: Layout): string {
  return `${paint.green('✓')} ${clean(line.projection)} is rebuilt up to #${line.seq} and serves now; it took ${duration(line.durationMs)}.`;
}
