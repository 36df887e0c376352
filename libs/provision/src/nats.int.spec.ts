import { spawn } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { connectNats } from '#libs/event-log-nats';
import { env } from '#libs/nest-kit';
import type { ProvidedNats } from './nats.ts';
import { provideNats } from './nats.ts';
import { isAlive } from './postgres-process.ts';

describe('a managed nats-server', () => {
  let home: string;
  const running: ProvidedNats[] = [];
  const lines: string[] = [];

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'lintel-nats-'));
    lines.length = 0;
  });

  afterEach(async () => {
    for (const server of running.splice(0)) await server.stop();
    await rm(home, { recursive: true, force: true });
  });

  const provide = async (version?: 'oldest' | 'newest'): Promise<ProvidedNats> => {
    const provided = await provideNats({ home, version, cacheDir: env.cache, log: (line) => void lines.push(line) });
    if ('unavailable' in provided) throw new Error(provided.advice);
    running.push(provided);
    return provided;
  };

  test.each(['oldest', 'newest'] as const)(
    'the %s serves its users, keeps its port and leaves nothing',
    async (end) => {
      const first = await provide(end);
      expect(first.version).toMatch(end === 'oldest' ? /^2\.9\./ : /^2\.15\./);
      const link = await connectNats({ url: first.url, ...first.credentials?.gateway, name: 'test' });
      expect(link.serverVersion).toBe(first.version);
      await link.close();
      await expect(
        connectNats({ url: first.url, user: 'gateway', password: 'guess', name: 'test' }),
      ).rejects.toMatchObject({ code: 'NATS_REFUSED' });
      expect((await stat(join(home, 'nats/credentials.json'))).mode & 0o777).toBe(0o600);
      expect((await stat(join(home, 'nats/server.conf'))).mode & 0o777).toBe(0o600);
      const { pid } = first;
      await first.stop();
      expect(isAlive(pid as number)).toBe(false);
      const second = await provide(end);
      expect(second.url).toBe(first.url);
      expect(second.credentials).toEqual(first.credentials);
    },
  );

  test('a server that died comes back on its port', async () => {
    const server = await provide();
    const before = server.pid as number;
    process.kill(before, 'SIGKILL');
    for (let n = 0; n < 200 && (server.pid === undefined || server.pid === before); n++) {
      await new Promise((done) => setTimeout(done, 25));
    }
    expect(server.pid).not.toBe(before);
    const link = await connectNats({ url: server.url, ...server.credentials?.operator, name: 'test' });
    await link.close();
  });

  test('what a killed process left running is taken over; one of another shape is replaced', async () => {
    const left = await provide();
    const again = await provide();
    expect(again).toMatchObject({ adopted: true, pid: left.pid, url: left.url });
    const other = await provideNats({ home, syncAlways: false, cacheDir: env.cache, log: () => {} });
    if ('unavailable' in other) throw new Error(other.advice);
    running.push(other);
    expect(other.adopted).toBe(false);
    expect(other.pid).not.toBe(left.pid);
  });

  test('a pid file that names a stranger is not believed', async () => {
    const stranger = spawn('sleep', ['60'], { stdio: 'ignore' });
    try {
      const first = await provide();
      await first.stop();
      const { writeFile } = await import('node:fs/promises');
      await writeFile(join(home, 'nats/server.pid'), `${stranger.pid}\n`);
      const second = await provide();
      expect(second.adopted).toBe(false);
      expect(isAlive(stranger.pid as number)).toBe(true);
    } finally {
      stranger.kill();
    }
  });

  test('an older server does not get the files of a newer one', async () => {
    await (await provide('newest')).stop();
    await expect(provide('oldest')).rejects.toMatchObject({ code: 'NATS_OLDER' });
  });

  test('an existing server is checked', async () => {
    await expect(provideNats({ home, existingUrl: 'nats://127.0.0.1:1', log: () => {} })).rejects.toMatchObject({
      code: 'NATS_UNREACHABLE',
    });
  });
});
