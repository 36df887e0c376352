import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ArchiveVerdict } from '#libs/domain/diag';
import type { Broker, StoredCommit } from '#libs/event-log';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import { archiveLines, verifyFile } from '../archive-file.ts';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import { renderArchive, renderImported } from '../render/verify.ts';
import { plural } from '../render/text.ts';
import { count } from '../render/units.ts';
import type { Flags } from './command.ts';

/** Commits under way at once. They travel in order on one connection, so that each lands behind the one before. */
const inFlightMax = 64;

export interface Imported {
  readonly commits: number;
  readonly anchors: number;
  readonly lastSeq: number;
  /** What stands in the log now, read back and verified. */
  readonly ok: boolean;
  /** Who sealed what was imported: SPKI DER in base64. */
  readonly publicKeys: readonly string[];
}

const notEmpty = (lastSeq: number, anchors: number): CodedError =>
  new CodedError('LOG_NOT_EMPTY', `the log holds ${lastSeq} commits and ${anchors} anchors already`, {
    advice: 'An archive is restored into an empty log only: choose a new home with --home, or an empty server.',
  });

const astray = (commit: StoredCommit, foundSeq: number): CodedError =>
  new CodedError('ARCHIVE_IMPORT_FAILED', `commit ${commit.commitId} came to sequence ${foundSeq}, not ${commit.seq}`, {
    advice:
      'Somebody else writes to this log. Stop them, remove what was imported with the home folder, and import anew.',
  });

/**
 * Writes an archive that was verified into an empty log: every commit at its sequence, then the anchors, then reads back and
 * verifies what stands there. @throws LOG_NOT_EMPTY · ARCHIVE_IMPORT_FAILED · as EventLog.append
 */
export async function importArchive(
  lines: AsyncIterable<string>,
  broker: Pick<Broker, 'log' | 'anchors'>,
  onProgress: (commits: number) => void,
): Promise<Imported> {
  const { ArchiveReader, LogVerifier, parseAnchor } = await import('#libs/event-log');
  const { EventRegistry } = await import('#libs/contracts');
  const before = [await broker.log.lastSeq(), (await broker.anchors.readAll()).length] as const;
  if (before[0] > 0 || before[1] > 0) throw notEmpty(...before);

  const reader = new ArchiveReader();
  const lastSeqs = new Map<string, number>();
  const underWay = new Set<Promise<void>>();
  const anchors: string[] = [];
  let failure: unknown;
  let commits = 0;
  let lastSeq = 0;
  const append = async (commit: StoredCommit, expectedSeq: number): Promise<void> => {
    const { seq } = await broker.log.append(commit, { seq: expectedSeq, version: 0, hash: '' });
    if (seq !== commit.seq) throw astray(commit, seq);
  };
  for await (const line of lines) {
    const entry = reader.read(line);
    if (entry?.kind === 'anchor') anchors.push(entry.json);
    if (entry?.kind !== 'commit') continue;
    const { commit } = entry;
    const expectedSeq = lastSeqs.get(commit.subject) ?? 0;
    lastSeqs.set(commit.subject, commit.seq);
    const one: Promise<void> = append(commit, expectedSeq)
      .catch((thrown: unknown) => void (failure ??= thrown))
      .finally(() => void underWay.delete(one));
    underWay.add(one);
    if (underWay.size >= inFlightMax) await Promise.race(underWay);
    if (failure !== undefined) break;
    onProgress(++commits);
    lastSeq = commit.seq;
  }
  await Promise.all(underWay);
  if (failure !== undefined) throw failure;
  reader.finish();
  for (const [index, json] of anchors.entries()) await broker.anchors.append(json, index);

  const verifier = new LogVerifier({ registry: new EventRegistry(), anchors: await broker.anchors.readAll() });
  if (commits > 0) for await (const commit of broker.log.read({ fromSeq: 1 })) verifier.add(commit);
  const report = verifier.report();
  const ok = report.ok && report.commits === commits && report.lastSeq === lastSeq && report.anchors === anchors.length;
  const publicKeys = [...new Set(anchors.map((json) => parseAnchor(json).publicKey))];
  return { commits, anchors: anchors.length, lastSeq, ok, publicKeys };
}

