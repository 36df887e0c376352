import type { ProjectionVerdict, VerifyAnswer, VerifyPart } from '#libs/domain/diag';
import type { StoredAnchor } from '#libs/event-log';
import { LogVerifier, parseAnchor, verifyProblemsMax } from '#libs/event-log';
import { errorText } from '#libs/kernel';
import type { Projection } from '#libs/projections';
import { projectionId } from '#libs/projections';
import type { FoldComparison } from '#libs/projections-postgres';
import { projectionEqualsFold, projections } from '#libs/projections-postgres';
import type { Core } from '../core.ts';
import { Slices } from '../slices.ts';

/** The whole log against its own hashes, its chain and the seals; with `projections`, each row against the fold of the log. */
export async function verify(core: Core, options: { readonly projections: boolean }): Promise<VerifyAnswer> {
  const { broker, registry, environment, notary, trustedKeys } = core;
  const startedMs = environment.clock.monotonicMs();
  const notes: string[] = [];
  // Seals first: what they cover is then in the log already.
  const anchors = await broker.anchors.readAll();
  const verifier = new LogVerifier({ registry, anchors, trustedKeys });
  const slices = new Slices(environment.timers);
  const lastSeq = await broker.log.lastSeq();
  if (lastSeq > 0) {
    for await (const commit of broker.log.read({ fromSeq: 1, toSeq: lastSeq })) {
      verifier.add(commit);
      await slices.next();
    }
  }
  const report = verifier.report();
  const copied = await verifyCopies(core, anchors, notes);
  const verdicts = options.projections ? await verifyProjections(core, notes) : [];
  const { commits, aggregates, forked, sealedThroughSeq } = report;
  const problems = [...report.problems, ...copied].sort((a, b) => a.seq - b.seq);
  const [firstBad] = problems;
  if (broker.durability === 'memory') notes.push('the log is in memory: it ends with the process');
  if (sealedThroughSeq < report.lastSeq) {
    notes.push(`${report.lastSeq - sealedThroughSeq} newest commits are not sealed yet`);
  }
  const { halted, haltedReason } = notary.status();
  if (halted) notes.push(`the notary is halted: ${haltedReason}`);
  if (forked > 0) notes.push(`${forked} commits lost a race: no reader accepts them, which is no fault of the log`);
  return {
    durability: broker.durability,
    ok: problems.length === 0 && verdicts.every(({ equal }) => equal),
    commits,
    aggregates,
    forked,
    lastSeq: report.lastSeq,
    anchors: report.anchors,
    sealedThroughSeq,
    ...(firstBad === undefined ? {} : { firstBad }),
    problems,
    problemsTotal: report.problemsTotal + copied.length,
    projections: verdicts,
    notes,
    durationMs: environment.clock.monotonicMs() - startedMs,
  };
}

/** The copies of the seals in Postgres: a stream that was made anew, seals and all, differs from them. */
async function verifyCopies(core: Core, anchors: readonly StoredAnchor[], notes: string[]): Promise<VerifyPart[]> {
  const { readers, why } = core.projector;
  if (readers === undefined) {
    notes.push(`the copies of the seals were not compared: ${why}`);
    return [];
  }
  try {
    const inStream = new Map(anchors.map(({ seq, json }) => [seq, json]));
    const lastSeq = anchors.at(-1)?.seq ?? 0;
    const wrong: VerifyPart[] = [];
    for (const { seq, json } of await readers.anchors.list()) {
      if (inStream.get(seq) === json || wrong.length >= verifyProblemsMax) continue;
      // A seal that was made since the stream was read is no difference.
      if (seq > lastSeq && (await core.broker.anchors.readAll()).some((now) => now.seq === seq && now.json === json))
        continue;
      const text = `seal ${seq} is not the one that Postgres holds a copy of`;
      wrong.push({ seq: firstSeqOf(json), rule: 'anchor-copy', text });
    }
    return wrong;
  } catch (thrown) {
    notes.push(`the copies of the seals were not compared: ${errorText(thrown)}`);
    return [];
  }
}

function firstSeqOf(json: string): number {
  try {
    return parseAnchor(json).firstSeq;
  } catch {
    // Not even an anchor: it speaks of everything.
    return 1;
  }
}

async function verifyProjections(core: Core, notes: string[]): Promise<ProjectionVerdict[]> {
  const { database } = core.projector;
  if (database === undefined) {
    notes.push('there is no database: no projection was compared');
    return [];
  }
  const verdicts: ProjectionVerdict[] = [];
  for (const projection of projections) verdicts.push(await verdictOf(core, projection));
  return verdicts;
}

async function verdictOf(core: Core, projection: Projection): Promise<ProjectionVerdict> {
  const { projector } = core;
  const id = projectionId(projection);
  if (projector.database === undefined || projector.readers === undefined) {
    return { projection: id, equal: false, seq: 0, text: `not compared: ${projector.why}` };
  }
  try {
    const source = projector.source(projection);
    const compared = await projectionEqualsFold({ database: projector.database, projection, source });
    return { projection: id, equal: compared.equal, seq: compared.seq, text: wordsOf(compared) };
  } catch (thrown) {
    return { projection: id, equal: false, seq: 0, text: `not compared: ${errorText(thrown)}` };
  }
}

/** The first row that is not as the log says, in words. */
function wordsOf({ tables, seq }: FoldComparison): string {
  const wrong = tables.find(({ difference }) => difference !== undefined);
  if (wrong?.difference !== undefined) {
    const { kind, key, columns } = wrong.difference;
    const what = { different: 'is not as the log says', missing: 'is missing', extra: 'is not from the log' }[kind];
    const where = columns.length === 0 ? '' : ` in ${columns.join(', ')}`;
    return `table ${wrong.table}: the row ${JSON.stringify(key)} ${what}${where}`;
  }
  const rows = tables.reduce((sum, table) => sum + table.rows, 0);
  const left = tables.filter(({ compared }) => !compared).map(({ table, note }) => `${table} not compared: ${note}`);
  return [`${rows} rows are the fold of everything up to ${seq}`, ...left].join('; ');
}
