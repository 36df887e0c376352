import { mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { destination } from 'pino';
import type { Timers } from '#libs/kernel';
import { createLogger, type Logger } from '#libs/observability';

const logBytesMax = 32 * 1024 * 1024;
const lookEveryMs = 60_000;

/** The log of one app: JSON lines in a file, because the terminal belongs to the banner. */
export interface FileLog {
  readonly logger: Logger;
  readonly file: string;
  write(text: string): void;
  close(): void;
}

/** At most two files of `logBytesMax` for each name: the one being written and the one before it. */
export function openLog(folder: string, name: string, level: string, timers: Timers): FileLog {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${name}.log`);
  const turn = (): boolean => {
    try {
      if (statSync(file).size < logBytesMax) return false;
      renameSync(file, `${file}.1`);
      return true;
    } catch {
      return false; // not there yet, or not to be renamed: written on as it is
    }
  };
  turn();
  const stream = destination({ dest: file, sync: false, mode: 0o600 });
  // A log that cannot be written (a full disk) must not end what it tells about.
  stream.on('error', () => {});
  const looking = timers.every(lookEveryMs, () => {
    if (turn()) stream.reopen();
  });
  return {
    logger: createLogger({ name, level, stream }),
    file,
    write: (text) => void stream.write(text),
    close: () => {
      looking.cancel();
      try {
        stream.flushSync();
      } catch {
        // Never opened, or the disk is full: nothing more can be kept.
      }
      stream.end();
    },
  };
}
