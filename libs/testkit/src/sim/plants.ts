import type { Appended, EventLog, PreparedCommit, SnapshotStore, StoredCommit } from '#libs/event-log';
import { commitHash, sha256Hex } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { Generation, Move } from '#libs/projections';
import { Changes, MemoryProjectionStore } from '#libs/projections';
import type { SealedFrame, SpoolOptions } from '#libs/recording';
import type { ServedStore } from './database.ts';
import { WatchedSpool } from './gateway.ts';
import type { ReaderOptions, SimReader } from './readers.ts';
import { realReader } from './readers.ts';
import type { Settle } from './simulated-log.ts';
import { addToDigest, emptyDigest } from './tally.ts';

/** Wrong parts in place of the real ones: what the simulation must find. None in a usual run. */
export interface Plants {
  readonly settle?: Settle;
  readonly makeReader?: (options: ReaderOptions) => SimReader;
  /** Wraps a writer's log; `effect` starts an effect. */
  readonly wrapLog?: (log: EventLog, effect: (commitId: string) => void) => EventLog;
  /** `dies`: the database dies at this point. */
  readonly makeStore?: (dies: () => boolean) => ServedStore;
  readonly makeSpool?: (options: SpoolOptions, onKept: (msgId: string) => void) => WatchedSpool;
  readonly acknowledgesBeforeEffect?: boolean;
  readonly brokerAcknowledgesEarly?: boolean;
  readonly clientsRenameRetries?: boolean;
  readonly consumerForgets?: boolean;
  readonly sealsWhereverItStands?: boolean;
}

/** No answer: once more, on top of whatever stands there now, under an id of its own. */
const blindRetry: Settle = async (publisher, commit, expected) => {
  let next: PreparedCommit = commit;
  let seq = expected.seq;
  for (let attempt = 1; attempt <= 5; attempt++) {
    const answer = await publisher.publish(next, seq);
    if (answer.kind === 'stored') return { seq: answer.seq, recovered: answer.duplicate };
    if (answer.kind === 'wrong-sequence' && attempt === 1) throw new CodedError('LOG_CONFLICT', 'another came first');
    const last: StoredCommit | undefined = (await publisher.readSubject(commit.subject, 0)).at(-1);
    if (last === undefined) continue;
    const link = {
      ...commit,
      commitId: `${commit.commitId}!${attempt}`,
      version: last.version + 1,
      prevHash: last.hash,
    };
    next = { ...link, hash: commitHash(link) };
    seq = last.seq;
  }
  throw new CodedError('LOG_UNAVAILABLE', 'gave up');
};

/** Believes whatever is stored. */
class Believer implements SimReader {
  headSeq = 0;
  state = emptyDigest;
  readonly heads = new Map();

  constructor(private readonly options: ReaderOptions) {}

  async start(): Promise<void> {
    await this.options.log.follow({ fromSeq: 1 }, (commit) => {
      this.headSeq = commit.seq;
      this.state = addToDigest(this.state, commit.hash);
      this.heads.set(commit.subject, { seq: commit.seq, version: commit.version, hash: commit.hash });
      this.options.onAccepted(commit);
    });
  }
}

/** Starts the effect on the acknowledgement, before any reader has accepted the commit. */
function effectOnAck(log: EventLog, effect: (commitId: string) => void): EventLog {
  const append = log.append.bind(log);
  log.append = async (commit, expected): Promise<Appended> => {
    const appended = await append(commit, expected);
    effect(commit.commitId);
    return appended;
  };
  return log;
}

/** Checkpoint and rows in two statements, with a database that may die in between. */
class TornStore extends MemoryProjectionStore {
  constructor(private readonly dies: () => boolean) {
    super();
  }

  override async move(generation: Generation, move: Move): Promise<'moved' | 'fenced'> {
    const outcome = await super.move(generation, { ...move, changes: new Changes() });
    if (outcome === 'fenced' || this.dies()) return outcome;
    return await super.move(generation, { ...move, fromSeq: move.toSeq });
  }
}

/** Moves whatever the checkpoint says. */
class UnguardedStore extends MemoryProjectionStore {
  override async move(generation: Generation, move: Move): Promise<'moved' | 'fenced'> {
    const { seq } = await this.position(generation);
    return await super.move(generation, { ...move, fromSeq: seq });
  }
}

/** Gives the state of a snapshot back without the heads that it stands on. */
function headless(store: SnapshotStore): SnapshotStore {
  return {
    save: (snapshot) => store.save(snapshot),
    async load(name, foldVersion) {
      const snapshot = await store.load(name, foldVersion);
      if (snapshot === undefined) return undefined;
      const content = JSON.parse(Buffer.from(snapshot.bytes).toString()) as object;
      const bytes = Buffer.from(JSON.stringify({ ...content, heads: [] }));
      return { ...snapshot, bytes, hash: sha256Hex(bytes) };
    },
  };
}

/** Forgets a frame when it is sent, not when it is known to be stored. */
class ForgetfulSpool extends WatchedSpool {
  #sent: SealedFrame | undefined;

  override peek(): SealedFrame | undefined {
    if (this.#sent !== undefined) return this.#sent;
    this.#sent = super.peek();
    if (this.#sent !== undefined) super.advance();
    return this.#sent;
  }

  override advance(): void {
    this.#sent = undefined;
  }
}

/** By name, with the laws that must find them. */
export const plants: Readonly<Record<string, { readonly what: string; readonly law: string; readonly parts: Plants }>> =
  {
    'blind-retry': {
      what: 'an append without an answer is published again under another id',
      law: 'L1|L6',
      parts: { settle: blindRetry },
    },
    'new-id-on-retry': {
      what: 'a client gives a command again under another id',
      law: 'L1',
      parts: { clientsRenameRetries: true },
    },
    'no-acceptance': {
      what: 'a reader believes every stored commit',
      law: 'L3|L5',
      parts: { makeReader: (options) => new Believer(options) },
    },
    'effect-before-accept': {
      what: 'an effect starts on the acknowledgement',
      law: 'L5',
      parts: { wrapLog: effectOnAck },
    },
    'torn-checkpoint': {
      what: 'checkpoint and rows move in two statements',
      law: 'L4',
      parts: { makeStore: (dies) => new TornStore(dies) },
    },
    'unguarded-move': {
      what: 'a projector moves rows whatever the checkpoint says',
      law: 'L4',
      parts: { makeStore: () => new UnguardedStore() },
    },
    'headless-snapshot': {
      what: 'a fold starts from a snapshot without its heads',
      law: 'L3',
      parts: {
        makeReader: (options) =>
          realReader({ ...options, snapshots: { ...options.snapshots, store: headless(options.snapshots.store) } }),
      },
    },
    'forgetful-spool': {
      what: 'the spool forgets a frame before it is acknowledged',
      law: 'L8',
      parts: { makeSpool: (options, onKept) => new ForgetfulSpool(options, onKept) },
    },
    'ack-before-effect': {
      what: 'a reactor acknowledges before its effect',
      law: 'L9',
      parts: { acknowledgesBeforeEffect: true },
    },
    'forgetful-consumer': {
      what: 'the broker never gives again what was not acknowledged',
      law: 'L7',
      parts: { consumerForgets: true },
    },
    'unguarded-seal': {
      what: 'a notary seals wherever the seals stand by now',
      law: 'L10',
      parts: { sealsWhereverItStands: true },
    },
    'early-ack': {
      what: 'the broker acknowledges what it has not stored',
      law: 'L2',
      parts: { brokerAcknowledgesEarly: true },
    },
  };
