import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { chmod, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, errorCode, errorText } from '#libs/kernel';

/** What the command line needs to find a running Lintel. Holds no secret: the admin key has its own file. */
export interface Connection {
  readonly apiUrl: string;
  readonly gatewayUrl: string;
  /** Of a gateway behind https: whoever shows it is that gateway. */
  readonly gatewayCertFile?: string;
  readonly adminKeyFile: string;
  readonly durability: 'memory' | 'disk';
  readonly pid: number;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

/** True where that process is a Lintel, so that a pid that was given to another program does not hold the lock. */
async function isLintel(pid: number): Promise<boolean> {
  if (!alive(pid)) return false;
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes('standalone');
  } catch {
    // No /proc here (macOS): a process with this pid lives, and that must be enough.
    return true;
  }
}

/** The folder that holds all state of one Lintel. One process at a time: a lock that names its owner. */
export class Home {
  readonly #lockFile: string;

  private constructor(readonly folder: string) {
    this.#lockFile = join(folder, 'lock');
  }

  /** @throws HOME_UNWRITABLE, HOME_IN_USE */
  static async open(folder: string): Promise<Home> {
    const home = new Home(folder);
    try {
      await mkdir(folder, { recursive: true, mode: 0o711 });
      await home.#lock();
    } catch (error) {
      if (error instanceof CodedError) throw error;
      throw new CodedError('HOME_UNWRITABLE', `cannot write to ${folder}: ${errorText(error)}`, {
        advice: 'Choose another folder with --home, or mend its permissions.',
        cause: error,
      });
    }
    return home;
  }

  async #lock(): Promise<void> {
    // Two tries: the second after a stale lock was removed.
    for (let attempt = 1; ; attempt++) {
      try {
        const file = await open(this.#lockFile, 'wx', 0o600);
        await file.writeFile(`${process.pid}\n`);
        await file.close();
        return;
      } catch (error) {
        if (errorCode(error) !== 'EEXIST' || attempt === 2) throw error;
        const owner = Number((await readFile(this.#lockFile, 'utf8')).trim());
        if (Number.isInteger(owner) && owner > 0 && owner !== process.pid && (await isLintel(owner))) {
          throw new CodedError('HOME_IN_USE', `${this.folder} is in use by the Lintel with pid ${owner}`, {
            advice: 'Stop it first, or choose another folder with --home.',
          });
        }
        await rm(this.#lockFile, { force: true });
      }
    }
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** The secret in this file, made at first use. Only its owner can read it. */
  async secret(file: string, prefix: string): Promise<string> {
    const path = this.path(file);
    try {
      return (await readFile(path, 'utf8')).trim();
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      const secret = `${prefix}${randomBytes(24).toString('base64url')}`;
      await writeFile(path, `${secret}\n`, { mode: 0o600 });
      await chmod(path, 0o600);
      return secret;
    }
  }

  /** @throws HOME_IN_USE where two starts at the same moment both took a stale lock; the later one keeps it. */
  async announce(connection: Connection): Promise<void> {
    if (!this.#isOurs()) {
      throw new CodedError('HOME_IN_USE', `${this.folder} was taken by another Lintel while this one started`, {
        advice: 'Stop it first, or choose another folder with --home.',
      });
    }
    const path = this.path('connection.json');
    await writeFile(`${path}.new`, `${JSON.stringify(connection, null, 2)}\n`, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  #isOurs(): boolean {
    try {
      return Number(readFileSync(this.#lockFile, 'utf8').trim()) === process.pid;
    } catch {
      return false; // gone, or not to be read: not a lock that we may take away
    }
  }

  /** Synchronous, so that it also works in the last moment of a process. Leaves another's lock alone. */
  close(): void {
    if (!this.#isOurs()) return;
    rmSync(this.path('connection.json'), { force: true });
    rmSync(this.#lockFile, { force: true });
  }
}
