import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { chown, readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { CodedError } from '#libs/kernel';

/** Who the server runs as. Postgres refuses to run as root, so root hands it to another account. */
export interface PostgresUser {
  spawn(program: string, args: readonly string[], options: { stdio: StdioOptions; cwd?: string }): ChildProcess;
  /** Gives a path to the account; nothing to do when it is our own. */
  own(path: string): Promise<void>;
}

interface Account {
  readonly uid: number;
  readonly gid: number;
}

const environment = { LC_ALL: 'C', LANG: 'C', TZ: 'UTC', PATH: '/usr/local/bin:/usr/bin:/bin' };

/** initdb looks its user up in the system's list, so that it has to be one which stands there. */
async function findAccount(): Promise<Account | undefined> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const found = lines.find((fields) => fields[0] === name);
    if (found !== undefined) return { uid: Number(found[2]), gid: Number(found[3]) };
  }
  return undefined;
}

/** The first folder on the way to `path` that others may not pass through. */
async function closedFolder(path: string, account: Account): Promise<string | undefined> {
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => undefined);
    if (found !== undefined) {
      const open =
        (found.mode & 0o001) !== 0 ||
        (found.uid === account.uid && (found.mode & 0o100) !== 0) ||
        (found.gid === account.gid && (found.mode & 0o010) !== 0);
      if (!open) return folder;
    }
    if (folder === dirname(folder)) return undefined;
  }
}

/**
 * Root's right to pass through and read, and nothing else of root. Without the bit, access(2), by which initdb looks for its server,
 * would leave that right out for an account that is not root.
 */
const rights = [
  '--securebits=+no_setuid_fixup',
  '--inh-caps=+dac_read_search',
  '--ambient-caps=+dac_read_search',
] as const;

async function hasSetpriv(): Promise<boolean> {
  return await new Promise((done) => {
    const child = spawn('setpriv', [...rights, 'true'], { stdio: 'ignore' });
    child.on('error', () => done(false));
    child.on('exit', (code) => done(code === 0));
  });
}

const ourselves: PostgresUser = {
  spawn: (program, args, options) => spawn(program, args, { ...options, env: environment }),
  own: async () => {},
};

/**
 * The account for a server whose programs and data lie at `paths`. As root it is `postgres` or `nobody`. Where that account may not pass
 * through a folder on the way (a checkout under /root), it keeps root's right to pass through folders and nothing else of root.
 * @throws POSTGRES_USER_MISSING, POSTGRES_PATH_CLOSED
 */
export async function postgresUser(paths: readonly string[]): Promise<PostgresUser> {
  if (process.getuid?.() !== 0) return ourselves;
  const account = await findAccount();
  if (account === undefined) {
    throw new CodedError('POSTGRES_USER_MISSING', 'Postgres refuses to run as root, and there is no other account', {
      advice: 'Run as an ordinary user, or add an account: useradd --system postgres.',
    });
  }
  const own = async (path: string): Promise<void> => await chown(path, account.uid, account.gid);
  let closed: string | undefined;
  for (const path of paths) closed ??= await closedFolder(path, account);
  if (closed === undefined) {
    return {
      own,
      spawn: (program, args, options) => spawn(program, args, { ...options, ...account, env: environment }),
    };
  }
  if (!(await hasSetpriv())) {
    throw new CodedError(
      'POSTGRES_PATH_CLOSED',
      `the account of Postgres (uid ${account.uid}) may not enter ${closed}`,
      {
        advice: `Run: chmod o+x ${closed}; or choose a folder that others may enter with --home; or run as an ordinary user.`,
      },
    );
  }
  const identity = [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups'];
  return {
    own,
    spawn: (program, args, options) =>
      spawn('setpriv', [...identity, ...rights, '--', program, ...args], { ...options, env: environment }),
  };
}
