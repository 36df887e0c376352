import * as fs from 'node:fs';

/** An open file of the spool. */
export interface SpoolFile {
  /** The whole of `bytes` from this place on. */
  write(bytes: Uint8Array, at: number): void;
  /** What was written survives a power cut. */
  sync(): void;
  close(): void;
}

/** The few things that the spool does with a disk, each of which may throw. The simulator has its own. */
export interface SpoolDisk {
  /** Only its owner can read it; nothing where it is there already. */
  makeFolder(path: string): void;
  /** Names in a folder. */
  list(folder: string): string[];
  /** Empty where there is no such file. */
  read(path: string): Buffer;
  /** Shorter than `length` where the file ends before. */
  readAt(path: string, offset: number, length: number): Buffer;
  /** Throws where it is there already. */
  create(path: string): SpoolFile;
  /** Made where it is not there, kept as it is where it is. */
  open(path: string): SpoolFile;
  /** Nothing where it is not there. */
  remove(path: string): void;
}

function fileOf(fd: number): SpoolFile {
  return {
    write(bytes, at) {
      for (let done = 0; done < bytes.length;) done += fs.writeSync(fd, bytes, done, bytes.length - done, at + done);
    },
    sync: () => fs.fsyncSync(fd),
    close: () => fs.closeSync(fd),
  };
}

export const systemDisk: SpoolDisk = {
  makeFolder: (path) => void fs.mkdirSync(path, { recursive: true, mode: 0o700 }),
  list: (folder) => fs.readdirSync(folder),
  read: (path) => (fs.existsSync(path) ? fs.readFileSync(path) : Buffer.alloc(0)),
  readAt(path, offset, length) {
    const fd = fs.openSync(path, 'r');
    try {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, fs.readSync(fd, bytes, 0, length, offset));
    } finally {
      fs.closeSync(fd);
    }
  },
  create: (path) => fileOf(fs.openSync(path, 'wx', 0o600)),
  open(path) {
    fs.closeSync(fs.openSync(path, 'a+', 0o600));
    return fileOf(fs.openSync(path, 'r+'));
  },
  remove: (path) => fs.rmSync(path, { force: true }),
};
