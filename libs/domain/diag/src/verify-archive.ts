import type { EventRegistry } from '#libs/contracts';
import type { StoredCommit, VerifyReport } from '#libs/event-log';
import { ArchiveReader, LogVerifier } from '#libs/event-log';

export interface ArchiveVerdict {
  readonly stream: string;
  readonly createdAtMs: number;
  readonly report: VerifyReport;
}

/**
 * Verifies an archive from its lines alone, with no broker and no database. `onCommit` sees each commit on the way.
 * @throws ARCHIVE_INVALID, ARCHIVE_TRUNCATED with the line
 */
export async function verifyArchive(
  lines: AsyncIterable<string>,
  options: {
    readonly registry?: EventRegistry;
    readonly trustedKeys?: ReadonlySet<string>;
    readonly onCommit?: (commit: StoredCommit) => void;
  } = {},
): Promise<ArchiveVerdict> {
  const reader = new ArchiveReader();
  const { registry, trustedKeys } = options;
  const verifier = new LogVerifier({ registry, trustedKeys });
  let header = { stream: '', createdAtMs: NaN };
  let anchors = 0;
  for await (const line of lines) {
    const entry = reader.read(line);
    if (entry?.kind === 'header') header = entry;
    else if (entry?.kind === 'anchor') verifier.addAnchor({ seq: ++anchors, json: entry.json });
    else if (entry?.kind === 'commit') {
      verifier.add(entry.commit);
      options.onCommit?.(entry.commit);
    }
  }
  reader.finish();
  return { ...header, report: verifier.report() };
}
