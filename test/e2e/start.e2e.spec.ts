import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import OpenAI from 'openai';
import { docExamples, eventually } from '#libs/testkit';
import {
  bareMachine,
  type Lintel,
  lintel,
  processesOn,
  Program,
  removeFolder,
  startLintel,
  temporaryFolder,
} from './lintel-process.ts';

/** A whole Lintel starts in three seconds, and in thirty where every core is busy. */
jest.setTimeout(150_000);

interface Streamed {
  readonly requestId: string;
  readonly text: string;
}

/** A streamed chat by the official client. */
async function chat({ gatewayUrl, apiKey }: Lintel, model = 'sim-8b'): Promise<Streamed> {
  const client = new OpenAI({ baseURL: `${gatewayUrl}/v1`, apiKey: apiKey || 'none', maxRetries: 0 });
  const { data, response } = await client.chat.completions
    .create({ model, stream: true, max_tokens: 12, messages: [{ role: 'user', content: 'Say hello.' }] })
    .withResponse();
  let text = '';
  for await (const chunk of data) text += chunk.choices[0]?.delta.content ?? '';
  return { requestId: response.headers.get('x-lintel-request-id') ?? '', text };
}

describe('npm start on a real broker and a real database', () => {
  let folder: string;
  let home: string;
  let running: Lintel;
  let first: Streamed;
  beforeAll(async () => {
    folder = await temporaryFolder();
    home = join(folder, 'home');
    running = await startLintel(home);
    first = await chat(running);
  });
  afterAll(async () => await removeFolder(folder));

  test('ends with a block to copy from, once requests are served', async () => {
    const { output } = running.program;
    expect(running.durability).toBe('disk');
    expect(output).not.toContain('NOT DURABLE');
    for (const text of [`${running.gatewayUrl}/v1/chat/completions`, running.apiUrl, `Bearer ${running.apiKey}`])
      expect(output).toContain(text);
    expect(output.match(/^ {2}npx lintel /gm)).toHaveLength(3);
    expect(output).toMatch(/✓ broker +nats-server .* \d+\.\d s/);
    expect((await fetch(`${running.gatewayUrl}/ready`)).status).toBe(200);
  });

  test('tokens stream to the official client', () => {
    expect(first.text.length).toBeGreaterThan(0);
    expect(first.requestId).not.toBe('');
  });

  test('why, replay and verify answer for it', async () => {
    const why = await lintel(home, 'why', first.requestId);
    expect(why).toMatchObject({ code: 0, output: expect.stringContaining(first.requestId) });
    expect(why.output).toMatch(/sim-[012]/);
    expect(await lintel(home, 'replay', '--since', '1h', '--verify')).toMatchObject({ code: 0 });
    expect(await lintel(home, 'verify')).toMatchObject({ code: 0 });
  });

  test.each(['Usage and cost', 'Tenants and keys'])(
    'the commands that docs/cli.md shows under "%s" do what they say',
    async (section) => {
      for (const line of docExamples('docs/cli.md', '', section)[0]!.trim().split('\n')) {
        const args = line
          .replace(/^(?:npx )?lintel /, '')
          .replace(/ +#.*$/, '')
          .split(' ');
        const { code, output } = await lintel(home, ...args);
        expect({ line, code, output }).toMatchObject({ code: 0 });
        expect(output).not.toContain('Nothing changed');
        // A key that is shown opens the gateway.
        const key = /^ {2}(lk-\S+)$/m.exec(output)?.[1];
        if (key !== undefined)
          await eventually(async () => expect((await chat({ ...running, apiKey: key })).text).not.toBe(''));
      }
    },
  );

  test('its folder and its port are its own: a second start names them, and the flags', async () => {
    const same = await new Program('standalone', ['--port', '0', '--home', home]).exited;
    expect(same).toMatchObject({ code: 1, output: expect.stringMatching(/HOME_IN_USE[^]*--home/) });
    const { port } = new URL(running.gatewayUrl);
    const other = join(folder, 'other');
    const taken = await new Program('standalone', ['--port', port, '--home', other]).exited;
    expect(taken).toMatchObject({ code: 1, output: expect.stringMatching(/PORT_TAKEN[^]*--port/) });
    expect(taken.output).toContain(port);
    expect(existsSync(join(other, 'lock'))).toBe(false);
    expect((await fetch(`${running.gatewayUrl}/ready`)).status).toBe(200);
  });

  test('killed and started again, it recovers by itself and still explains', async () => {
    await running.program.end('SIGKILL');
    running = await startLintel(home);
    expect(await lintel(home, 'why', first.requestId)).toMatchObject({ code: 0 });
    const second = await chat(running);
    expect(await lintel(home, 'why', second.requestId)).toMatchObject({ code: 0 });
    expect(await lintel(home, 'verify')).toMatchObject({ code: 0 });
  });

  test('SIGTERM leaves no process and no lock', async () => {
    expect(processesOn(home).length).toBeGreaterThan(1);
    const { code } = await running.program.end('SIGTERM');
    expect(code).toBe(0);
    expect(processesOn(home)).toEqual([]);
    expect(existsSync(join(home, 'lock'))).toBe(false);
    expect(existsSync(join(home, 'connection.json'))).toBe(false);
  });
});

describe('without a broker to be had', () => {
  let folder: string;
  const programs: Program[] = [];
  const started = async (home: string, args: readonly string[]): Promise<Lintel> => {
    const running = await startLintel(home, args, bareMachine(folder));
    programs.push(running.program);
    return running;
  };
  const simulator = async (model: string): Promise<string> => {
    const engine = new Program('engine-sim', ['--port', '0', '--model', model]);
    programs.push(engine);
    await engine.says(/http:\/\/127\.0\.0\.1:\d+/);
    return /127\.0\.0\.1:\d+/.exec(engine.output)?.[0] ?? '';
  };
  beforeAll(async () => (folder = await temporaryFolder()));
  afterEach(async () => {
    for (const program of programs.splice(0).toReversed()) await program.end('SIGTERM');
  });
  afterAll(async () => await removeFolder(folder));

  test('it runs on a log in memory, says so everywhere, and how to get a broker', async () => {
    const home = join(folder, 'memory');
    const running = await started(home, []);
    expect(running.durability).toBe('memory');
    expect(running.program.output).toMatch(/NOT DURABLE[^]*apt-get install nats-server/);
    const { requestId } = await chat(running);
    const why = await lintel(home, 'why', requestId);
    expect(why.code).toBe(0);
    expect(why.output.toLowerCase()).toMatch(/not durable|in memory/);
  });

  test('--engine: says which engine it found and serves its models', async () => {
    const origin = `http://${await simulator('other-model')}`;
    const running = await started(join(folder, 'engine'), ['--engine', origin, '--open']);
    expect(running.program.output).toContain(`${origin}: vllm, other-model`);
    expect(running.program.output).not.toContain('simulated');
    expect((await chat(running, 'other-model')).text.length).toBeGreaterThan(0);
  });

  test("AIBrix's standalone file is accepted; an invalid edit is refused, a valid one applied", async () => {
    const file = join(folder, 'endpoints.yaml');
    const [one, two] = [await simulator('m'), await simulator('m')];
    const text = `models:\n  - name: m\n    engine: vllm\n    endpoints: ["${one}"]\n`;
    await writeFile(file, text);
    const running = await started(join(folder, 'aibrix'), ['--config', file]);
    expect(running.program.output).toContain('none needed');
    expect((await chat(running, 'm')).text.length).toBeGreaterThan(0);
    await writeFile(file, text.replace('endpoints', 'endpoint'));
    await running.program.says(/endpoints\.yaml:\d+:\d+: .*"endpoint".*"endpoints"/);
    expect((await chat(running, 'm')).text.length).toBeGreaterThan(0);
    await writeFile(file, text.replace(`"${one}"`, `"${one}", "${two}"`));
    await running.program.says('endpoints.yaml applied');
    const { output } = await lintel(join(folder, 'aibrix'), 'get', 'replicas');
    for (const address of [one, two]) expect(output).toContain(address);
  });

  test('a mistake in the configuration ends the start with its line and a suggestion', async () => {
    const file = join(folder, 'mistake.yaml');
    await writeFile(file, 'replicas:\n  - url: http://127.0.0.1:1\n    modles: [x]\n');
    const ended = await new Program('standalone', ['--port', '0', '--home', join(folder, 'mistake'), '--config', file])
      .exited;
    expect(ended).toMatchObject({
      code: 1,
      output: expect.stringMatching(/CONFIG_INVALID[^]*mistake\.yaml:3:5: .*"models"/),
    });
    expect(existsSync(join(folder, 'mistake', 'lock'))).toBe(false);
  });

  test('an unwritable folder is named with its flag', async () => {
    await writeFile(join(folder, 'a-file'), '');
    const ended = await new Program('standalone', ['--port', '0', '--home', join(folder, 'a-file', 'home')]).exited;
    expect(ended).toMatchObject({ code: 1, output: expect.stringMatching(/HOME_UNWRITABLE[^]*a-file[^]*--home/) });
  });

  test('--help lists every flag and starts nothing', async () => {
    const { code, output } = await new Program('standalone', ['--help', '--home', join(folder, 'help')]).exited;
    expect(code).toBe(0);
    for (const flag of '--port --api-port --host --home --engine --config --open --sim --real --compat'.split(' '))
      expect(output).toContain(flag);
    expect(existsSync(join(folder, 'help'))).toBe(false);
  });

  test('a signal while starting stops what was started', async () => {
    const home = join(folder, 'interrupted');
    const program = new Program('standalone', ['--port', '0', '--home', home]);
    await program.says('✓ broker');
    await program.end('SIGINT');
    expect(processesOn(home)).toEqual([]);
    expect(existsSync(join(home, 'lock'))).toBe(false);
    expect(await readFile(join(home, 'admin-key'), 'utf8')).not.toBe('');
  });
});
