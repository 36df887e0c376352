import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isSubjectId } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import type { Snapshot, SnapshotStore } from './snapshots.ts';

/**
 * One file for each name: a line of JSON, then the bytes. Written beside, synced and renamed, so that a crash leaves the
 * old one or the new one.
 */
export class FileSnapshotStore implements SnapshotStore {
  #written = 0;

  constructor(private readonly folder: string) {}

  async load(name: string, foldVersion: string): Promise<Snapshot | undefined> {
    let file: Buffer;
    try {
      file = await readFile(this.#path(name));
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new CodedError('SNAPSHOTS_UNAVAILABLE', `cannot read ${this.#path(name)}`, { cause: thrown });
    }
    const newline = file.indexOf(10);
    const head = headOf(file.subarray(0, Math.max(0, newline)));
    if (head === undefined || head.name !== name || head.foldVersion !== foldVersion) return undefined;
    return { ...head, bytes: new Uint8Array(file.subarray(newline + 1)) };
  }

  async save(snapshot: Snapshot): Promise<void> {
    const { bytes, ...head } = snapshot;
    const path = this.#path(snapshot.name);
    const beside = `${path}.${process.pid}.${++this.#written}.tmp`;
    try {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      const file = await open(beside, 'w', 0o600);
      try {
        await file.writeFile(`${JSON.stringify(head)}\n`);
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, path);
    } catch (cause) {
      await rm(beside, { force: true });
      throw new CodedError('SNAPSHOTS_UNAVAILABLE', `cannot write ${path}`, { cause });
    }
  }

  #path(name: string): string {
    if (!isSubjectId(name)) throw new CodedError('SNAPSHOT_NAME_INVALID', `"${name}" cannot name a snapshot`);
    return join(this.folder, `${name}.snapshot`);
  }
}

/** Undefined for anything that is no head line: the file then counts as no snapshot. */
function headOf(line: Buffer): Omit<Snapshot, 'bytes'> | undefined {
  try {
    const { name, foldVersion, seq, hash } = JSON.parse(line.toString('utf8')) as Record<string, unknown>;
    if (typeof name !== 'string' || typeof foldVersion !== 'string' || typeof hash !== 'string') return undefined;
    return typeof seq === 'number' ? { name, foldVersion, seq, hash } : undefined;
  } catch {
    return undefined;
  }
}
