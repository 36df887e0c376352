import { streams } from '#libs/contracts';
import { archiveLine } from '#libs/event-log';
import type { Core } from '../core.ts';
import type { Lines } from '../http/lines.ts';

/** The log with its seals as lines that verify offline. Written to the end, the last line counts them. */
export async function exportArchive({ broker, environment }: Core, lines: Lines): Promise<void> {
  const createdAtMs = environment.clock.nowMs();
  // Seals before the end of the log is taken, so that each one's commits are in the file.
  const anchors = await broker.anchors.readAll();
  const lastSeq = await broker.log.lastSeq();
  await lines.text(archiveLine({ kind: 'header', format: 1, stream: streams.events, createdAtMs }));
  for (const { json } of anchors) await lines.text(archiveLine({ kind: 'anchor', json }));
  let commits = 0;
  let written = 0;
  if (lastSeq > 0) {
    for await (const commit of broker.log.read({ fromSeq: 1, toSeq: lastSeq })) {
      if (!(await lines.text(archiveLine({ kind: 'commit', commit })))) return;
      commits++;
      written = commit.seq;
    }
  }
  await lines.text(archiveLine({ kind: 'end', commits, lastSeq: written }));
}
