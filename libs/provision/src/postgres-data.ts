import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CodedError } from '#libs/kernel';
import type { PostgresBinaries } from './postgres-binaries.ts';
import type { PostgresUser } from './postgres-user.ts';

const run = promisify(execFile);

export const databaseUser = 'lintel';
export const databaseName = 'lintel';

async function capture(user: PostgresUser, program: string, args: readonly string[], input: string): Promise<void> {
  const child = user.spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const end = new Promise<number | null>((done, fail) => {
    child.on('error', fail);
    child.on('close', done);
  });
  child.stdin?.on('error', () => {
    // A program that has ended tells why by its exit status.
  });
  child.stdin?.end(input);
  const code = await end;
  if (code === 0) return;
  throw new CodedError('POSTGRES_INIT_FAILED', `${program} ended with ${code}: ${output.trim().slice(-600)}`, {
    advice: 'Check that the folder is writable, on a local disk, and has 100 MB free.',
  });
}

/** A new cluster with a generated password, in `folder`: data/ (the server's own) and password (0600, ours). */
async function create(folder: string, binaries: PostgresBinaries, user: PostgresUser): Promise<void> {
  const dataDir = join(folder, 'data');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  await user.own(dataDir);
  const password = randomBytes(24).toString('hex');
  const passwordFile = join(folder, 'initdb-password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  await user.own(passwordFile);
  const fixed = ['--encoding=UTF8', '--locale=C', '--no-sync', '--auth-local=reject', '--auth-host=scram-sha-256'];
  await capture(user, binaries.initdb, ['-D', dataDir, '-U', databaseUser, `--pwfile=${passwordFile}`, ...fixed], '');
  await rm(passwordFile);
  await capture(
    user,
    binaries.postgres,
    ['--single', '-D', dataDir, '-c', 'fsync=off', 'postgres'],
    `create database ${databaseName}\n`,
  );
  await writeFile(join(folder, 'password'), `${password}\n`, { mode: 0o600 });
}

/** `cp -a` keeps owners and is three times as fast as copying file by file here; elsewhere Node copies. */
async function copyTree(from: string, to: string): Promise<void> {
  await run('cp', ['-a', from, to]).catch(
    async () => await cp(from, to, { recursive: true, preserveTimestamps: true }),
  );
}

async function exists(path: string): Promise<boolean> {
  return readFile(join(path, 'password')).then(
    () => true,
    () => false,
  );
}

/** A finished cluster appears by one rename: a killed start leaves only a folder that the next one throws away. */
async function appear(folder: string, fill: (unfinished: string) => Promise<void>): Promise<void> {
  const unfinished = `${folder}.new-${process.pid}-${randomBytes(3).toString('hex')}`;
  try {
    await fill(unfinished);
    await rename(unfinished, folder);
  } catch (error) {
    // Another process may have been first; its cluster is as good.
    if (!(await exists(folder))) throw error;
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

export interface Cluster {
  readonly dataDir: string;
  readonly password: string;
  readonly created: boolean;
}

/**
 * The cluster in `folder`, made when there is none: by initdb, or by copying a template kept in `cacheDir` (tests; clusters from
 * one template share their password).
 */
export async function ensureCluster(
  folder: string,
  binaries: PostgresBinaries,
  user: PostgresUser,
  cacheDir: string | undefined,
): Promise<Cluster> {
  const created = !(await exists(folder));
  if (created) {
    if (cacheDir === undefined) {
      await appear(folder, async (unfinished) => {
        await mkdir(unfinished, { recursive: true });
        await create(unfinished, binaries, user);
      });
    } else {
      const template = join(cacheDir, `postgres-${binaries.version}-1`);
      await mkdir(cacheDir, { recursive: true });
      if (!(await exists(template))) {
        await appear(template, async (unfinished) => {
          await mkdir(unfinished, { recursive: true });
          await create(unfinished, binaries, user);
        });
      }
      await appear(folder, async (unfinished) => await copyTree(template, unfinished));
      await chmod(join(folder, 'password'), 0o600);
    }
  }
  const password = (await readFile(join(folder, 'password'), 'utf8')).trim();
  const major = (await readFile(join(folder, 'data/PG_VERSION'), 'utf8')).trim();
  if (binaries.version.split('.')[0] !== major) {
    throw new CodedError(
      'POSTGRES_VERSION_DIFFERS',
      `${folder} was made by Postgres ${major}; found is ${binaries.version}`,
      {
        advice: `Use Postgres ${major}, or move ${folder} away: the projections are rebuilt from the log.`,
      },
    );
  }
  return { dataDir: join(folder, 'data'), password, created };
}
