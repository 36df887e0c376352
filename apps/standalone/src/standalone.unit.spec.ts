import { createServer } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { CodedError, systemClock, systemTimers } from '#libs/kernel';
import { parseConfig } from '#libs/nest-kit';
import { banner } from './banner.ts';
import { desiredConfiguration } from './desired.ts';
import { upCommand, type UpOptions } from './options.ts';
import { apiPort, claimPort } from './ports.ts';
import { Progress } from './progress.ts';
import { Stack } from './stack.ts';

function options(...args: string[]): UpOptions {
  const command = upCommand('npm start --')
    .exitOverride()
    .configureOutput({ writeErr: () => {}, writeOut: () => {} });
  return command.parse(args, { from: 'user' }).opts<UpOptions>();
}

describe('flags', () => {
  test('engines are origins, and repeat', () => {
    expect(options('--engine', '127.0.0.1:8000', '--engine', 'https://gpu.example:8443/').engine).toEqual([
      'http://127.0.0.1:8000',
      'https://gpu.example:8443',
    ]);
    expect(options().engine).toEqual([]);
  });

  test.each([
    [['--port', '70000'], 'must be a port'],
    [['--port', 'x'], 'must be a port'],
    [['--engine', 'http://127.0.0.1:8000/v1'], 'without a path'],
    [['--sim', '65'], '0 to 64'],
    [['--compat', 'other'], 'aibrix'],
    [['--pot', '1'], '--port'],
  ])('%j is refused: %s', (args, text) => {
    expect(() => options(...args)).toThrow(text);
  });

  test('help names every flag', () => {
    const help = upCommand('npm start --').helpInformation();
    for (const flag of 'port api-port host home engine config open sim real compat help'.split(' '))
      expect(help).toContain(`--${flag}`);
  });
});

describe('ports', () => {
  test('a taken one is named, with its flag; the default of diagnostics gives way and says so', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    try {
      await expect(claimPort('127.0.0.1', port, '--port')).rejects.toMatchObject({
        code: 'PORT_TAKEN',
        message: expect.stringContaining(String(port)),
        advice: expect.stringContaining('--port'),
      });
      await expect(apiPort('127.0.0.1', port)).rejects.toMatchObject({ code: 'PORT_TAKEN' });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    expect(await claimPort('127.0.0.1', port, '--port')).toBe(port);
    expect((await apiPort('127.0.0.1', undefined)).port).toBeGreaterThan(0);
  });

  test('an address of another machine is refused by name', async () => {
    await expect(claimPort('192.0.2.1', 0, '--port')).rejects.toMatchObject({
      code: 'HOST_INVALID',
      advice: expect.stringContaining('--host'),
    });
  });
});

describe('the desired configuration', () => {
  const extra = [{ id: 'sim-0', url: 'http://127.0.0.1:1', engine: 1, source: 'simulated' }] as const;

  test('without a file: the replicas of the flags, one policy for all models, one tenant with the key', () => {
    const desired = desiredConfiguration(undefined, undefined, extra, 'lk-x');
    expect(desired.replicas).toEqual([expect.objectContaining({ replicaId: 'sim-0', url: 'http://127.0.0.1:1' })]);
    expect(desired.policies).toEqual([expect.objectContaining({ policyId: 'default', models: ['*'] })]);
    expect(JSON.stringify(desired.tenants)).toContain('keyHash');
    expect(JSON.stringify(desired)).not.toContain('lk-x');
  });

  test('what the file says stands, and the flags add to it', () => {
    const config = parseConfig(
      'replicas: [{ id: a, url: "http://127.0.0.1:2" }]\ntenants: [{ id: t }]\npolicies: [{ id: p, models: ["*"], profiles: { default: { strategy: random } } }]\n',
      'lintel.yaml',
    );
    const desired = desiredConfiguration(config, 'lintel.yaml', extra, undefined);
    expect(desired.replicas.map(({ replicaId }) => replicaId)).toEqual(['a', 'sim-0']);
    expect(desired.policies.map(({ policyId }) => policyId)).toEqual(['p']);
    expect(desired.tenants.map(({ tenantId }) => tenantId)).toEqual(['t']);
  });

  test('a policy for one model leaves the default for the others', () => {
    const config = parseConfig(
      'policies: [{ id: p, models: [m], profiles: { default: { strategy: random } } }]\n',
      'lintel.yaml',
    );
    expect(desiredConfiguration(config, 'x', [], undefined).policies.map(({ policyId }) => policyId)).toEqual([
      'p',
      'default',
    ]);
  });
});

