import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText, systemEnvironment } from '#libs/kernel';
import { findPostgres } from './postgres-binaries.ts';
import { databaseName, databaseUser, ensureCluster } from './postgres-data.ts';
import {
  dropStalePostmasterFile,
  freePort,
  isAlive,
  isServerOf,
  readPostmasterFile,
  startServer,
  stopServer,
} from './postgres-process.ts';
import { postgresUser } from './postgres-user.ts';

export interface ProvidePostgresOptions {
  /** Lintel's state folder; the server's files go to `<home>/postgres`. One process at a time may own a home. */
  readonly home: string;
  /** A server that is there already: checked and used, never stopped. */
  readonly existingUrl?: string | undefined;
  readonly log: (line: string) => void;
  /** Keeps a ready-made cluster to copy, so that a test starts in a fraction of a second. */
  readonly cacheDir?: string;
  readonly environment?: Environment;
  /** Tests of many small databases do without fsync; never for data that should survive a power cut. */
  readonly fsync?: boolean;
  /** Starts a server that died again, on the same port. Default true. */
  readonly restart?: boolean;
}

export interface ProvidedPostgres {
  /** With user and password: never log it. */
  readonly url: string;
  readonly how: 'existing' | 'npm' | 'PATH';
  readonly version: string;
  /** True when a server that a killed process had left behind was taken over. */
  readonly adopted: boolean;
  /** Of the running server; undefined for an existing one and between a death and its restart. */
  readonly pid: number | undefined;
  /** Bounded. Leaves no process. */
  stop(): Promise<void>;
}

const connectMsMax = 3_000;
const startAttemptsMax = 4;
const superviseMs = 250;
/** A server that dies more often than this within the window is left dead, loudly. */
const restartsMax = 5;
const restartWindowMs = 60_000;

async function checkReachable(url: string): Promise<void> {
  const { hostname, port } = new URL(url);
  await new Promise<void>((done, fail) => {
    const socket = connect({ host: hostname, port: Number(port === '' ? 5432 : port), timeout: connectMsMax });
    socket.once('connect', () => (socket.destroy(), done()));
    socket.once('timeout', () => (socket.destroy(), fail(new Error('timed out'))));
    socket.once('error', fail);
  }).catch((cause: unknown) => {
    throw new CodedError(
      'POSTGRES_UNREACHABLE',
      `no Postgres at ${hostname}:${port === '' ? 5432 : port}: ${errorText(cause)}`,
      {
        advice: 'Start it, correct LINTEL_DATABASE_URL, or unset it to let Lintel run its own.',
        cause,
      },
    );
  });
}

/** Loopback only, no socket file; small memory, because it shares a machine with engines. */
function settings(fsync: boolean): Record<string, string> {
  return {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '60',
    shared_buffers: '128MB',
    max_wal_size: '512MB',
    jit: 'off',
    timezone: 'UTC',
    log_min_messages: 'warning',
    ...(fsync ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
}

/**
 * A Postgres to use: the given one, or one of our own under `home`. Recovers what a killed process left: an unfinished
 * cluster is thrown away, a server still running is taken over, a stale lock is removed.
 * @throws POSTGRES_NOT_FOUND · POSTGRES_UNREACHABLE · POSTGRES_USER_MISSING · POSTGRES_PATH_CLOSED · POSTGRES_INIT_FAILED ·
 *   POSTGRES_VERSION_DIFFERS · POSTGRES_START_FAILED · POSTGRES_NO_PORT
 */
export async function providePostgres(options: ProvidePostgresOptions): Promise<ProvidedPostgres> {
  const { log, existingUrl, environment = systemEnvironment } = options;
  if (existingUrl !== undefined && existingUrl !== '') {
    await checkReachable(existingUrl);
    return {
      url: existingUrl,
      how: 'existing',
      version: 'unknown',
      adopted: false,
      pid: undefined,
      stop: async () => {},
    };
  }
  const binaries = await findPostgres();
  const folder = join(options.home, 'postgres');
  await mkdir(options.home, { recursive: true });
  for (const name of await readdir(options.home)) {
    if (name.startsWith('postgres.new-')) await rm(join(options.home, name), { recursive: true, force: true });
  }
  const user = await postgresUser([join(folder, 'data/PG_VERSION'), binaries.postgres]);
  const { dataDir, password, created } = await ensureCluster(folder, binaries, user, options.cacheDir);
  if (created) log(`postgres: new database in ${folder}`);

  const portFile = join(folder, 'port');
  const logFile = join(folder, 'server.log');
  const left = await readPostmasterFile(dataDir);
  const adopted = left !== undefined && left.ready && (await isServerOf(dataDir, left.pid));
  let pid: number | undefined;
  let port: number;

  const start = async (wanted: number | undefined, insist: boolean): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      await dropStalePostmasterFile(dataDir);
      try {
        port = await freePort(wanted);
        if (insist && port !== wanted)
          throw new CodedError('POSTGRES_NO_PORT', `port ${wanted} was taken by another program`);
        const launch = { postgres: binaries.postgres, user, dataDir, logFile, port, environment, log };
        pid = await startServer({ ...launch, settings: settings(options.fsync ?? true) });
        await writeFile(portFile, `${port}\n`);
        return;
      } catch (error) {
        // A port taken in between, or the children of a killed server still leaving its shared memory.
        if (attempt === startAttemptsMax) throw error;
        log(`postgres: start failed, trying again (${attempt} of ${startAttemptsMax - 1})`);
        await environment.timers.sleep(250 * attempt);
      }
    }
  };

  if (adopted) {
    ({ pid, port } = left);
    log(`postgres: took over the server that was left running (pid ${pid})`);
  } else {
    if (left !== undefined && (await isServerOf(dataDir, left.pid))) await stopServer(left.pid, environment);
    const kept = Number((await readFile(portFile, 'utf8').catch(() => '')).trim());
    port = 0;
    await start(Number.isInteger(kept) && kept > 0 ? kept : undefined, false);
  }

  const servedPort = port;
  let stopping = false;
  let restarting: Promise<void> | undefined;
  const deaths: number[] = [];
  const revive = async (): Promise<void> => {
    pid = undefined;
    const nowMs = environment.clock.monotonicMs();
    deaths.push(nowMs);
    if (deaths.filter((atMs) => nowMs - atMs < restartWindowMs).length > restartsMax) {
      log(`postgres: died more than ${restartsMax} times in a minute and stays down; read ${logFile}`);
      supervisor.cancel();
      return;
    }
    log('postgres: died, starting it again');
    await start(servedPort, true).catch((error: unknown) => log(`postgres: ${errorText(error)}`));
  };
  const supervisor = environment.timers.every(superviseMs, () => {
    if (stopping || restarting !== undefined || (pid !== undefined && isAlive(pid))) return;
    if (options.restart === false) return;
    restarting = revive().finally(() => (restarting = undefined));
  });

  return {
    url: `postgres://${databaseUser}:${password}@127.0.0.1:${servedPort}/${databaseName}`,
    how: binaries.how,
    version: binaries.version,
    adopted,
    get pid() {
      return pid;
    },
    stop: async () => {
      stopping = true;
      supervisor.cancel();
      await restarting;
      if (pid !== undefined) await stopServer(pid, environment);
      pid = undefined;
    },
  };
}
