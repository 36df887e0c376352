import { log, streams } from '#libs/contracts';
import type { NotaryLimits } from '#libs/domain/diag';
import { planSeals } from '#libs/domain/diag';
import type { Broker, StoredAnchor, StoredCommit } from '#libs/event-log';
import {
  anchorProblem,
  commitHash,
  LogVerifier,
  merkleLeaf,
  MerkleTree,
  parseAnchor,
  sealAnchor,
} from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { HealthReport, Logger } from '#libs/observability';
import type { NotaryTuning } from '../options.ts';
import { Slices } from '../slices.ts';
import type { NotaryKeys } from './notary-key.ts';

export interface NotaryOptions {
  readonly broker: Pick<Broker, 'log' | 'anchors'>;
  readonly environment: Environment;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly keys: NotaryKeys;
  readonly tuning: NotaryTuning;
  /** After each seal of its own, as it stands in the stream. */
  readonly onSealed?: (anchor: StoredAnchor) => void;
}

export interface NotaryStatus {
  readonly sealedSeq: number;
  readonly headSeq: number;
  readonly anchors: number;
  readonly lastAnchor: log.Anchor | undefined;
  readonly publicKey: string;
  readonly halted: boolean;
  readonly haltedReason: string;
}

interface Leaf {
  readonly seq: number;
  readonly hash: string;
  readonly storedAtMs: number;
}

/** A history that must not be sealed over. */
class HistoryBroken extends CodedError {}

const broken = (text: string): HistoryBroken =>
  new HistoryBroken('NOTARY_HALTED', text, {
    advice: 'Run lintel verify; compare with an archive. After the cause is mended start diagnostics again.',
  });

/**
 * Seals the total order of the log. Before it adds the first seal it verifies everything that stands there, the seals of
 * others too; a history that does not fit is never sealed over: it halts and says so until it is started again.
 */
