import type { SpoolDisk, SpoolFile } from '#libs/recording';
import type { Network } from './network.ts';
import type { Life } from './virtual-time.ts';

/** A disk that outlives the processes that use it. A write of a process that is dead by then changes nothing. */
export class SimDisk {
  readonly #files = new Map<string, Buffer>();

  constructor(
    private readonly network: Network,
    /** Part of a write, in [0, 1), that still gets done by a process that dies in it. */
    private readonly part: () => number,
  ) {}

  /** The disk as one incarnation sees it; `die` ends it in the middle of a write. */
  seenBy(life: Life, die: () => void): SpoolDisk {
    const files = this.#files;
    const read = (path: string): Buffer => files.get(path) ?? Buffer.alloc(0);
    const put = (path: string, bytes: Uint8Array, at: number): void => {
      const before = read(path);
      const after = Buffer.alloc(Math.max(before.length, at + bytes.length));
      after.set(before);
      after.set(bytes, at);
      files.set(path, after);
    };
    const fileAt = (path: string): SpoolFile => ({
      write: (bytes, at) => {
        if (!life.alive) return;
        const dies = this.network.strikes('tornWrite');
        put(path, dies ? bytes.subarray(0, Math.floor(this.part() * bytes.length)) : bytes, at);
        if (!dies) return;
        die();
        throw new Error('died in a write');
      },
      sync: () => {},
      close: () => {},
    });
    return {
      makeFolder: () => {},
      list: (folder) => [...files.keys()].map((path) => path.slice(folder.length + 1)),
      read,
      readAt: (path, offset, length) => read(path).subarray(offset, offset + length),
      create: (path) => {
        if (files.has(path)) throw new Error(`${path} is there already`);
        if (life.alive) files.set(path, Buffer.alloc(0));
        return fileAt(path);
      },
      open: (path) => {
        if (life.alive && !files.has(path)) files.set(path, Buffer.alloc(0));
        return fileAt(path);
      },
      remove: (path) => {
        if (life.alive) files.delete(path);
      },
    };
  }
}
