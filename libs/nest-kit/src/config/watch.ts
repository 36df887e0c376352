import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { errorText, type Timers } from '#libs/kernel';
import { parseConfig } from './load.ts';
import { ConfigInvalid } from './problem-list.ts';
import type { LintelConfig } from './schema.ts';

/** How often the file is looked at. Polling sees what notifications miss: mounted ConfigMaps, editors that rename, NFS. */
const pollMs = 500;
/** Reads more after the file was seen to change: a second change within the resolution of its times would look like none. */
const readsAfterChange = 5;

export interface ConfigWatch {
  stop(): void;
}

/**
 * Calls `changed` with each new valid content of the file, and `refused` (once for each content) where it is invalid or
 * unreadable; the configuration in force is then the caller's to keep.
 */
export function watchConfig(
  file: string,
  inForce: string,
  timers: Timers,
  handlers: { changed(config: LintelConfig, contentHash: string): void; refused(reason: string): void },
): ConfigWatch {
  let seen = inForce;
  let busy = false;
  let stamp = '';
  let reads = readsAfterChange;
  const look = async (): Promise<void> => {
    if (busy) return; // the look before this one is still at it; the next one comes soon
    busy = true;
    try {
      const { ino, size, mtimeMs, ctimeMs } = await stat(file);
      const now = `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
      if (now !== stamp) {
        stamp = now;
        reads = readsAfterChange;
      }
      if (reads === 0) return;
      reads--;
      const text = await readFile(file, 'utf8');
      const hash = contentHash(text);
      if (hash === seen) return;
      seen = hash;
      handlers.changed(parseConfig(text, file), hash);
    } catch (error) {
      stamp = '';
      const reason = errorText(error);
      // A content that is refused is remembered by its hash; a file that cannot be read, by the reason.
      if (error instanceof ConfigInvalid) handlers.refused(reason);
      else if (seen !== reason) {
        seen = reason;
        handlers.refused(`cannot read ${file}: ${reason}`);
      }
    } finally {
      busy = false;
    }
  };
  const timer = timers.every(pollMs, () => void look());
  return { stop: () => timer.cancel() };
}

/** Hex sha256 of a document's text. */
export function contentHash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
