import { spawn } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { ProvidedPostgres } from '#libs/provision';
import { providePostgres } from '#libs/provision';
import { postgresUser } from './postgres-user.ts';

const lines: string[] = [];
const log = (line: string): void => void lines.push(line);
const cacheDir = join(tmpdir(), `lintel-test-cache-${process.getuid?.() ?? 0}`);

async function ask(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(text)).rows as unknown[];
  } finally {
    await client.end();
  }
}

async function gone(pid: number): Promise<boolean> {
  for (let waited = 0; waited < 5_000; waited += 20) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
    await new Promise((done) => setTimeout(done, 20));
  }
  return false;
}

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'lintel-pg-'));
});
afterAll(async () => {
  await rm(home, { recursive: true, force: true });
});

describe('providePostgres', () => {
  let first: ProvidedPostgres;

  test('makes a cluster, keeps the password to its owner, listens on loopback only', async () => {
    first = await providePostgres({ home, log });
    expect((await stat(join(home, 'postgres/password'))).mode & 0o777).toBe(0o600);
    expect(
      await ask(first.url, "select current_setting('listen_addresses') as on, current_setting('fsync') as fsync"),
    ).toEqual([{ on: '127.0.0.1', fsync: 'on' }]);
    await ask(first.url, 'create table kept (id int); insert into kept values (7)');
  });

  test('a server left running by a killed process is taken over', async () => {
    const second = await providePostgres({ home, log, restart: false });
    expect(second).toMatchObject({ adopted: true, pid: first.pid, url: first.url });
  });

  test('a killed server comes back on the same port with its data', async () => {
    const killed = first.pid as number;
    process.kill(killed, 'SIGKILL');
    let rows: unknown[] | undefined;
    for (let attempt = 0; attempt < 200 && rows === undefined; attempt++) {
      rows = await ask(first.url, 'select id from kept').catch(() => undefined);
      if (rows === undefined) await new Promise((done) => setTimeout(done, 50));
    }
    expect(rows).toEqual([{ id: 7 }]);
    expect(first.pid).not.toBe(killed);
  });

  test('stop leaves no process; the next start keeps the port', async () => {
    const { url, pid } = first;
    await first.stop();
    expect(await gone(pid as number)).toBe(true);
    const again = await providePostgres({ home, log });
    expect(again.url).toBe(url);
    await again.stop();
  });

  test('a lock file whose number now belongs to another program does not stand in the way', async () => {
    const other = spawn('sleep', ['60'], { stdio: 'ignore' });
    const file = join(home, 'postgres/data/postmaster.pid');
    await writeFile(file, `${other.pid}\n${join(home, 'postgres/data')}\n1\n5432\n\n127.0.0.1\n0 0\nready\n`);
    const started = await providePostgres({ home, log });
    expect(await ask(started.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    await started.stop();
    other.kill('SIGKILL');
  });

  test('works under a folder that only its owner may enter', async () => {
    const closed = join(home, 'closed');
    await mkdir(closed, { mode: 0o700 });
    await chmod(closed, 0o700);
    const started = await providePostgres({ home: join(closed, 'home'), log, cacheDir });
    expect(await ask(started.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    await started.stop();
  });

  test('the account finds programs under such a folder, and has no other right of root', async () => {
    const closed = join(home, 'closed-programs');
    await mkdir(closed, { mode: 0o700 });
    const program = join(closed, 'program');
    await copyFile('/bin/sh', program);
    await chmod(program, 0o755);
    const user = await postgresUser([program]);
    const code = async (command: string): Promise<number | null> =>
      await new Promise((done) =>
        user.spawn('/bin/sh', ['-c', command], { stdio: 'ignore', cwd: '/' }).once('exit', done),
      );
    expect(await code(`test -x ${program} && exec ${program} -c true`)).toBe(0);
    if (process.getuid?.() === 0) expect(await code(`echo x > ${closed}/written`)).not.toBe(0);
  });

  test('a given server that is not there is an error that says what to do', async () => {
    await expect(providePostgres({ home, log, existingUrl: 'postgres://a:b@127.0.0.1:1/x' })).rejects.toMatchObject({
      code: 'POSTGRES_UNREACHABLE',
      advice: expect.stringContaining('LINTEL_DATABASE_URL') as unknown,
    });
  });

  test('a cluster of another major version is named, not started', async () => {
    const folder = join(home, 'old');
    await mkdir(join(folder, 'postgres/data'), { recursive: true });
    await writeFile(join(folder, 'postgres/password'), 'x');
    await writeFile(join(folder, 'postgres/data/PG_VERSION'), '9\n');
    await expect(providePostgres({ home: folder, log })).rejects.toMatchObject({ code: 'POSTGRES_VERSION_DIFFERS' });
  });

  test('L23 the password stands in no line that was said', async () => {
    const password = (await readFile(join(home, 'postgres/password'), 'utf8')).trim();
    expect(lines.join('\n')).not.toContain(password);
  });
});
