import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Timers } from '#libs/kernel';
import { CodedError, systemEnvironment } from '#libs/kernel';
import type { DesiredConfiguration } from '#libs/nest-kit';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';
import { freePort } from '../gateway.fixture.ts';
import { ConfigurationFile, readConfigurationFile } from './configuration-file.ts';
import { connectPatiently } from './connect.ts';
import { parseOptions } from './options.ts';
import { waitingServer } from './waiting-server.ts';

const { timers } = systemEnvironment;

describe('the configuration file of a process', () => {
  let folder: string;
  let file: string;
  const lines: string[] = [];
  const say = { info: (line: string) => void lines.push(line), warn: (line: string) => void lines.push(`! ${line}`) };
  const applied: { ids: (string | undefined)[]; source: string; contentHash: string }[] = [];
  let refusal: CodedError | undefined;
  const target = {
    apply: async ({ replicas }: DesiredConfiguration, from: { source: string; contentHash: string }) => {
      if (refusal !== undefined) throw refusal;
      applied.push({ ids: replicas.map(({ replicaId }) => replicaId), ...from });
      return ['+ something'];
    },
  };
  const yaml = (id: string): string => `replicas:\n  - { id: ${id}, url: "http://127.0.0.1:1" }\n`;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lintel-process-'));
    file = join(folder, 'lintel.yaml');
    await writeFile(file, yaml('r1'));
    lines.length = 0;
    applied.length = 0;
    refusal = undefined;
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  /** Waits of the file itself pass faster; the watch looks as often as ever. */
  const hasty: Timers = { ...timers, after: (delayMs, fn) => timers.after(delayMs / 50, fn) };
  const started = async (): Promise<ConfigurationFile> => {
    const kept = new ConfigurationFile(file, await readConfigurationFile(file), target, hasty, say);
    await kept.start();
    return kept;
  };

  test('is applied, and again when it changes; a broken edit is told with its line and nothing happens', async () => {
    const kept = await started();
    expect(applied).toMatchObject([{ ids: ['r1'], source: 'config:lintel.yaml' }]);
    await writeFile(file, 'replicas:\n  - { idd: r2, url: "http://127.0.0.1:1" }\n');
    await eventually(() =>
      expect(lines.at(-1)).toMatch(/^! .*refused.*\n.*lintel\.yaml:2:\d+.*idd.*did you mean "id"/s),
    );
    expect(applied).toHaveLength(1);
    await writeFile(file, yaml('r2'));
    await eventually(() => expect(applied).toMatchObject([{ ids: ['r1'] }, { ids: ['r2'] }]));
    kept.stop();
  });

  test('one that a decider refuses is told; what only a restart changes is said', async () => {
    const kept = await started();
    refusal = new CodedError('ROUTE_POLICY_INVALID', 'no such strategy', { advice: 'Choose another.' });
    await writeFile(file, `port: 9\n${yaml('r3')}`);
    await eventually(() => expect(lines.at(-1)).toMatch(/^! .*not applied: no such strategy. Choose another\.$/));
    expect(lines.at(-2)).toMatch(/port takes effect at the next start/);
    kept.stop();
  });

  test('while the log is away the newest content is tried again until it is applied', async () => {
    refusal = new CodedError('CONFIG_APPLY_UNAVAILABLE', 'away');
    const kept = await started();
    expect(applied).toEqual([]);
    refusal = undefined;
    await eventually(() => expect(applied).toMatchObject([{ ids: ['r1'] }]), 10_000);
    kept.stop();
  });

  test('an invalid file at the start is an error with its lines', async () => {
    await writeFile(file, 'replicas: 7\n');
    await expect(readConfigurationFile(file)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(readConfigurationFile(join(folder, 'none'))).rejects.toMatchObject({ code: 'CONFIG_UNREADABLE' });
  });
});

describe('flags', () => {
  test('are read, and a mistake names what was meant', () => {
    expect(parseOptions([])).toMatchObject({ upstreamCa: undefined, streamUsage: true });
    expect(parseOptions(['--upstream-ca', 'ca.pem', '--no-stream-usage'])).toMatchObject({
      upstreamCa: 'ca.pem',
      streamUsage: false,
    });
    expect(parseOptions(['--port', '0', '--nats-url', 'nats://u:p@h:1', '--no-recording'])).toMatchObject({
      port: 0,
      natsUser: undefined,
      recording: false,
      open: undefined,
    });
    let said = '';
    for (const wrong of [
      ['--prt', '1'],
      ['--port', 'x'],
      ['--compat', 'x'],
      ['--port', '70000'],
    ]) {
      said = '';
      expect(() => parseOptions(wrong, (text) => (said += text))).toThrow();
      expect(said).toContain('error:');
    }
  });
});

describe('a process whose broker is not there yet', () => {
  let nats: LaunchedNats;
  beforeEach(async () => void (nats = await launchNats()));
  afterEach(async () => await nats.stop());

  test('holds its port, tells the truth, and goes on when the broker comes', async () => {
    nats.kill();
    const port = await freePort();
    const lines: string[] = [];
    const connecting = connectPatiently(
      { ...parseOptions(['--nats-url', nats.urlOf('gateway'), '--instance', 'g']) },
      { host: '127.0.0.1', port },
      systemEnvironment,
      (line) => lines.push(line),
      new AbortController().signal,
    );
    const url = `http://127.0.0.1:${port}`;
    await eventually(async () => expect((await fetch(`${url}/health`)).status).toBe(200));
    const unready = await fetch(`${url}/ready`);
    expect([unready.status, await unready.text()]).toEqual([503, expect.stringContaining('no nats-server at')]);
    const refused = await fetch(`${url}/v1/models`);
    expect([refused.status, await refused.json()]).toEqual([
      503,
      { error: expect.objectContaining({ code: 'starting' }) },
    ]);
    await expect(waitingServer({ host: '127.0.0.1', port }, systemEnvironment, () => '')).rejects.toMatchObject({
      code: 'PORT_TAKEN',
    });
    await nats.restart();
    const broker = await connecting;
    expect(broker.connected).toBe(true);
    await expect(fetch(`${url}/health`)).rejects.toThrow();
    // Each reason once, however often it was tried.
    const reasons = lines.filter((line) => line.includes('waiting for it'));
    expect(reasons.length).toBeGreaterThan(0);
    expect(new Set(reasons).size).toBe(reasons.length);
    await broker.close();
  });

  test('a refused user is no reason to wait', async () => {
    const options = parseOptions(['--nats-url', `nats://gateway:wrong@127.0.0.1:${nats.port}`]);
    const at = { host: '127.0.0.1', port: await freePort() };
    const never = new AbortController().signal;
    await expect(connectPatiently(options, at, systemEnvironment, () => {}, never)).rejects.toMatchObject({
      code: 'NATS_REFUSED',
    });
  });
});
