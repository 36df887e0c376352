import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { NatsUser } from '#libs/event-log-nats';
import { natsServerConfig, natsUsers } from '#libs/event-log-nats';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText, systemEnvironment } from '#libs/kernel';
import type { NatsBinary, NatsHow, NatsMissing } from './nats-binary.ts';
import { findNats } from './nats-binary.ts';
import { freeNatsPort, greeting, isNatsOf, startNats, stopNats } from './nats-process.ts';
import { isAlive } from './postgres-process.ts';

export interface ProvideNatsOptions {
  /** Lintel's state folder; the server's files go to `<home>/nats`. One process at a time may own a home. */
  readonly home: string;
  /** A server that is there already: checked and used, never stopped. */
  readonly existingUrl?: string | undefined;
  readonly log: (line: string) => void;
  /** Programs that were fetched once; default `<home>/cache`. */
  readonly cacheDir?: string | undefined;
  readonly version?: 'oldest' | 'newest' | undefined;
  readonly environment?: Environment;
  /** fsync before each acknowledgement; default true. Servers before 2.10 cannot. */
  readonly syncAlways?: boolean;
  /** Starts a server that died again, on the same port. Default true. */
  readonly restart?: boolean;
}

export interface NatsCredentials {
  readonly user: string;
  readonly password: string;
}

export interface ProvidedNats {
  /** `nats://host:port`; a given URL with its user and password as it was given: never log it. */
  readonly url: string;
  /** User and password of each app; undefined where the server was given, which has its own users. */
  readonly credentials: Readonly<Record<NatsUser, NatsCredentials>> | undefined;
  readonly how: NatsHow;
  readonly version: string;
  /** True when a server that a killed process had left behind was taken over. */
  readonly adopted: boolean;
  /** Of the running server; undefined for an existing one and between a death and its restart. */
  readonly pid: number | undefined;
  /** Bounded. Leaves no process. */
  stop(): Promise<void>;
}

const startAttemptsMax = 4;
const superviseMs = 250;
/** A server that dies more often than this within the window is left dead, loudly. */
const restartsMax = 5;
const restartWindowMs = 60_000;

async function existing(url: string): Promise<ProvidedNats> {
  const [first = url] = url.split(',');
  let parsed: URL;
  try {
    parsed = new URL(first.includes('://') ? first : `nats://${first}`);
  } catch (cause) {
    throw new CodedError('NATS_URL_INVALID', 'LINTEL_NATS_URL is not an address', {
      advice: 'Write nats://user:password@host:port.',
      cause,
    });
  }
  const port = Number(parsed.port === '' ? 4222 : parsed.port);
  const found = await greeting(port, parsed.hostname);
  if (found === undefined) {
    throw new CodedError('NATS_UNREACHABLE', `no nats-server at ${parsed.hostname}:${port}`, {
      advice: 'Start it, correct LINTEL_NATS_URL, or unset it to let Lintel run its own.',
    });
  }
  const { version } = found;
  return {
    url,
    credentials: undefined,
    how: 'existing',
    version,
    adopted: false,
    pid: undefined,
    stop: async () => {},
  };
}

async function writeSecret(path: string, text: string): Promise<void> {
  await writeFile(`${path}.tmp`, text, { mode: 0o600 });
  await chmod(`${path}.tmp`, 0o600);
  await rename(`${path}.tmp`, path);
}

/** Passwords once made are kept: an adopted server and other processes know them. */
async function credentialsIn(file: string): Promise<Record<NatsUser, NatsCredentials>> {
  const text = await readFile(file, 'utf8').catch(() => '{}');
  let kept: Partial<Record<NatsUser, NatsCredentials>> = {};
  try {
    kept = JSON.parse(text) as typeof kept;
  } catch {
    // A torn file: new passwords, and the server is started with them.
  }
  const all = Object.fromEntries(
    natsUsers.map((user) => {
      const password = kept[user]?.password;
      return [
        user,
        { user, password: typeof password === 'string' ? password : randomBytes(24).toString('base64url') },
      ];
    }),
  ) as Record<NatsUser, NatsCredentials>;
  const wanted = `${JSON.stringify(all, null, 2)}\n`;
  if (wanted !== text) await writeSecret(file, wanted);
  return all;
}

const numberIn = async (file: string): Promise<number | undefined> => {
  const value = Number((await readFile(file, 'utf8').catch(() => '')).trim());
  return Number.isInteger(value) && value > 0 ? value : undefined;
};

