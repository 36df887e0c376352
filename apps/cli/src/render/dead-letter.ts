import type { DeadLetterAnswer } from '#libs/domain/diag';
import { commitLine } from './commit.ts';
import type { Layout } from './text.ts';
import { blocks, clean, facts } from './text.ts';
import { count, time } from './units.ts';

/** One letter: what could not be handled, by whom, and why. */
export function renderDeadLetter(letter: DeadLetterAnswer, layout: Layout): string {
  const { paint } = layout;
  const { id, consumer, stream, subject, seq, errorCode, errorMessage, deliveries, atMs, commit } = letter;
  return blocks(
    paint.bold(clean(`${consumer} could not handle #${seq} of ${stream}: ${errorCode}.`)),
    facts(
      [
        ['letter', String(id)],
        ['subject', clean(subject)],
        ['error', paint.red(clean(errorMessage))],
        ['tries', count(deliveries)],
        ['parked', time(atMs, layout)],
        ['commit', commit === null ? 'the log no longer tells' : commitLine(commit, layout).trimStart()],
        ['next', `lintel dead redrive ${id}`],
      ],
      layout,
    ),
  );
}
