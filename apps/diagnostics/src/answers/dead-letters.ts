import { streams } from '#libs/contracts';
import type { DeadLetterAnswer, DeadLetterItem, ListAnswer, RedriveAnswer } from '#libs/domain/diag';
import { explainCommit } from '#libs/domain/diag';
import type { StoredDeadLetter } from '#libs/event-log';
import type { Core } from '../core.ts';
import { commitAt } from './read-log.ts';

function itemOf({ id, letter }: StoredDeadLetter): DeadLetterItem {
  const { consumer, stream, subject, seq, errorCode, errorMessage, deliveries, atMs } = letter;
  return { id, consumer, stream, subject, seq, errorCode, errorMessage, deliveries, atMs };
}

export async function listDeadLetters(
  { broker, fold }: Core,
  query: { readonly consumer?: string | undefined; readonly after: number; readonly limit: number },
): Promise<ListAnswer<DeadLetterItem>> {
  const { consumer, after: afterId, limit } = query;
  const found = await broker.deadLetters.list({ afterId, limit, ...(consumer === undefined ? {} : { consumer }) });
  return { durability: broker.durability, atSeq: fold.headSeq, items: found.map(itemOf) };
}

/** The letter with the commit that it is about. @throws DEAD_LETTER_UNKNOWN */
export async function showDeadLetter({ broker }: Core, id: number): Promise<DeadLetterAnswer> {
  const item = itemOf(await broker.deadLetters.show(id));
  const stored = item.stream === streams.events ? await commitAt(broker.log, item.seq) : undefined;
  return { durability: broker.durability, ...item, commit: stored === undefined ? null : explainCommit(stored) };
}

export async function redriveDeadLetter({ broker }: Core, id: number): Promise<RedriveAnswer> {
  const { letter } = await broker.deadLetters.show(id);
  await broker.deadLetters.redrive(id);
  return { durability: broker.durability, id, consumer: letter.consumer };
}
