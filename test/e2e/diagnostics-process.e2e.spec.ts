import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { LaunchedNats, LaunchedPostgres } from '#libs/testkit';
import { launchNats, launchPostgres } from '#libs/testkit';
import { Program } from './lintel-process.ts';

let nats: LaunchedNats;
let postgres: LaunchedPostgres;
let home: string;

beforeAll(async () => {
  [nats, postgres, home] = await Promise.all([launchNats(), launchPostgres(), mkdtemp(join(tmpdir(), 'lintel-diag-'))]);
});

afterAll(async () => {
  await postgres.stop();
  await nats.stop();
  await rm(home, { recursive: true, force: true });
});

const variables = (): Record<string, string> => ({
  LINTEL_NATS_URL: nats.url,
  LINTEL_NATS_USER: 'diagnostics',
  LINTEL_NATS_PASSWORD: 'diagnostics-password',
  LINTEL_DATABASE_URL: postgres.url,
  LINTEL_ADMIN_KEY: 'secret-admin-key',
  LINTEL_PORT: '0',
  LINTEL_HOME: home,
  LINTEL_INSTANCE: 'one',
});

test('runs by itself from its variables, answers, and drains on SIGTERM with a follower open', async () => {
  const program = new Program('diagnostics', [], variables());
  await program.says('diagnostics is ready');
  const [, url] = /"url":"([^"]+)"/.exec(program.output) ?? [];
  const headers = { authorization: 'Bearer secret-admin-key' };
  expect(await (await fetch(`${url}/api/v1/notary`, { headers })).json()).toMatchObject({
    halted: false,
    durability: 'disk',
  });
  expect((await fetch(`${url}/ready`)).status).toBe(200);
  const followed = await fetch(`${url}/api/v1/log/follow`, { headers });
  expect(await readFile(join(home, 'keys', 'notary.pem'), 'utf8')).toContain('PRIVATE KEY');
  process.kill(program.pid, 'SIGTERM');
  const { code, output } = await program.exited;
  expect(code).toBe(0);
  expect(await followed.text()).toBe('');
  expect(output).not.toContain('secret-admin-key');
  expect(output).not.toContain('diagnostics-password');
});

test('what is missing or wrong is named, with its code, and ends it', async () => {
  const { LINTEL_ADMIN_KEY: _, ...without } = variables();
  const first = await new Program('diagnostics', [], without).exited;
  expect(first.code).toBe(1);
  expect(first.output).toContain('LINTEL_ADMIN_KEY is not set');
  const wrong = await new Program('diagnostics', [], { ...variables(), LINTEL_NATS_PASSWORD: 'no' }).exited;
  expect(wrong.code).toBe(1);
  expect(wrong.output).toContain('NATS_REFUSED');
});
