import type { ListAnswer, ProjectionState, RebuildLine } from '#libs/domain/diag';
import { errorText } from '#libs/kernel';
import type { RunnerStatus } from '#libs/projections';
import type { Checkpoint } from '#libs/projections-postgres';
import { rebuild } from '#libs/projections-postgres';
import { CodedError } from '#libs/kernel';
import type { Core } from '../core.ts';
import type { Lines } from '../http/lines.ts';

function ofCheckpoint(checkpoint: Checkpoint): ProjectionState {
  const { id, generation, phase, state, stale, seq, headSeq, lag, items, haltedReason } = checkpoint;
  return { id, generation, phase, state, stale, seq, headSeq, lag, items, haltedReason };
}

function ofRunner(status: RunnerStatus): ProjectionState {
  const { projection, state, generation, phase, seq = 0, headSeq = 0, halt, waitingFor } = status;
  return {
    id: projection,
    generation: generation?.generation ?? 0,
    phase: phase ?? 'unknown',
    state,
    stale: state !== 'running',
    seq,
    headSeq,
    lag: Math.max(0, headSeq - seq),
    items: 0,
    haltedReason: halt?.reason ?? waitingFor ?? null,
  };
}

/** Each build of each projection, as the database says; as the projectors say where it is away. */
export async function listProjections(core: Core): Promise<ListAnswer<ProjectionState>> {
  const { projector, broker } = core;
  const atSeq = core.fold.headSeq;
  const { durability } = broker;
  let note: string = projector.why;
  if (projector.readers !== undefined) {
    try {
      return { durability, atSeq, items: (await projector.readers.checkpoints.list()).map(ofCheckpoint) };
    } catch (thrown) {
      note = `Postgres could not answer: ${errorText(thrown)}`;
    }
  }
  return { durability, atSeq, items: projector.statuses().map(ofRunner), note };
}

/** Starts a halted projection again. @throws PROJECTION_UNKNOWN · DB_UNAVAILABLE */
export async function retryProjection(core: Core, name: string): Promise<ListAnswer<ProjectionState>> {
  const { id } = core.projector.find(name);
  await core.projector.retry(id);
  const answer = await listProjections(core);
  return { ...answer, items: answer.items.filter((item) => item.id === id) };
}

/** Folds the stream anew beside the tables in use and swaps. A reader that leaves stops it; the next call goes on. */
export async function rebuildProjection(core: Core, name: string, lines: Lines): Promise<void> {
  const { projector } = core;
  const { projection, id } = projector.find(name);
  if (projector.database === undefined || projector.readers === undefined) {
    throw new CodedError('DB_UNAVAILABLE', projector.why, { advice: 'A rebuild needs the database.' });
  }
  const { seq, durationMs } = await rebuild({
    database: projector.database,
    projection,
    source: projector.source(projection),
    signal: lines.signal,
    onProgress: (progress) => void lines.write({ kind: 'progress', ...progress } satisfies RebuildLine),
  });
  await lines.write({ kind: 'done', projection: id, seq, durationMs } satisfies RebuildLine);
}
