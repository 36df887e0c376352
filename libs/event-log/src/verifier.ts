import type { EventRegistry, log } from '#libs/contracts';
import { errorText } from '#libs/kernel';
import { Acceptor } from './acceptance.ts';
import type { StoredAnchor } from './anchor-stream.ts';
import { anchorProblem, parseAnchor } from './anchors.ts';
import { commitHash } from './chain.ts';
import { decodeCommit } from './codec.ts';
import type { StoredCommit } from './commit.ts';
import { MerkleTree, merkleLeaf } from './merkle.ts';

/**
 * gap: sequences are missing · order: a sequence came twice or too late · hash: the commit is not what its hash says ·
 * chain: it extends a commit that is not in the log · decode: nobody can read it · anchor-…: a seal does not fit.
 */
export type VerifyRule =
  | 'gap'
  | 'order'
  | 'hash'
  | 'chain'
  | 'decode'
  | 'anchor-form'
  | 'anchor-signature'
  | 'anchor-key'
  | 'anchor-chain'
  | 'anchor-root'
  | 'anchor-beyond-log';

export interface VerifyProblem {
  /** First sequence that the rule speaks of. */
  readonly seq: number;
  readonly rule: VerifyRule;
  readonly text: string;
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly commits: number;
  readonly aggregates: number;
  /** Commits that lost a race in a cluster: no reader accepts them. Not a fault of the log. */
  readonly forked: number;
  readonly lastSeq: number;
  readonly anchors: number;
  /** Everything up to here stands under a seal that fits. */
  readonly sealedThroughSeq: number;
  readonly gaps: readonly { readonly fromSeq: number; readonly toSeq: number }[];
  /** The problem with the lowest sequence. */
  readonly firstBad?: VerifyProblem;
  /** The first `verifyProblemsMax` problems, by sequence. */
  readonly problems: readonly VerifyProblem[];
  readonly problemsTotal: number;
}

export const verifyProblemsMax = 100;
/** A commit that lost a race extends one of the last this many heads of its subject. */
const headsRememberedMax = 64;

/**
 * Walks the log once, commit by commit in the order of the sequence, and names what does not fit. Anchors are given
 * first. Pure: it reads nothing by itself, so that a live log and an archive are verified by the same code.
 */
export class LogVerifier {
  readonly #registry: EventRegistry | undefined;
  readonly #trustedKeys: ReadonlySet<string> | undefined;
  readonly #acceptor = new Acceptor();
  readonly #recentHashes = new Map<string, string[]>();
  readonly #gaps: { fromSeq: number; toSeq: number }[] = [];
  readonly #problems: VerifyProblem[] = [];
  #problemsTotal = 0;
  #commits = 0;
  #lastSeq: number;
  readonly #anchors: log.Anchor[] = [];
  #anchorIndex = 0;
  #tree = new MerkleTree();
  #sealedThroughSeq = 0;

  constructor(
    options: {
      /** With it each commit must also decode. */
      registry?: EventRegistry | undefined;
      anchors?: readonly StoredAnchor[] | undefined;
      trustedKeys?: ReadonlySet<string> | undefined;
    } = {},
  ) {
    this.#registry = options.registry;
    this.#trustedKeys = options.trustedKeys;
    this.#lastSeq = 0;
    for (const anchor of options.anchors ?? []) this.addAnchor(anchor);
  }

