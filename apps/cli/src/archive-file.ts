import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { ArchiveVerdict } from '#libs/domain/diag';
import { CodedError, errorText } from '#libs/kernel';
import { textLines } from './http/ndjson.ts';

/** The lines of an archive. @throws FILE_UNREADABLE */
export async function* archiveLines(file: string): AsyncIterable<string> {
  try {
    if ((await stat(file)).isDirectory()) throw new Error('it is a folder');
    yield* textLines(createReadStream(file) as AsyncIterable<Buffer>);
  } catch (cause) {
    if (cause instanceof CodedError) throw cause;
    throw new CodedError('FILE_UNREADABLE', `cannot read ${file}: ${errorText(cause)}`, { cause });
  }
}

/** Offline: no broker, no database, no server. @throws FILE_UNREADABLE, ARCHIVE_INVALID, ARCHIVE_TRUNCATED */
export async function verifyFile(file: string, trusted: readonly string[] | undefined): Promise<ArchiveVerdict> {
  const [{ verifyArchive }, { EventRegistry }] = await Promise.all([
    import('#libs/domain/diag'),
    import('#libs/contracts'),
  ]);
  return await verifyArchive(archiveLines(file), {
    registry: new EventRegistry(),
    ...(trusted === undefined ? {} : { trustedKeys: new Set(trusted) }),
  });
}
