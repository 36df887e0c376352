import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NatsLink, NatsServerConfig, NatsUser } from '#libs/event-log-nats';
import { connectNats, natsServerConfig, natsUsers } from '#libs/event-log-nats';
import { systemEnvironment } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import { findNats, freeNatsPort, startNats, stopNats } from '#libs/provision';

export interface LaunchNatsOptions {
  readonly version?: 'oldest' | 'newest';
  /** The whole configuration instead of Lintel's own; must listen on the port and keep its data in the folder. */
  readonly configText?: (place: { port: number; storeDir: string }) => string;
  readonly config?: Partial<Omit<NatsServerConfig, 'port' | 'storeDir' | 'passwords'>>;
  readonly log?: (line: string) => void;
}

export interface LaunchedNats {
  /** `nats://127.0.0.1:port` */
  readonly url: string;
  readonly port: number;
  readonly version: string;
  readonly storeDir: string;
  readonly pid: number;
  /** The URL with user and password in it. */
  urlOf(user: NatsUser): string;
  /** A connection as the user; `stop` closes those that are still open. `url` goes through another address, such as a proxy. */
  connect(user?: NatsUser, url?: string): Promise<NatsLink>;
  kill(signal?: NodeJS.Signals): void;
  /** Starts it again on the same port and data; what still runs is stopped first. */
  restart(): Promise<void>;
  /** Leaves no process and no file. */
  stop(): Promise<void>;
}

/** A nats-server of one test: a free port, a temporary folder, one user for each app. */
export async function launchNats(options: LaunchNatsOptions = {}): Promise<LaunchedNats> {
  const { log = () => {} } = options;
  const found = await findNats({ cacheDir: env.cache, version: options.version, log });
  if ('unavailable' in found) throw new Error(found.advice);
  const folder = await mkdtemp(join(tmpdir(), 'lintel-nats-'));
  const storeDir = join(folder, 'data');
  const port = await freeNatsPort();
  const passwords = Object.fromEntries(natsUsers.map((user) => [user, `${user}-password`]));
  const configFile = join(folder, 'server.conf');
  await writeFile(
    configFile,
    options.configText?.({ port, storeDir }) ??
      natsServerConfig({ syncAlways: false, ...options.config, port, storeDir, passwords }),
  );
  const start = async (): Promise<number> =>
    await startNats({
      program: found.path,
      configFile,
      port,
      pidFile: join(folder, 'pid'),
      logFile: join(folder, 'log'),
      environment: systemEnvironment,
      log,
    });
  const links = new Set<NatsLink>();
  let pid: number;
  try {
    pid = await start();
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  const url = `nats://127.0.0.1:${port}`;
  return {
    url,
    port,
    version: found.version,
    storeDir,
    get pid() {
      return pid;
    },
    urlOf: (user) => `nats://${user}:${user}-password@127.0.0.1:${port}`,
    connect: async (user = 'operator', through = url) => {
      const link = await connectNats({ url: through, user, password: `${user}-password`, name: `test-${user}`, log });
      links.add(link);
      return link;
    },
    kill: (signal = 'SIGKILL') => void process.kill(pid, signal),
    restart: async () => {
      await stopNats(pid, systemEnvironment);
      pid = await start();
    },
    stop: async () => {
      for (const link of links) await link.close();
      await stopNats(pid, systemEnvironment);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
