/** A fold's state at a sequence. `hash` is the sha256 of `bytes`, hex. */
export interface Snapshot {
  readonly name: string;
  /** Changes whenever the fold's code would give another state for the same commits. */
  readonly foldVersion: string;
  /** Last folded sequence. */
  readonly seq: number;
  readonly hash: string;
  readonly bytes: Uint8Array;
}

/**
 * Keeps the newest snapshot of each name. A store answers what it holds; whoever loads checks the hash and folds from
 * the beginning when it does not fit. A store that cannot answer throws SNAPSHOTS_UNAVAILABLE, which counts as none.
 */
export interface SnapshotStore {
  /** Undefined where there is none of this name and fold version. */
  load(name: string, foldVersion: string): Promise<Snapshot | undefined>;
  /** Takes the place of an older one of the same name, whatever its fold version. */
  save(snapshot: Snapshot): Promise<void>;
}

export class MemorySnapshotStore implements SnapshotStore {
  readonly #snapshots = new Map<string, Snapshot>();

  async load(name: string, foldVersion: string): Promise<Snapshot | undefined> {
    const snapshot = this.#snapshots.get(name);
    return snapshot?.foldVersion === foldVersion ? snapshot : undefined;
  }

  async save(snapshot: Snapshot): Promise<void> {
    this.#snapshots.set(snapshot.name, snapshot);
  }
}