/** An older server reads the files of a newer one wrongly. */
async function refuseDowngrade(file: string, { version, path }: NatsBinary): Promise<void> {
  const written = (await readFile(file, 'utf8').catch(() => '')).trim();
  const minor = (text: string): string => text.split('.').slice(0, 2).join('.');
  if (written === '' || minor(version).localeCompare(minor(written), 'en', { numeric: true }) >= 0) return;
  throw new CodedError('NATS_OLDER', `${path} is ${version}, the log's files were written by ${written}`, {
    advice: `Put nats-server ${minor(written)} or newer on PATH, or start with a new home.`,
  });
}

/**
 * A nats-server with JetStream to use: the given one, or one of our own under `home`, on loopback, with generated
 * credentials. Recovers what a killed process left: a server still running is taken over when it is what we would
 * start, and stopped otherwise.
 * @throws NATS_URL_INVALID · NATS_UNREACHABLE · NATS_OLDER · NATS_START_FAILED · NATS_NO_PORT
 */
export async function provideNats(options: ProvideNatsOptions): Promise<ProvidedNats | NatsMissing> {
  const { log, existingUrl, environment = systemEnvironment } = options;
  if (existingUrl !== undefined && existingUrl !== '') return await existing(existingUrl);
  const home = resolve(options.home);
  const binary = await findNats({
    cacheDir: options.cacheDir ?? join(home, 'cache'),
    version: options.version,
    log,
  });
  if ('unavailable' in binary) return binary;

  const folder = join(home, 'nats');
  const [configFile, pidFile, portFile, logFile] = ['server.conf', 'server.pid', 'port', 'server.log'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  await mkdir(join(folder, 'data'), { recursive: true, mode: 0o700 });
  await refuseDowngrade(join(folder, 'version'), binary);
  const credentials = await credentialsIn(join(folder, 'credentials.json'));
  const passwords = Object.fromEntries(natsUsers.map((user) => [user, credentials[user].password]));
  const canSync = !binary.version.startsWith('2.9.');
  if (!canSync && options.syncAlways !== false) {
    log(`nats: ${binary.version} syncs every two minutes only: what it acknowledged may be lost in a power cut`);
  }
  const configFor = (port: number): string =>
    natsServerConfig({
      port,
      storeDir: join(folder, 'data'),
      passwords,
      syncAlways: canSync && options.syncAlways !== false,
    });

  let port = (await numberIn(portFile)) ?? 0;
  let pid = await numberIn(pidFile);
  let adopted = false;
  if (pid !== undefined && (await isNatsOf(configFile, pid))) {
    const asWanted = (await readFile(configFile, 'utf8').catch(() => '')) === configFor(port);
    adopted = asWanted && (await greeting(port))?.version === binary.version;
    if (adopted) log(`nats: took over the server that was left running (pid ${pid})`);
    else await stopNats(pid, environment);
  }

  const start = async (wanted: number | undefined, insist: boolean): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      try {
        port = await freeNatsPort(wanted);
        if (insist && port !== wanted) {
          throw new CodedError('NATS_NO_PORT', `port ${wanted} was taken by another program`);
        }
        await writeSecret(configFile, configFor(port));
        pid = await startNats({ program: binary.path, configFile, port, pidFile, logFile, environment, log });
        await writeFile(portFile, `${port}\n`);
        await writeFile(join(folder, 'version'), `${binary.version}\n`);
        return;
      } catch (error) {
        if (attempt === startAttemptsMax) throw error;
        log(`nats: start failed, trying again (${attempt} of ${startAttemptsMax - 1})`);
        await environment.timers.sleep(250 * attempt);
      }
    }
  };
  if (!adopted) {
    pid = undefined;
    await start(port === 0 ? undefined : port, false);
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
      log(`nats: died more than ${restartsMax} times in a minute and stays down; read ${logFile}`);
      supervisor.cancel();
      return;
    }
    log('nats: died, starting it again');
    await start(servedPort, true).catch((error: unknown) => log(`nats: ${errorText(error)}`));
  };
  const supervisor = environment.timers.every(superviseMs, () => {
    if (stopping || restarting !== undefined || (pid !== undefined && isAlive(pid))) return;
    if (options.restart === false) return;
    restarting = revive().finally(() => (restarting = undefined));
  });

  return {
    url: `nats://127.0.0.1:${servedPort}`,
    credentials,
    how: binary.how,
    version: binary.version,
    adopted,
    get pid() {
      return pid;
    },
    stop: async () => {
      stopping = true;
      supervisor.cancel();
      await restarting;
      if (pid !== undefined) await stopNats(pid, environment);
      pid = undefined;
      await rm(pidFile, { force: true });
    },
  };
}
