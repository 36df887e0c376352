import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { env } from '#libs/nest-kit';
import { providePostgres } from '#libs/provision';

export interface LaunchedPostgres {
  /** Of an empty database that is this test file's own. */
  readonly url: string;
  /** kill -9 of the server; with `restart` it comes back on the same port. Only where the server is the file's own. */
  kill(): void;
  stop(): Promise<void>;
}

export interface LaunchPostgresOptions {
  /** A server of its own even where the run shares one: needed to kill it. */
  readonly own?: boolean;
  /** Survives kill -9 of the operating system too; default false, for speed. */
  readonly fsync?: boolean;
  readonly log?: (line: string) => void;
}

async function onServer(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** A database on the run's shared server: made, and dropped with whatever is still connected to it. */
async function onShared(sharedUrl: string): Promise<LaunchedPostgres> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  await onServer(sharedUrl, async (client) => await client.query(`create database ${name}`));
  const url = new URL(sharedUrl);
  url.pathname = `/${name}`;
  return {
    url: url.toString(),
    kill: () => {
      throw new Error('a shared server must not be killed: launchPostgres({ own: true })');
    },
    stop: async () =>
      await onServer(sharedUrl, async (client) => await client.query(`drop database ${name} with (force)`)),
  };
}

/**
 * A Postgres for one test file: a database on the run's shared server (LINTEL_TEST_DATABASE_URL), else a server of its own from a cached cluster.
 * `stop()` leaves nothing behind.
 */
export async function launchPostgres(options: LaunchPostgresOptions = {}): Promise<LaunchedPostgres> {
  const sharedUrl = env.variable('LINTEL_TEST_DATABASE_URL');
  if (sharedUrl !== undefined && options.own !== true) return await onShared(sharedUrl);
  const home = await mkdtemp(join(tmpdir(), 'lintel-pg-'));
  try {
    const provided = await providePostgres({
      home,
      cacheDir: join(tmpdir(), `lintel-test-cache-${process.getuid?.() ?? 0}`),
      fsync: options.fsync ?? false,
      log: options.log ?? (() => {}),
    });
    return {
      url: provided.url,
      kill: () => {
        if (provided.pid !== undefined) process.kill(provided.pid, 'SIGKILL');
      },
      stop: async () => {
        await provided.stop();
        await rm(home, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(home, { recursive: true, force: true });
    throw error;
  }
}
