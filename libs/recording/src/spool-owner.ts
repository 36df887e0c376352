import { existsSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode } from '#libs/kernel';

/** A process that may own spools. */
export interface SpoolHolder {
  readonly pid: number;
  readonly host: string;
  /** Of one start of it: a pid comes again. */
  readonly bootId: string;
}

const ownerFile = 'owner';

const textOf = ({ pid, host, bootId }: SpoolHolder): string => `${pid} ${host} ${bootId}\n`;

/** Says whose the folder is from now on; it has to be there. */
export function own(folder: string, holder: SpoolHolder): void {
  writeFileSync(join(folder, ownerFile), textOf(holder), { mode: 0o600 });
}

/** Shows that its owner lives. False where the folder is not its own any more. */
export function stillOwns(folder: string, holder: SpoolHolder, nowMs: number): boolean {
  try {
    const path = join(folder, ownerFile);
    if (readFileSync(path, 'utf8') !== textOf(holder)) return false;
    utimesSync(path, nowMs / 1000, nowMs / 1000);
    return true;
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return false;
    throw thrown;
  }
}

/**
 * What tells of the owner of a folder that has none any more; undefined where it may live. A process of this machine is looked for; of one
 * elsewhere, in another container say, its last sign of life tells; of a folder without an owner its newest frame.
 */
export function abandoned(
  folder: string,
  { host }: SpoolHolder,
  nowMs: number,
  silentMsMax: number,
): string | undefined {
  try {
    const path = join(folder, ownerFile);
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const atMs = text === '' ? newestFrameMs(folder) : statSync(path).mtimeMs;
    if (nowMs - atMs > silentMsMax) return text;
    const [pid, of] = text.split(' ');
    return of === host && !lives(Number(pid)) ? text : undefined;
  } catch (thrown) {
    // Another one took it, or its owner made it in this very moment.
    if (errorCode(thrown) === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** NaN where there is none. */
function newestFrameMs(folder: string): number {
  const names = readdirSync(folder).filter((name) => name.endsWith('.frames'));
  return names.length === 0 ? Number.NaN : Math.max(...names.map((name) => statSync(join(folder, name)).mtimeMs));
}

/** The text that `abandoned` saw is still what stands there. */
export function stillAbandoned(folder: string, seen: string): boolean {
  try {
    return readFileSync(join(folder, ownerFile), 'utf8') === seen;
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return seen === '';
    throw thrown;
  }
}

function lives(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return errorCode(thrown) !== 'ESRCH';
  }
}
