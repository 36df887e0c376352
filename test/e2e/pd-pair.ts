import { writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { eventually } from '#libs/testkit';
import { type Lintel, lintel, removeFolder, startLintel, temporaryFolder } from './lintel-process.ts';
import type { VllmEngine } from './vllm.ts';
import { controlEngine, startEngine, vllmEngines } from './vllm.ts';

export const model = 'tiny';

const prompt = (about: string): string => `${about}: ${'the quick brown fox jumps over the lazy dog. '.repeat(60)}`;

/** What `lintel why` says of a request that was handed over. */
export interface Why {
  readonly picks: readonly { readonly chosen: string; readonly partner: string | null }[];
  readonly attempts: readonly { readonly replicaId: string; readonly role: string | null; readonly end: string }[];
  readonly handover: { readonly connector: string; readonly prefillMs: number; readonly transferMs: number } | null;
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number; readonly fromEngine: boolean };
  readonly outcome: string;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** How a vLLM is started as one side of a connector. */
export interface SideStart {
  readonly transfer: object;
  readonly env?: Readonly<Record<string, string>>;
}

/** "prefill answered", one for each attempt. */
export const waysOf = ({ attempts }: Why): string[] => attempts.map(({ role, end }) => `${role} ${end}`);

export const textOf = async (answer: Response): Promise<string> =>
  ((await answer.json()) as { choices: { message: { content: string } }[] }).choices[0]!.message.content;

/** Two real vLLMs that hand KV over, a Lintel before them, and a third vLLM that does all of a request by itself. */
export class PdPair {
  #asked = 0;

  private constructor(
    readonly home: string,
    readonly running: Lintel,
    readonly prefill: VllmEngine,
    readonly decode: VllmEngine,
    private readonly folder: string,
  ) {}

  static async start(connector: string, sides: { prefill: SideStart; decode: SideStart }): Promise<PdPair> {
    const side = async (name: string, { transfer, env = {} }: SideStart): Promise<VllmEngine> =>
      await startEngine(name, { extraArgs: ['--kv-transfer-config', JSON.stringify(transfer)], env });
    const prefill = await side('pd-prefill', sides.prefill);
    const decode = await side('pd-decode', sides.decode);
    const folder = await temporaryFolder();
    const home = join(folder, 'home');
    const file = join(folder, 'lintel.yaml');
    await writeFile(
      file,
      JSON.stringify({
        rolesets: [
          {
            name: 'a',
            models: [model],
            engine: 'vllm',
            connector,
            prefill: [{ id: 'prefill', url: prefill.url }],
            decode: [{ id: 'decode', url: decode.url }],
          },
        ],
        policies: [{ id: 'pd', models: ['*'], profiles: { default: { strategy: 'pd' } } }],
      }),
    );
    const pair = new PdPair(home, await startLintel(home, ['--config', file]), prefill, decode, folder);
    await pair.ready();
    return pair;
  }

  /** Until the gateway has seen both. */
  async ready(): Promise<void> {
    await eventually(async () => {
      const answer = await this.ask(`Ready ${this.#asked++}`, { max_tokens: 1 });
      await answer.text();
      expect([answer.status, answer.headers.get('prefill-target-pod')]).toEqual([200, 'prefill']);
    }, 60_000);
  }

  async ask(about: string, more: object = {}): Promise<Response> {
    return await fetch(`${this.running.gatewayUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${this.running.apiKey}` },
      body: bodyOf(about, more),
    });
  }

  /** The same of an engine that no hand-over concerns. */
  async direct(about: string): Promise<string> {
    return await textOf(
      await fetch(`${vllmEngines[0]!.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: bodyOf(about),
      }),
    );
  }

  async why(answer: Response): Promise<Why> {
    const id = answer.headers.get('x-lintel-request-id') ?? '';
    const { output } = await lintel(this.home, 'why', id, '--json');
    return (JSON.parse(output) as { request: Why }).request;
  }

  async end(): Promise<void> {
    await this.running.program.end();
    await removeFolder(this.folder);
    await endPair();
  }
}

/** Also where a start failed half-way. */
export async function endPair(): Promise<void> {
  for (const name of ['pd-prefill', 'pd-decode']) await controlEngine('kill', name).catch(() => undefined);
}

const bodyOf = (about: string, more: object = {}): string =>
  JSON.stringify({
    model,
    temperature: 0,
    max_tokens: 16,
    ...more,
    messages: [{ role: 'user', content: prompt(about) }],
  });