  /** Before the commits that it covers. */
  addAnchor({ seq, json }: StoredAnchor): void {
    let anchor: log.Anchor;
    try {
      anchor = parseAnchor(json);
    } catch (thrown) {
      this.#bad(this.#anchors.at(-1)?.lastSeq ?? 1, 'anchor-form', `anchor ${seq}: ${errorText(thrown)}`);
      return;
    }
    const problem = anchorProblem(anchor, this.#anchors.at(-1), this.#trustedKeys);
    if (problem !== undefined) this.#bad(anchor.firstSeq, problem.rule, `anchor ${seq}: ${problem.text}`);
    if (anchor.firstSeq <= this.#lastSeq) {
      this.#bad(anchor.firstSeq, 'anchor-chain', `anchor ${seq} was given after the commits that it covers`);
    }
    this.#anchors.push(anchor);
  }

  add(commit: StoredCommit): void {
    this.#commits++;
    this.#checkOrder(commit.seq);
    const hash = commitHash(commit);
    if (hash !== commit.hash)
      this.#bad(commit.seq, 'hash', `commit ${commit.commitId} of ${commit.subject} was changed`);
    this.#checkChain(commit);
    if (this.#registry !== undefined) this.#checkDecodes(commit, this.#registry);
    this.#checkAnchors(commit.seq, hash);
    this.#lastSeq = Math.max(this.#lastSeq, commit.seq);
  }

  report(): VerifyReport {
    const unsealed = this.#anchors[this.#anchorIndex];
    const problems = [...this.#problems];
    let total = this.#problemsTotal;
    if (unsealed !== undefined && unsealed.lastSeq > this.#lastSeq) {
      total++;
      problems.push({
        seq: this.#lastSeq + 1,
        rule: 'anchor-beyond-log',
        text: `sealed up to ${unsealed.lastSeq}, the log ends at ${this.#lastSeq}`,
      });
    }
    problems.sort((a, b) => a.seq - b.seq);
    const firstBad = problems[0];
    return {
      ok: firstBad === undefined,
      commits: this.#commits,
      aggregates: this.#acceptor.subjects,
      forked: this.#acceptor.counts.forked,
      lastSeq: this.#lastSeq,
      anchors: this.#anchors.length,
      sealedThroughSeq: this.#sealedThroughSeq,
      gaps: this.#gaps,
      ...(firstBad === undefined ? {} : { firstBad }),
      problems,
      problemsTotal: total,
    };
  }

  #checkOrder(seq: number): void {
    if (seq === this.#lastSeq + 1) return;
    if (seq <= this.#lastSeq) {
      this.#bad(seq, 'order', `sequence ${seq} came after ${this.#lastSeq}`);
      return;
    }
    const gap = { fromSeq: this.#lastSeq + 1, toSeq: seq - 1 };
    this.#gaps.push(gap);
    this.#bad(
      gap.fromSeq,
      'gap',
      gap.fromSeq === gap.toSeq ? `${seq - 1} is missing` : `${gap.fromSeq}–${gap.toSeq} are missing`,
    );
  }

  #checkChain(commit: StoredCommit): void {
    const { subject, prevHash, hash } = commit;
    const recent = this.#recentHashes.get(subject);
    const verdict = this.#acceptor.accept(commit);
    if (verdict === 'forked' && prevHash !== '' && !(recent ?? []).includes(prevHash)) {
      const head = this.#acceptor.head(subject);
      this.#bad(
        commit.seq,
        'chain',
        `version ${commit.version} of ${subject} extends a commit that is not in the log; the last that fits is version ${head.version} at ${head.seq}`,
      );
    }
    if (verdict !== 'accepted') return;
    if (recent === undefined) {
      this.#recentHashes.set(subject, [hash]);
      return;
    }
    if (recent.length === headsRememberedMax) recent.shift();
    recent.push(hash);
  }

  #checkDecodes(commit: StoredCommit, registry: EventRegistry): void {
    try {
      decodeCommit(commit, registry);
    } catch (thrown) {
      this.#bad(commit.seq, 'decode', errorText(thrown));
    }
  }

  #checkAnchors(seq: number, hash: string): void {
    let anchor = this.#anchors[this.#anchorIndex];
    while (anchor !== undefined && seq > anchor.lastSeq) {
      this.#seal(anchor);
      anchor = this.#anchors[this.#anchorIndex];
    }
    if (anchor === undefined || seq < anchor.firstSeq) return;
    this.#tree.add(merkleLeaf(seq, hash));
    if (seq === anchor.lastSeq) this.#seal(anchor);
  }

  #seal(anchor: log.Anchor): void {
    const fits = anchor.count === this.#tree.count && anchor.merkleRoot === this.#tree.root();
    if (fits) this.#sealedThroughSeq = anchor.lastSeq;
    else {
      const known = this.#problems.some(({ seq }) => seq >= anchor.firstSeq && seq <= anchor.lastSeq);
      this.#bad(
        known ? anchor.lastSeq : anchor.firstSeq,
        'anchor-root',
        `what stands in ${anchor.firstSeq}–${anchor.lastSeq} is not what was sealed`,
      );
    }
    this.#anchorIndex++;
    this.#tree = new MerkleTree();
  }

  #bad(seq: number, rule: VerifyRule, text: string): void {
    this.#problemsTotal++;
    if (this.#problems.length < verifyProblemsMax) this.#problems.push({ seq, rule, text });
  }
}
