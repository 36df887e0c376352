import { createHash, hash as oneShotHash } from 'node:crypto';

const separator = Buffer.from([0]);

/**
 * The link of the chain, hex: sha256(prevHash ‖ subject ‖ 0 ‖ commitId ‖ 0 ‖ version ‖ payload). Texts are UTF-8,
 * prevHash is its hex text (empty for the first commit), version its decimal digits.
 */
export function commitHash(link: {
  readonly prevHash: string;
  readonly subject: string;
  readonly commitId: string;
  readonly version: number;
  readonly payload: Uint8Array;
}): string {
  return createHash('sha256')
    .update(link.prevHash + link.subject)
    .update(separator)
    .update(link.commitId)
    .update(separator)
    .update(String(link.version))
    .update(link.payload)
    .digest('hex');
}

export function sha256Hex(data: string | Uint8Array): string {
  return oneShotHash('sha256', data, 'hex');
}

/** Each id that one command's commits of one aggregate may carry begins with this. Stable across retries. */
export function commitIdBase(commandId: string, context: string, aggregate: string, id: string): string {
  const plain = `${commandId}:${context}.${aggregate}.${id}`;
  // Room for the suffix of a decision that was forked out and taken again.
  return /^[A-Za-z0-9_.:/-]{1,120}$/.test(plain) ? plain : sha256Hex(plain);
}

/** `base` for the first commit, `base~n` after n of them were forked out. */
export function commitIdOf(base: string, forkedBefore: number): string {
  return forkedBefore === 0 ? base : `${base}~${forkedBefore}`;
}

/** The base of a commit id: without the suffix of a repeated decision. */
export function baseOfCommitId(commitId: string): string {
  const mark = commitId.lastIndexOf('~');
  return mark < 0 ? commitId : commitId.slice(0, mark);
}