describe('the banner', () => {
  const facts = {
    gatewayUrl: 'http://127.0.0.1:8080',
    tls: undefined,
    apiUrl: 'http://127.0.0.1:8090',
    apiKey: 'lk-x',
    open: false,
    configFile: undefined,
    model: 'sim-8b',
    durability: 'disk',
    home: '/h',
    homeFlag: ' --home h',
    startedIn: '3 s',
  } as const;

  test('can be copied from: URLs, key, curl and three commands for this home', () => {
    const text = banner(facts);
    expect(text).toContain("-H 'authorization: Bearer lk-x'");
    expect(text).toContain('http://127.0.0.1:8080/v1/chat/completions');
    expect(text.match(/^ {2}npx lintel .* --home h/gm)).toHaveLength(3);
    expect(text).not.toContain('NOT DURABLE');
  });

  test('says that a log in memory is not durable, and whose key is asked for', () => {
    expect(banner({ ...facts, durability: 'memory' })).toContain('NOT DURABLE');
    expect(banner({ ...facts, apiKey: undefined, open: true })).not.toContain('authorization');
    expect(banner({ ...facts, apiKey: undefined, configFile: 'lintel.yaml' })).toContain('Bearer <your key>');
  });
});

describe('the stack', () => {
  test('stops in the opposite order, once, and goes on past a part that fails', async () => {
    const seen: string[] = [];
    const stack = new Stack({ timers: systemTimers });
    for (const name of ['a', 'b', 'c']) {
      stack.add({
        name,
        stop: async () => {
          seen.push(name);
          if (name === 'b') throw new CodedError('X', 'will not');
        },
        kill: () => void seen.push(`kill ${name}`),
      });
    }
    const [problems, again] = await Promise.all([stack.stop(), stack.stop()]);
    expect(seen).toEqual(['c', 'b', 'kill b', 'a']);
    expect(problems).toEqual(['b: will not']);
    expect(again).toBe(problems);
  });

  test('a second signal ends what is left at once', async () => {
    const seen: string[] = [];
    const stack = new Stack({ timers: systemTimers });
    stack.add({ name: 'a', stop: async () => {}, kill: () => void seen.push('a') });
    stack.add({ name: 'hung', stop: async () => await new Promise(() => {}), kill: () => void seen.push('hung') });
    void stack.stop();
    stack.kill();
    expect(seen).toEqual(['hung', 'a']);
  });
});

describe('progress', () => {
  test('a step is one line with its duration; a failed one says after how long', async () => {
    const lines: string[] = [];
    const progress = new Progress(systemClock, systemTimers, (text) => void lines.push(text));
    await progress.step(
      'broker',
      async () => 7,
      (value) => `is ${value}`,
    );
    await expect(
      progress.step(
        'database',
        async () => {
          throw new CodedError('X', 'no');
        },
        () => '',
      ),
    ).rejects.toThrow('no');
    expect(lines).toEqual([
      expect.stringMatching(/^ {2}✓ broker +is 7 +\d+\.\d s\n$/),
      expect.stringMatching(/^ {2}✗ database +after \d/),
    ]);
  });

  test('a stop wanted meanwhile ends the start between two steps', async () => {
    const progress = new Progress(
      systemClock,
      systemTimers,
      () => {},
      () => {
        throw new CodedError('INTERRUPTED', 'stopped while starting');
      },
    );
    await expect(
      progress.step(
        'never',
        async () => expect(true).toBe(false),
        () => '',
      ),
    ).rejects.toThrow('stopped');
  });
});