/** The notary of this home goes on from seals of another key only where that key lies beside its own. */
async function trustKeys(home: string, publicKeys: readonly string[]): Promise<void> {
  const folder = join(home, 'keys');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const publicKey of publicKeys) {
    const name = createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
    await writeFile(join(folder, `notary-${name}.pub`), `${publicKey}\n`, { mode: 0o644 });
  }
}

async function lockOwner(home: string): Promise<number | undefined> {
  const pid = Number((await readFile(join(home, 'lock'), 'utf8').catch(() => '')).trim());
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  try {
    process.kill(pid, 0);
    return pid;
  } catch (thrown) {
    return errorCode(thrown) === 'EPERM' ? pid : undefined;
  }
}

interface Opened {
  readonly broker: Broker;
  readonly where: string;
  /** Of a managed server. */
  readonly home?: string;
  close(): Promise<void>;
}

/** The server of LINTEL_NATS_URL, else the managed one of a home in which no Lintel runs, started for this. */
async function openBroker(cli: Cli): Promise<Opened> {
  const [{ env }, { natsBroker }, { EventRegistry }] = await Promise.all([
    import('#libs/nest-kit'),
    import('#libs/event-log-nats'),
    import('#libs/contracts'),
  ]);
  const registry = new EventRegistry();
  const log = (line: string): void => cli.note(line);
  const name = 'cli:archive-import';
  if (env.natsUrl !== undefined) {
    const { natsUrl: url, natsUser: user, natsPassword: password } = env;
    const broker = await natsBroker({ url, user, password, name, registry, log });
    return { broker, where: broker.description, close: () => broker.close() };
  }
  const home = resolve(cli.home);
  const owner = await lockOwner(home);
  if (owner !== undefined) {
    throw new CodedError('LOG_NOT_EMPTY', `a Lintel (pid ${owner}) runs in ${home} and writes to its log`, {
      advice: 'Restore into a new home: lintel archive import FILE --home NEW, then lintel up --home NEW.',
    });
  }
  const { provideNats } = await import('#libs/provision');
  const nats = await provideNats({ home, cacheDir: env.cache, log });
  if ('unavailable' in nats) {
    throw new CodedError('NATS_UNREACHABLE', 'no nats-server can be had', { advice: nats.advice });
  }
  try {
    const operator = nats.credentials?.operator;
    const broker = await natsBroker({
      url: nats.url,
      user: operator?.user,
      password: operator?.password,
      name,
      registry,
      log,
    });
    return {
      broker,
      where: home,
      home,
      close: async () => {
        await broker.close();
        await nats.stop();
      },
    };
  } catch (thrown) {
    await nats.stop();
    throw thrown;
  }
}

const unverified = (file: string, { report }: ArchiveVerdict): CodedError =>
  new CodedError(
    'ARCHIVE_UNVERIFIED',
    `${file} does not verify: first at #${report.firstBad?.seq ?? '?'}, ${report.firstBad?.text ?? 'unknown'}`,
    { advice: `Nothing was written. See all of it: lintel verify --archive ${file}` },
  );

export async function importCommand(cli: Cli, [file = '']: readonly string[], flags: Flags): Promise<ExitCode> {
  const trusted = flags['trustedKey'] as readonly string[] | undefined;
  cli.progress(`verifying ${file}`);
  const verdict = await verifyFile(file, trusted);
  if (!verdict.report.ok) {
    if (!cli.json)
      cli.note(renderArchive(file, verdict, trusted !== undefined, { ...cli.layout, paint: cli.notePaint }));
    throw unverified(file, verdict);
  }
  const { broker, where, home, close } = await openBroker(cli);
  try {
    const imported = await importArchive(archiveLines(file), broker, (commits) =>
      cli.progress(`${count(commits)} of ${plural(verdict.report.commits, 'commit')} written`),
    );
    if (home !== undefined && imported.ok) await trustKeys(home, imported.publicKeys);
    await cli.answer({ file, where, ...imported }, (layout) => renderImported(file, where, imported, layout, home));
    return imported.ok ? exitCodes.ok : exitCodes.no;
  } finally {
    await close().catch((thrown: unknown) => cli.note(`while closing: ${errorText(thrown)}`));
  }
}
