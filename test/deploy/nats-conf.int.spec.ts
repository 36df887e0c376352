import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { type NatsServerConfig, natsServerConfig } from '#libs/event-log-nats';
import { env } from '#libs/nest-kit';
import { findNats } from '#libs/provision';

const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const config = JSON.parse(read('docker/nats.json')) as NatsServerConfig;
const passwords = Object.values(config.passwords).map((password) => (password as { env: string }).env);

describe.each(['docker/nats.conf', 'k8s/base/nats.conf'])('%s', (file) => {
  test('gives each app the permissions of this version (node tools/nats-conf.mjs writes it)', () => {
    expect(read(file)).toBe(natsServerConfig(config));
  });

  test('is read by the server, which takes the passwords from its environment', async () => {
    const found = await findNats({ cacheDir: env.cache, version: 'newest' });
    if ('unavailable' in found) throw new Error(found.advice);
    const check = async (variables: Record<string, string>) =>
      await promisify(execFile)(found.path, ['-t', '-c', join(root, file)], { env: env.forChild(variables) });
    const all = Object.fromEntries(passwords.map((name) => [name, 'a-password']));
    await expect(check(all)).resolves.toBeDefined();
    const { LINTEL_NATS_PASSWORD_GATEWAY: _absent, ...others } = all;
    await expect(check(others)).rejects.toThrow('LINTEL_NATS_PASSWORD_GATEWAY');
  });
});

test.each(['docker-compose.yml', 'k8s/overlays/dev/kustomization.yaml'])('%s sets every password', (file) => {
  for (const name of passwords) expect(read(file)).toContain(name);
});
