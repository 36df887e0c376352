import type { StoredCommit } from '#libs/event-log';
import { Acceptor } from '#libs/event-log';
import type { Stage } from './stage.ts';
import type { Digest } from './tally.ts';
import { addToDigest, commandOf, emptyDigest, simDecoder } from './tally.ts';

/**
 * Knows what is true because it stands beside the broker's disk: the acceptance rule over the stored commits, without any
 * network between. Everything that processes believe is measured against it.
 */
export class Oracle {
  /** Digest of the accepted commits up to each sequence; index is the sequence. */
  readonly digests: Digest[] = [emptyDigest];
  readonly accepted: boolean[] = [false];
  readonly effects = new Map<string, number>();
  readonly acceptor = new Acceptor();
  /** Rows of the projection at `rowsSeq`. */
  readonly rows = new Map<string, { count: number; commitId: string; seq: number; hash: string }>();
  rowsSeq = 0;
  readonly #commits: readonly StoredCommit[];

  constructor(commits: readonly StoredCommit[]) {
    this.#commits = commits;
  }

  /** A text names the law that the commit breaks. */
  onStored(commit: StoredCommit): string | undefined {
    const before = this.digests[commit.seq - 1] as Digest;
    const accepted = this.acceptor.accept(commit) === 'accepted';
    this.accepted[commit.seq] = accepted;
    this.digests[commit.seq] = accepted ? addToDigest(before, commit.hash) : before;
    if (!accepted) return undefined;
    const { commandId, number } = commandOf(simDecoder.decode(commit));
    const times = (this.effects.get(commandId) ?? 0) + 1;
    this.effects.set(commandId, times);
    if (times > 1) return `L1 command ${commandId} took effect ${times} times, last at ${commit.seq}`;
    if (number !== commit.version) {
      return `L6 commit ${commit.seq} was decided on state ${number - 1}, it stands on ${commit.version - 1}`;
    }
    return undefined;
  }

  /** An effect of a commit starts somewhere. */
  onEffect(who: string, commitId: string, seq: number, stage: Pick<Stage, 'note' | 'breaks'>): void {
    stage.note?.(`${who} starts the effect of ${commitId}`);
    if (this.accepted[seq] === true) return;
    stage.breaks(`L5 an effect of ${commitId} at ${seq} started, which no reader accepts`);
  }

  /** The projection's rows as they must be at this checkpoint; checkpoints only move on. */
  rowsAt(seq: number): ReadonlyMap<string, { count: number; commitId: string; seq: number; hash: string }> {
    for (; this.rowsSeq < seq; this.rowsSeq++) {
      const commit = this.#commits[this.rowsSeq];
      if (commit === undefined || this.accepted[commit.seq] !== true) continue;
      const { subject, version, commitId, hash } = commit;
      this.rows.set(subject, { count: version, commitId, seq: commit.seq, hash });
    }
    return this.rows;
  }
}
