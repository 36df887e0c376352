import { sha256Hex } from './chain.ts';
import type { Head, StoredCommit } from './commit.ts';
import type { EventLog } from './port.ts';
import type { SnapshotStore } from './snapshots.ts';

/** How a fold's state becomes JSON and back, and how often. */
export interface FoldSnapshots<State> {
  readonly store: SnapshotStore;
  /** Names the fold: `<app>__<purpose>`. */
  readonly name: string;
  /** Change it with every change of `evolve` or of the state's shape. */
  readonly foldVersion: string;
  /** JSON value of the state. */
  readonly encode: (state: State) => unknown;
  /** May throw: then the snapshot counts as none. */
  readonly decode: (json: unknown) => State;
  /** A snapshot after this many folded commits; default never by itself. */
  readonly everyCommits?: number;
}

export interface FoldContent<State> {
  readonly seq: number;
  /** Hash of the commit at `seq`, which binds the snapshot to this very log. */
  readonly lastHash: string;
  readonly heads: readonly (readonly [string, Head])[];
  readonly state: State;
}

export async function saveFoldSnapshot<State>(
  snapshots: FoldSnapshots<State>,
  content: FoldContent<State>,
): Promise<void> {
  const { store, name, foldVersion, encode } = snapshots;
  const { seq, lastHash, heads, state } = content;
  const rows = heads.map(([subject, head]) => [subject, head.seq, head.version, head.hash]);
  const bytes = Buffer.from(JSON.stringify({ seq, lastHash, heads: rows, state: encode(state) }));
  await store.save({ name, foldVersion, seq, bytes, hash: sha256Hex(bytes) });
}

/** Undefined wherever anything does not fit: then the fold begins at the first commit, slower and right. */
export async function loadFoldSnapshot<State>(
  snapshots: FoldSnapshots<State>,
  log: EventLog,
  subjects: readonly string[] | undefined,
): Promise<FoldContent<State> | undefined> {
  try {
    const snapshot = await snapshots.store.load(snapshots.name, snapshots.foldVersion);
    if (snapshot === undefined || sha256Hex(snapshot.bytes) !== snapshot.hash) return undefined;
    const json = JSON.parse(Buffer.from(snapshot.bytes).toString('utf8')) as {
      seq: number;
      lastHash: string;
      heads: [string, number, number, string][];
      state: unknown;
    };
    if (json.seq !== snapshot.seq || !(await standsIn(log, json.seq, json.lastHash, subjects))) return undefined;
    return {
      seq: json.seq,
      lastHash: json.lastHash,
      heads: json.heads.map(([subject, seq, version, hash]) => [subject, { seq, version, hash }] as const),
      state: snapshots.decode(json.state),
    };
  } catch {
    return undefined;
  }
}

/** True when the last wanted commit at or before `seq` has this hash. */
async function standsIn(
  log: EventLog,
  seq: number,
  lastHash: string,
  subjects: readonly string[] | undefined,
): Promise<boolean> {
  if ((await log.lastSeq()) < seq) return false;
  if (lastHash === '') return true;
  let last: StoredCommit | undefined;
  const filter = subjects === undefined ? {} : { subjects };
  for await (const commit of log.read({ fromSeq: seq, toSeq: seq, ...filter })) last = commit;
  return last?.hash === lastHash;
}
