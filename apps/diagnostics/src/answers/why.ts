import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { CommitExplanation, RequestExplanation, WhyAnswer } from '#libs/domain/diag';
import { explainCommit, explainRequest, summarize } from '#libs/domain/diag';
import type { StoredCommit } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { CommitRow } from '#libs/projections-postgres';
import type { Core } from '../core.ts';
import { findInFrames } from './read-frames.ts';
import { commitAt, findCommitId, isAccepted } from './read-log.ts';

/** Why a request went where it went, or what a commit decided and why. @throws WHY_NOT_FOUND · LOG_UNAVAILABLE */
export async function why(core: Core, id: string): Promise<WhyAnswer> {
  const { durability } = core.broker;
  const asSeq = /^(?:seq:|#)(\d{1,15})$/.exec(id);
  if (asSeq !== null) {
    const commit = await commitAt(core.broker.log, Number(asSeq[1]));
    if (commit === undefined) throw notFound(id, 'the log has no commit of this sequence');
    return await whyCommit(core, commit, '');
  }
  const notes: string[] = [];
  const request = await findRequest(core, id, notes);
  if (request !== undefined) {
    const commits = await policyCommits(core, request.explanation, notes);
    const summary = summarize(request.explanation);
    const note = notes.join('; ');
    return { durability, source: request.source, note, request: request.explanation, summary, commits };
  }
  const found = await findCommit(core, id, notes);
  if (found === undefined) throw notFound(id, notes.join('; '));
  if (found.kind === 'stored') return await whyCommit(core, found.commit, notes.join('; '));
  const explanation = explainCommit(storedOf(found.row));
  const commit = { ...explanation, accepted: found.row.accepted };
  return { durability, source: 'postgres', note: notes.join('; '), commits: [explanation], commit };
}

function notFound(id: string, looked: string): CodedError {
  return new CodedError('WHY_NOT_FOUND', `neither a request nor a commit ${JSON.stringify(id)} is known (${looked})`, {
    advice:
      'Give the x-lintel-request-id of an answer, a commit id, or #<sequence>. A request shows up within a second.',
  });
}

async function whyCommit({ broker }: Core, commit: StoredCommit, note: string): Promise<WhyAnswer> {
  const explanation = explainCommit(commit);
  const accepted = await isAccepted(broker.log, commit);
  const { durability } = broker;
  return { durability, source: 'log', note, commits: [explanation], commit: { ...explanation, accepted } };
}

type FoundRequest = { readonly source: 'postgres' | 'frames'; readonly explanation: RequestExplanation };

async function findRequest(core: Core, id: string, notes: string[]): Promise<FoundRequest | undefined> {
  const { readers } = core.projector;
  if (readers === undefined) notes.push(core.projector.why);
  else {
    try {
      const row = await readers.requests.find(id);
      if (row !== undefined) {
        const frame = fromBinary(route.RecordFrameSchema, row.record);
        const record = frame.records[0];
        if (record !== undefined) return { source: 'postgres', explanation: explainRequest(frame, record) };
      }
      notes.push('not in Postgres');
    } catch (thrown) {
      notes.push(`Postgres could not answer: ${errorText(thrown)}`);
    }
  }
  try {
    const { found, scanned, complete } = await findInFrames(core.broker.frames, id, core.environment.clock);
    if (found !== undefined) {
      notes.push('found in the frames');
      return { source: 'frames', explanation: explainRequest(found.frame, found.record) };
    }
    notes.push(`not in the ${complete ? '' : 'newest '}${scanned} frames`);
  } catch (thrown) {
    notes.push(`the frames could not be read: ${errorText(thrown)}`);
  }
  return undefined;
}

type FoundCommit =
  | { readonly kind: 'stored'; readonly commit: StoredCommit }
  | { readonly kind: 'row'; readonly row: CommitRow };

async function findCommit(core: Core, id: string, notes: string[]): Promise<FoundCommit | undefined> {
  const { log } = core.broker;
  let row: CommitRow | undefined;
  try {
    row = await core.projector.readers?.commits.find(id);
  } catch {
    // Said before, of the request; the log is asked instead.
  }
  try {
    const commit = row === undefined ? await findCommitId(log, id) : await commitAt(log, row.seq);
    if (commit?.commitId === id) return { kind: 'stored', commit };
  } catch (thrown) {
    if (row === undefined) throw thrown;
    notes.push(`the log could not be read: ${errorText(thrown)}`);
  }
  return row === undefined ? undefined : { kind: 'row', row };
}

/** The commits that made the policy versions of the picks, in the order of the log. */
async function policyCommits(core: Core, request: RequestExplanation, notes: string[]): Promise<CommitExplanation[]> {
  const seqs = [...new Set(request.picks.map(({ policySeq }) => policySeq).filter((seq) => seq > 0))].sort(
    (a, b) => a - b,
  );
  const commits: CommitExplanation[] = [];
  for (const seq of seqs) {
    const commit = await commitOf(core, seq).catch((thrown: unknown) => {
      notes.push(`the commit ${seq} of the policy could not be read: ${errorText(thrown)}`);
      return undefined;
    });
    if (commit === undefined) notes.push(`the log has no commit ${seq}, which the record names as its policy`);
    else commits.push(explainCommit(commit));
  }
  return commits;
}

async function commitOf(core: Core, seq: number): Promise<StoredCommit | undefined> {
  try {
    return await commitAt(core.broker.log, seq);
  } catch (thrown) {
    const row = await core.projector.readers?.commits.bySeq(seq).catch(() => undefined);
    if (row === undefined) throw thrown;
    return storedOf(row);
  }
}

/** A row as the commit it was made from. */
function storedOf(row: CommitRow): StoredCommit {
  const { seq, subject, version, commitId, storedAtMs, hash, prevHash, payload } = row;
  return { seq, subject, version, commitId, storedAtMs, hash, prevHash, schemaLevel: 0, payload };
}