export class Notary {
  readonly #options: NotaryOptions;
  readonly #slices: Slices;
  readonly #limits: NotaryLimits;
  #verifier: LogVerifier | undefined;
  /** Commits after the last seal; at most one read of them is kept. */
  #unsealed: Leaf[] = [];
  #headSeq = 0;
  #last: log.Anchor | undefined;
  #anchors = 0;
  #halted: HistoryBroken | undefined;
  #waiting = 'starting';
  #stopped = false;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  constructor(options: NotaryOptions) {
    this.#options = options;
    this.#slices = new Slices(options.environment.timers);
    this.#limits = { commitsMax: options.tuning.commitsMax, ageMsMax: options.tuning.ageMsMax };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake?.();
    await this.#running;
  }

  status(): NotaryStatus {
    return {
      sealedSeq: this.#last?.lastSeq ?? 0,
      headSeq: this.#headSeq,
      anchors: this.#anchors,
      lastAnchor: this.#last,
      publicKey: this.#options.keys.publicKey,
      halted: this.#halted !== undefined,
      haltedReason: this.#halted?.message ?? '',
    };
  }

  health(): HealthReport {
    if (this.#halted !== undefined) return { state: 'down', detail: `halted: ${this.#halted.message}` };
    if (this.#waiting !== '') return { state: 'degraded', detail: this.#waiting };
    return { state: 'up', detail: `sealed to ${this.#last?.lastSeq ?? 0} of ${this.#headSeq}` };
  }

  async #run(): Promise<void> {
    const { environment, logger, tuning } = this.#options;
    while (!this.#stopped && this.#halted === undefined) {
      try {
        await this.step();
        this.#waiting = '';
      } catch (thrown) {
        if (thrown instanceof HistoryBroken) {
          this.#halted = thrown;
          logger.error({ code: thrown.code, advice: thrown.advice }, `the notary halted: ${thrown.message}`);
          return;
        }
        if (this.#waiting !== errorText(thrown)) logger.warn(`notary: ${errorText(thrown)}; trying again`);
        this.#waiting = errorText(thrown);
      }
      if (this.#stopped) return;
      const over = Promise.withResolvers<void>();
      this.#wake = () => over.resolve();
      const timer = environment.timers.after(tuning.pollMs, () => over.resolve());
      await over.promise;
      timer.cancel();
    }
  }

  /** One look at the log: verify what is new, seal what is due. Public for tests; never two at once. */
  async step(): Promise<void> {
    const { broker } = this.#options;
    if (this.#verifier === undefined) await this.#begin();
    const lastSeq = await broker.log.lastSeq();
    if (lastSeq < this.#headSeq) throw broken(`the log ends at ${lastSeq}, it stood at ${this.#headSeq} before`);
    if (lastSeq > this.#headSeq) await this.#read(lastSeq);
    const due = planSeals(
      {
        sealedSeq: this.#last?.lastSeq ?? 0,
        headSeq: this.#headSeq,
        oldestStoredAtMs: this.#unsealed[0]?.storedAtMs,
        nowMs: this.#options.environment.clock.nowMs(),
      },
      this.#limits,
    );
    for (const end of due) if (!(await this.#seal(end))) return;
  }

  /** Everything from the first commit on, against every seal that is there. */
  async #begin(): Promise<void> {
    const { broker, keys } = this.#options;
    const anchors = await broker.anchors.readAll();
    const last = anchors.at(-1);
    this.#last = last === undefined ? undefined : parsed(last);
    this.#anchors = last?.seq ?? 0;
    const verifier = new LogVerifier({ anchors, trustedKeys: keys.trusted });
    this.#unsealed = [];
    this.#headSeq = 0;
    this.#verifier = verifier;
    try {
      await this.#read(await broker.log.lastSeq());
    } catch (thrown) {
      // Half a reading is none: the next step begins again.
      this.#verifier = undefined;
      throw thrown;
    }
  }

  async #read(toSeq: number): Promise<void> {
    const { broker } = this.#options;
    const verifier = this.#verifier as LogVerifier;
    const sealedSeq = this.#last?.lastSeq ?? 0;
    if (this.#headSeq < toSeq) {
      for await (const commit of broker.log.read({ fromSeq: this.#headSeq + 1, toSeq })) {
        verifier.add(commit);
        this.#headSeq = commit.seq;
        if (commit.seq > sealedSeq) this.#unsealed.push(leafOf(commit));
        await this.#slices.next();
        if (this.#stopped) throw new CodedError('NOTARY_STOPPED', 'stopped');
      }
    }
    const { firstBad } = verifier.report();
    if (firstBad !== undefined) {
      const trust =
        firstBad.rule === 'anchor-key'
          ? `; to trust it, put that key into ${this.#options.keys.folder}/<name>.pub`
          : '';
      throw broken(`sequence ${firstBad.seq} (${firstBad.rule}): ${firstBad.text}${trust}`);
    }
    if (this.#headSeq < toSeq) throw broken(`the log has no commit ${this.#headSeq + 1}, it should end at ${toSeq}`);
  }

  /** False where another notary sealed first: what it sealed was then checked and taken over. */
  async #seal(end: number): Promise<boolean> {
    const { broker, environment, keys, logger } = this.#options;
    const tree = treeOf(this.#through(end));
    const { anchor, json } = sealAnchor({
      stream: streams.events,
      previous: this.#last,
      lastSeq: end,
      tree,
      sealedAtMs: environment.clock.nowMs(),
      privateKey: keys.privateKey,
    });
    try {
      const { seq } = await broker.anchors.append(json, this.#anchors);
      this.#sealed(anchor, seq);
      this.#options.onSealed?.({ seq, json });
    } catch (thrown) {
      if (errorCode(thrown) !== 'ANCHORS_CONFLICT') throw thrown;
      logger.info('another notary sealed first; checking what it sealed');
      await this.#adopt();
      return false;
    }
    return true;
  }

  /** The unsealed ones up to this sequence: they stand without a gap, which was verified. */
  #through(seq: number): Leaf[] {
    return this.#unsealed.slice(0, seq - (this.#last?.lastSeq ?? 0));
  }

  async #adopt(): Promise<void> {
    const { broker, keys } = this.#options;
    const all = await broker.anchors.readAll();
    if (all.length < this.#anchors) throw broken(`there are ${all.length} seals, there were ${this.#anchors} before`);
    for (const stored of all.slice(this.#anchors)) {
      const anchor = parsed(stored);
      const problem = anchorProblem(anchor, this.#last, keys.trusted);
      if (problem !== undefined) throw broken(`seal ${stored.seq} (${problem.rule}): ${problem.text}`);
      if (anchor.lastSeq > this.#headSeq) await this.#read(anchor.lastSeq);
      const tree = treeOf(this.#through(anchor.lastSeq));
      if (tree.count !== anchor.count || tree.root() !== anchor.merkleRoot) {
        throw broken(`seal ${stored.seq} says otherwise of ${anchor.firstSeq}–${anchor.lastSeq} than the log`);
      }
      this.#sealed(anchor, stored.seq);
    }
  }

  #sealed(anchor: log.Anchor, anchorSeq: number): void {
    this.#unsealed.splice(0, this.#through(anchor.lastSeq).length);
    this.#last = anchor;
    this.#anchors = anchorSeq;
  }
}

const leafOf = (commit: StoredCommit): Leaf => ({
  seq: commit.seq,
  hash: commitHash(commit),
  storedAtMs: commit.storedAtMs,
});

function treeOf(leaves: readonly Leaf[]): MerkleTree {
  const tree = new MerkleTree();
  for (const { seq, hash } of leaves) tree.add(merkleLeaf(seq, hash));
  return tree;
}

function parsed({ seq, json }: StoredAnchor): log.Anchor {
  try {
    return parseAnchor(json);
  } catch (thrown) {
    throw broken(`seal ${seq}: ${errorText(thrown)}`);
  }
}
